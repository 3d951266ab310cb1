//! Processes that end with the test, however it ends.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::real_clients::host::eventually;

/// A running program whose output goes to a file.
///
/// When the test fails, the output becomes part of the failure. When the test's own process is
/// killed, the program is killed too.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    farewell: Farewell,
}

/// How a program is asked to end.
#[derive(Clone, Copy)]
pub(crate) enum Farewell {
    Signal(Signal),
    EndOfInput,
}

impl Process {
    /// Starts a program with its log in `directory`.
    pub(crate) fn start(
        name: &str,
        directory: &Path,
        command: &[&str],
        farewell: Farewell,
    ) -> Self {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(command)
            .stdin(Stdio::piped())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn()
            .unwrap();
        Self { name: name.into(), child, log, farewell }
    }

    /// What the program wrote so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for the `count`th line that contains `wanted`, and returns it.
    pub(crate) fn wait_for_line(&mut self, wanted: &str, count: usize) -> String {
        eventually(&format!("{}: {wanted:?}", self.name), || {
            // Asked first, so that a program that spoke and ended is still heard.
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            let line = log.lines().filter(|line| line.contains(wanted)).nth(count - 1);
            assert!(line.is_some() || ended.is_none(), "{} ended: {ended:?}", self.name);
            line.map(str::to_owned)
        })
    }

    /// Writes a line to the program's standard input.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Asks the program to end, waits until it has, and returns all that it wrote.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        (self.end(), self.log())
    }

    fn end(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        match self.farewell {
            // It can have ended by itself just now; then it has its status below.
            Farewell::Signal(signal) => drop(kill(Pid::from_raw(self.child.id() as i32), signal)),
            Farewell::EndOfInput => drop(self.child.stdin.take()),
        }
        let asked = Instant::now();
        eventually(&format!("{}: ending", self.name), || {
            if asked.elapsed() > COURTESY {
                let _ = self.child.kill();
            }
            self.child.try_wait().unwrap()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("---- {} wrote:\n{}", self.name, self.log());
        }
    }
}

/// A program that has not ended by itself after this long is killed.
const COURTESY: Duration = Duration::from_secs(30);
