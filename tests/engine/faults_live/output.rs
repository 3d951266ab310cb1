//! Nobody reads what the process logs, or the pipe is closed.

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::asking::ctl;
use crate::common::{RINGTIDE, engine, eventually};
use crate::faults_live::steadfast::Steadfast;

/// A tracker whose standard error is the test's.
struct Quiet {
    child: Child,
    directory: TempDir,
}

impl Quiet {
    fn start(shell: &str, stderr: Stdio) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", shell, "sh", RINGTIDE, "tracker", "--workers", "1"]);
        command.args(["--listen", "127.0.0.1:0", "--report-interval", "1s"]);
        command.args(["--engine", engine().name(), "--control-socket"]);
        command.arg(directory.path().join("c.sock")).env_remove("RINGTIDE_LOG");
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Self { child, directory }
    }

    fn ctl(&self, arguments: &[&str]) -> Option<String> {
        let output = ctl(&self.directory.path().join("c.sock"), arguments);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn serving(&self) -> SocketAddr {
        let stats = eventually("an answer", || self.ctl(&["--json", "stats"]));
        let stats: Value = serde_json::from_str(&stats).unwrap();
        stats["tracker"]["listen"][0].as_str().unwrap().parse().unwrap()
    }

    /// Ends it in good order.
    fn stop(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let ended = eventually("the end", || self.child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_pipe_of_the_log_is_closed() {
    let mut process = Quiet::start("exec \"$@\"", Stdio::piped());
    let steadfast = Steadfast::start(process.serving());
    drop(process.child.stderr.take());
    for level in ["debug", "info", "debug"] {
        process.ctl(&["log-level", level]).unwrap();
    }
    steadfast.end();
    process.stop();
}

#[test]
fn there_is_no_standard_output_and_no_standard_error() {
    let process = Quiet::start("exec \"$@\" <&- >&- 2>&-", Stdio::null());
    let steadfast = Steadfast::start(process.serving());
    process.ctl(&["log-level", "debug"]).unwrap();
    steadfast.end();
    process.stop();
}

/// The main thread waits until somebody reads. Requests and figures do not wait with it.
#[test]
fn nobody_reads_the_log() {
    let mut process = Quiet::start("exec \"$@\"", Stdio::piped());
    let mut pipe = process.child.stderr.take().unwrap();
    fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let steadfast = Steadfast::start(process.serving());
    let at = format!("/proc/{}/wchan", process.child.id());
    eventually("a full pipe", || {
        std::fs::read_to_string(&at).unwrap().contains("pipe").then_some(())
    });
    steadfast.goes_on();
    assert!(process.ctl(&["health"]).is_some());
    let reader = std::thread::spawn(move || pipe.read_to_string(&mut String::new()));
    assert!(process.ctl(&["log-level", "info"]).is_some());
    steadfast.end();
    process.stop();
    reader.join().unwrap().unwrap();
}
