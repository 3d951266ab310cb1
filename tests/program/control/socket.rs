//! The control socket as a file: who may use it, and what becomes of it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::asking::Controlled;
use crate::common::{Binary, RINGTIDE};

#[test]
fn owner_and_group_may_use_it() {
    let process = Controlled::start("");
    let metadata = fs::metadata(process.path("control.sock")).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o660);
}

/// As everybody tries it first: `ringtide run -c r.toml` where the file is.
#[test]
fn a_bare_name_is_made_in_the_directory_of_the_file() {
    let process = Controlled::start("");
    let path = process.path("r.toml");
    let other = process.read("r.toml").replace("control.sock", "bare.sock");
    fs::write(&path, other).unwrap();
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "--log-format", "json", "-c", "r.toml"]);
    let second = Binary::spawn({
        command.current_dir(process.directory.path());
        command
    });
    second.event("serving");
    assert!(process.path("bare.sock").exists());
}

#[test]
fn the_socket_of_a_dead_process_is_replaced() {
    let mut process = Controlled::start("");
    process.binary.signal(Signal::SIGKILL);
    process.binary.exit();
    assert!(process.path("control.sock").exists());
    let again = Controlled::start_in(process.directory);
    assert_eq!(again.ctl_text("health"), "healthy\n");
}

#[test]
fn the_socket_of_a_live_process_is_not() {
    let process = Controlled::start("");
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "-c"]).arg(process.path("r.toml"));
    let refusal = Binary::spawn(command).failure();
    for part in ["is in use by another running ringtide", "remedy: stop that process"] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    assert_eq!(process.ctl_text("health"), "healthy\n");
}

#[test]
fn without_the_usual_socket_it_runs_and_says_why() {
    let process = Controlled::start("");
    for usual in ["/proc/none/control.sock".into(), process.path("control.sock")] {
        let mut command = Command::new(RINGTIDE);
        command.args(["tracker", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.env("RINGTIDE_CONTROL_SOCKET", &usual);
        let binary = Binary::spawn(command);
        binary.serving();
        let event = binary.event("no control socket, so `ringtide ctl` will not work");
        assert_eq!(event["level"], "WARN");
        assert!(event["message"].as_str().unwrap().contains(usual.to_str().unwrap()), "{event}");
    }
}

#[test]
fn what_is_asked_for_by_name_must_be_had() {
    for (section, part) in [
        ("[control]\nsocket = \"/proc/none/control.sock\"", "cannot create the control socket"),
        ("[control]\nsocket = \"r.toml\"", "is not a socket"),
        ("[control]\nsocket = \"c\"\ngroup = \"no such group\"", "groupadd"),
        ("[control]\nsocket = \"off\"\n[http]\nlisten = \"192.0.2.1:1\"", "cannot serve metrics"),
    ] {
        let text = format!("{section}\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n");
        let (_directory, file) = crate::common::file("r.toml", text);
        let mut command = Command::new(RINGTIDE);
        command.args(["run", "-c", &file]);
        let failure = Binary::spawn(command).failure();
        assert!(failure.contains(part) && failure.contains("remedy"), "{section}: {failure}");
    }
}
