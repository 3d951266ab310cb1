//! The control socket of a relay.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::RINGTIDE;

/// Runs `ringtide ctl`.
pub(crate) fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(RINGTIDE);
    command.arg("ctl").arg("--socket").arg(socket).args(arguments).output().unwrap()
}

/// The same, which has to succeed; returns what it prints.
#[track_caller]
pub(crate) fn ctl_text(socket: &Path, arguments: &[&str]) -> String {
    let output = ctl(socket, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, which has to fail; returns what it says about it.
#[track_caller]
pub(crate) fn ctl_fails(socket: &Path, arguments: &[&str]) -> String {
    let output = ctl(socket, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// All figures.
pub(crate) fn stats(socket: &Path) -> Value {
    serde_json::from_str(&ctl_text(socket, &["stats", "--json"])).unwrap()
}

/// The answer to GET, head and body.
pub(crate) fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
