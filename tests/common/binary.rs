//! The `ringtide` binary as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringtide::io::{RingFeature, RingFeatures};
use ringtide::server::config::SOCKET_VARIABLE;
use serde_json::Value;
use tempfile::TempDir;

use super::{engine, eventually, features};

pub const RINGTIDE: &str = env!("CARGO_BIN_EXE_ringtide");

/// A running `ringtide`; killed in the end if it is still there.
pub struct Binary {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Binary {
    /// `ringtide tracker` on a port of 127.0.0.1 that the kernel chooses, with JSON logs.
    pub fn tracker(arguments: &[&str]) -> Self {
        let mut command = Command::new(RINGTIDE);
        command.args(["tracker", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts `ringtide` by a command that ends with its arguments, on the engine under test
    /// unless they choose one, and gathers what it writes to standard error.
    pub fn spawn(mut command: Command) -> Self {
        if !command.get_args().any(|argument| argument == "--engine") {
            command.args(["--engine", engine().name()]);
        }
        let without = RingFeatures::ALL.but(features());
        if without != RingFeatures::NONE && !command.get_args().any(|a| a == "--io-uring-without") {
            let names: Vec<_> = without.iter().map(RingFeature::name).collect();
            command.args(["--io-uring-without", &names.join(",")]);
        }
        // The caller may have set the variable itself.
        if !command.get_envs().any(|(name, _)| name == "RINGTIDE_LOG") {
            command.env_remove("RINGTIDE_LOG");
        }
        // Tests run side by side: none takes the usual socket.
        if !command.get_envs().any(|(name, _)| name == SOCKET_VARIABLE) {
            command.env(SOCKET_VARIABLE, "off");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let gathered = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|l| gathered.lock().unwrap().push(l));
        });
        Self { child, lines, reader: Some(reader) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Stops the process, and waits until each of its threads has.
    #[track_caller]
    pub fn stop(&self) {
        stop(self.pid());
    }

    /// The lines written so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The events logged so far: every line has to be a JSON object.
    pub fn events(&self) -> Vec<Value> {
        let event = |line: &String| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(value.is_object(), "{line}");
            value
        };
        self.lines().iter().map(event).collect()
    }

    /// The events so far whose message begins so.
    pub fn events_of(&self, message: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["message"].as_str().unwrap().starts_with(message));
        events
    }

    /// Waits for an event whose message begins so.
    #[track_caller]
    pub fn event(&self, message: &str) -> Value {
        self.nth_event(message, 1)
    }

    /// Waits for the `nth` event whose message begins so.
    #[track_caller]
    pub fn nth_event(&self, message: &str, nth: usize) -> Value {
        eventually(message, || self.events_of(message).into_iter().nth(nth - 1))
    }

    /// Waits until requests are answered, and returns the address of the first socket.
    #[track_caller]
    pub fn serving(&self) -> SocketAddr {
        let event = self.event("serving");
        event["listen"].as_str().unwrap().split(", ").next().unwrap().parse().unwrap()
    }

    /// Waits for the process's end; all it wrote can be read then.
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        let status = eventually("the end of the process", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Waits for the process to fail at run time and returns what it wrote.
    #[track_caller]
    pub fn failure(&mut self) -> String {
        self.failure_with(1)
    }

    /// Waits for the process to refuse its configuration and returns what it wrote.
    #[track_caller]
    pub fn refusal(&mut self) -> String {
        self.failure_with(2)
    }

    #[track_caller]
    fn failure_with(&mut self, code: i32) -> String {
        let status = self.exit();
        let text = self.lines().join("\n");
        assert_eq!(status.code(), Some(code), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        text
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- process {} wrote:\n{}", self.pid(), self.lines().join("\n"));
        }
    }
}

/// A file in a directory of its own, which everybody may read: ringtide gives root up.
pub fn file(name: &str, text: impl AsRef<[u8]>) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    (directory, path.to_str().unwrap().to_owned())
}

/// Gives a directory, and the files in it, to the user that `[privileges] user = "65534"` makes a
/// process of root become. Otherwise they are that user's own already.
pub fn give_away(directory: &std::path::Path) {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    for path in entries.chain([directory.to_owned()]) {
        lchown(path, Some(65534), Some(65534)).unwrap();
    }
}

/// `ringtide` under a user without privileges, and the directory of the copy that it may read.
pub fn ringtide_of_nobody() -> (TempDir, Command) {
    let directory = tempfile::tempdir().unwrap();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return (directory, Command::new(RINGTIDE));
    }
    let copy = directory.path().join("ringtide");
    // By a process of its own: a copy that this one holds open, a child of another test may hold
    // open too, and then the kernel refuses to run it.
    assert!(Command::new("cp").arg(RINGTIDE).arg(&copy).status().unwrap().success());
    for path in [directory.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    (directory, command)
}

/// `ringtide` in a process where the system call `number` fails with `errno`; with `first`, only
/// when its first argument is that.
pub fn ringtide_refused(number: i64, first: Option<i32>, errno: i32) -> Command {
    let first = first.map_or_else(|| "any".to_owned(), |value| value.to_string());
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("refuse.py"), &number.to_string(), &first]);
    command.args([&errno.to_string(), RINGTIDE]);
    command
}

/// Says that a test cannot run here, past the harness, which shows nothing of tests that pass.
pub fn skip(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Stops a process (SIGSTOP), and waits until each of its threads has: one that is on its way out
/// of the kernel may still do what it was about to.
#[track_caller]
pub fn stop(process: u32) {
    kill(Pid::from_raw(process as i32), Signal::SIGSTOP).unwrap();
    // A thread that ended meanwhile has no state; the next look does without it.
    let stopped = |task: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(task.unwrap().path().join("stat"));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
    };
    eventually("the process to stop", || {
        let mut tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        tasks.all(stopped).then_some(())
    });
}
