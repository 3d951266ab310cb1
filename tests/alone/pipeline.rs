//! `scripts/veth_pipeline.sh` with the program under test: a chain of relays, from end to end.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::PoisonError;

use serde_json::Value;

use crate::MACHINE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/veth_pipeline.sh");

/// A bound for a machine that is busy with other tests: the run itself takes seconds.
const SECONDS_MAX: &str = "300";

fn pipeline(arguments: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args(["--signal=TERM", "--kill-after=20", SECONDS_MAX, SCRIPT])
        .args(arguments.split_whitespace())
        .env("RINGTIDE_BINARY", env!("CARGO_BIN_EXE_ringtide"))
        .env_remove("RINGTIDE_LOG")
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "{arguments}: files are left behind");
    output
}

/// Slow enough for the debug build of all parts on two cores.
fn everything_arrives(arguments: &str) {
    if std::env::var_os("RINGTIDE_SKIP_NAMESPACES").is_some_and(|value| value == "1") {
        // Not a print macro: those are silenced in tests that pass.
        let _ = std::io::stderr()
            .write_all(b"NOT TESTED: RINGTIDE_SKIP_NAMESPACES=1 skips the veth pipeline\n");
        return;
    }
    let engine = crate::engine::engine().name();
    let load = "--packets 100000 --rate 20000 --json";
    let output = pipeline(&format!("{load} --engine {engine} {arguments}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments}: {text}\n{complaint}");
    let figures: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&figures["intact"], &figures["lost"]), (&true.into(), &0.into()), "{text}");
    let hops = figures["hops"].as_array().unwrap();
    assert_eq!(hops.len(), 3);
    for hop in hops {
        assert_eq!((&hop["in"]["packets"], &hop["out"]["packets"]), (&N.into(), &N.into()));
        assert_eq!(hop["drops"], Value::Object(serde_json::Map::default()), "{text}");
    }
    assert_eq!(figures["receiver"]["packets"], N);
}

const N: u64 = 100_000;

/// One after the other: they would take each other's processor time.
#[test]
fn datagrams_and_super_packets_pass_three_hops_intact() {
    let _machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    everything_arrives("--segment off");
    everything_arrives("--segment on --flows 4");
}

#[test]
fn wrong_arguments_are_told_and_change_nothing() {
    assert!(Path::new(SCRIPT).exists());
    for wrong in ["--packets", "--packets x", "--packets 0", "--segment maybe", "--hop 3", "x"] {
        let output = pipeline(wrong);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {complaint}");
        assert!(complaint.contains("Usage: "), "{wrong}: {complaint}");
    }
    let output = pipeline("-h");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
