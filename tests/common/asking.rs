//! A process with a control socket and an address for metrics, and plain ways to ask it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Binary, RINGTIDE, give_away};

/// A running `ringtide run` with a file of its own.
pub(crate) struct Controlled {
    pub(crate) binary: Binary,
    pub(crate) directory: TempDir,
}

impl Controlled {
    /// A tracker with one worker and what else the file says, after its first sections.
    pub(crate) fn start(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "workers = 1\n[privileges]\nuser = \"65534\"\n\
             [control]\nsocket = \"control.sock\"\n[http]\n\
             listen = \"127.0.0.1:0\"\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n{more}"
        );
        std::fs::write(directory.path().join("r.toml"), text).unwrap();
        Self::start_in(directory)
    }

    pub(crate) fn start_in(directory: TempDir) -> Self {
        give_away(directory.path());
        let mut command = Command::new(RINGTIDE);
        command.args(["run", "--log-format", "json", "-c"]).arg(directory.path().join("r.toml"));
        let binary = Binary::spawn(command);
        binary.event("serving");
        Self { binary, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Where metrics are served.
    pub(crate) fn http(&self) -> SocketAddr {
        let event = self.binary.event("metrics and dashboard");
        event["listen"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn ctl(&self, arguments: &str) -> Output {
        ctl(&self.path("control.sock"), &arguments.split(' ').collect::<Vec<_>>())
    }

    /// What `ctl` prints when all is well.
    #[track_caller]
    pub(crate) fn ctl_text(&self, arguments: &str) -> String {
        let output = self.ctl(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn ctl_json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.ctl_text(&format!("--json {arguments}"))).unwrap()
    }

    /// What `ctl` complains of, which has to be with this exit code.
    #[track_caller]
    pub(crate) fn ctl_fails(&self, arguments: &str, code: i32) -> String {
        let output = self.ctl(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A request over the control socket: status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(UnixStream::connect(self.path("control.sock")).unwrap(), method, path, body)
    }

    pub(crate) fn ask_json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// A request to the address for metrics.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        ask(TcpStream::connect(self.http()).unwrap(), "GET", path, "")
    }
}

pub(crate) fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(RINGTIDE).arg("ctl").arg("--socket").arg(socket).args(arguments).output().unwrap()
}

/// One request on a connection of its own.
pub(crate) fn ask(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {answer:?}"));
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    assert!(!chunked, "answers come with their length: {head}");
    (status.parse().unwrap(), body.to_owned())
}
