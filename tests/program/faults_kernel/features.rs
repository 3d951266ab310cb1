//! Kernels that lack features of io_uring, as `io_uring_without` makes them.

use std::process::Command;

use ringtide::io::RingFeature;
use serde_json::Value;

use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, file, hash};

/// A tracker that does without these, on an engine of its choice.
fn without(features: &str) -> Binary {
    Binary::tracker(&["--workers", "2", "--engine", "auto", "--io-uring-without", features])
}

fn told(binary: &Binary, message: &str) -> Vec<String> {
    let events = binary.events_of(message);
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_feature_can_be_missing_alone_and_is_told_once() {
    for feature in RingFeature::ALL {
        let binary = without(feature.name());
        let client = Client::new(binary.serving());
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
        let engine = if feature.is_needed() { "epoll" } else { "io_uring" };
        assert_eq!(binary.event("serving")["engine"], engine);
        let fallen = told(&binary, "running on epoll, because");
        let less = told(&binary, "io_uring is used without");
        // The one replaces the other, so nothing is missing.
        let is_unused = feature == RingFeature::CoopTaskrun;
        let lines = (usize::from(feature.is_needed()), usize::from(!feature.is_needed()));
        let lines = if is_unused { (0, 0) } else { lines };
        assert_eq!((fallen.len(), less.len()), lines, "{:?}", binary.lines());
        assert!(told(&binary, "this kernel's io_uring").is_empty(), "{:?}", binary.lines());
        let named = |line: &String| line.contains(feature.name());
        assert!(fallen.iter().chain(&less).all(named), "{fallen:?} {less:?}");
    }
}

#[test]
fn what_is_needed_stops_the_start_where_io_uring_is_asked_for() {
    let arguments = ["--engine", "io_uring", "--io-uring-without", "multishot_receive"];
    let failure = Binary::tracker(&arguments).failure();
    for part in ["multishot_receive is switched off", "--engine"] {
        assert!(failure.contains(part), "{failure}");
    }
}

#[test]
fn what_is_in_force_shows_in_the_figures() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let text = format!(
        "engine = \"io_uring\"\nio_uring_without = [\"defer_taskrun\", \"send_to\"]\n\
         log.format = \"json\"\ncontrol.socket = {:?}\nprivileges.switch_user = false\n\
         tracker.listen = [\"127.0.0.1:0\"]\n",
        socket.to_str().unwrap()
    );
    let (_directory, path) = file("r.toml", text);
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "-c", &path, "--engine", "io_uring"]);
    let binary = Binary::spawn(command);
    binary.serving();
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(RINGTIDE);
        command.args(["ctl", "--socket"]).arg(&socket).args(arguments);
        let answered = || Some(command.output().unwrap()).filter(|output| output.status.success());
        String::from_utf8(eventually("an answer", answered).stdout).unwrap()
    };
    let stats: Value = serde_json::from_str(&ctl(&["--json", "stats"])).unwrap();
    let features = stats["process"]["io_uring_features"].as_array().unwrap();
    assert!(features.contains(&Value::from("single_issuer")), "{features:?}");
    for off in ["defer_taskrun", "send_to"] {
        assert!(!features.contains(&Value::from(off)), "{features:?}");
    }
    assert!(ctl(&["stats"]).contains("on io_uring (submit_all, "));
}
