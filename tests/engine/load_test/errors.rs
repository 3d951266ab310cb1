//! What stands in the way is named, with what to do about it.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use crate::common::{Binary, RINGTIDE};

/// Expects the run to fail with this exit code and to say all of these.
#[track_caller]
fn refused(mut command: Command, code: i32, texts: &[&str]) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for text in texts {
        assert!(stderr.contains(text), "no {text:?} in {stderr}");
    }
}

fn load_test(flags: &str) -> Command {
    let mut command = Command::new(RINGTIDE);
    command.arg("load-test").args(flags.split_whitespace());
    command
}

/// A port that nobody listens on, of an address that no other test uses.
fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.6.2:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_refused_port_is_told_at_once() {
    let flags = format!("--target {}", nobody());
    let texts = ["nothing listens on this port", "remedy: start the tracker", "ss -ulpn"];
    refused(load_test(&flags), 1, &texts);
}

#[test]
fn silence_is_told_after_three_tries() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = silent.local_addr().unwrap();
    let flags = format!("--target {target} --timeout 20ms");
    refused(load_test(&flags), 1, &["does not answer", "3 connect requests", "firewall"]);
    silent.set_nonblocking(true).unwrap();
    let mut request = [0; 100];
    assert_eq!((0..9).take_while(|_| silent.recv(&mut request).is_ok()).count(), 3);
}

#[test]
fn an_unknown_host_is_named() {
    let flags = "--target tracker.invalid:6969";
    refused(load_test(flags), 1, &["the host tracker.invalid is unknown", "remedy: check"]);
    refused(load_test("--target tracker"), 2, &["is not a host and a port", "[::1]:6969"]);
}

#[test]
fn an_unreachable_target_is_named() {
    // A loopback source has no way to an address that is not of this host.
    let flags = "--target 192.0.2.1:6969 --source-range 127.0.0.0/8 --timeout 20ms";
    refused(load_test(flags), 1, &["192.0.2.1:6969", "remedy: "]);
}

#[test]
fn no_permission_is_told() {
    // Broadcasting needs a right that the tool does not ask for.
    refused(load_test("--target 255.255.255.255:6969"), 1, &["no permission", "firewall"]);
}

#[test]
fn too_many_sockets_are_told_before_the_start() {
    let tracker = Binary::tracker(&["--workers", "1"]);
    let target = tracker.serving();
    let mut command = Command::new("sh");
    let run = format!("{RINGTIDE} load-test --target {target} --concurrency 500");
    command.args(["-c", &format!("ulimit -n 300; exec {run}")]);
    let texts = ["500 clients need 564 file descriptors", "the limit is 300", "ulimit -n 564"];
    refused(command, 1, &texts);
}

#[test]
fn wrong_flags_are_usage_errors() {
    for (flags, text) in [
        ("--hashes 101", "raise --torrents"),
        ("--workers 5 --concurrency 2", "lower --workers"),
        ("--pid 4194305", "no such process"),
        ("--rate many", "requests per second"),
        ("--duration 0s", "allowed is"),
        ("--popularity often", "zipf:EXPONENT"),
    ] {
        refused(load_test(flags), 2, &[text]);
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let tracker = Binary::tracker(&["--workers", "1"]);
    let target = tracker.serving();
    let flags = format!("--target {target} --duration 100ms --json /nonexistent/run.json");
    refused(load_test(&flags), 1, &["cannot write /nonexistent/run.json", "remedy: "]);
}

#[test]
fn every_flag_is_in_the_help_with_its_default_and_in_the_readme() {
    let output = load_test("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    let readme = include_str!("../../../README.md");
    let chapter = readme.split("## Testing a tracker").nth(1).unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let of_the_command = help.split("Logging:").next().unwrap();
    let flags = of_the_command.lines().map(str::trim_start).filter(|line| line.starts_with("--"));
    let flags: Vec<&str> = flags.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(flags.len() >= 20, "{flags:?}");
    for flag in flags {
        assert!(chapter.contains(&format!("`{flag} ")), "{flag} is not in the README");
    }
    for part in ["[default: 30s]", "Exit codes:", "Examples:", "Closed loop", "Open loop"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
