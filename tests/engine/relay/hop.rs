//! A relay as a process of its own, and the figures it ends with.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Binary, Namespace, RINGTIDE, file};

/// A relay inside a namespace.
pub(crate) struct Hop(Binary);

impl Hop {
    /// `ringtide relay` with one worker.
    pub(crate) fn relay(space: &Namespace, flags: &str) -> Self {
        Self::relay_with(space, 1, flags)
    }

    pub(crate) fn relay_with(space: &Namespace, workers: usize, flags: &str) -> Self {
        Self::start(space, &format!("relay --workers {workers} {flags}"))
    }

    /// `ringtide run` with a file of this text. The directory goes with its guard.
    pub(crate) fn with_file(
        space: &Namespace,
        text: impl AsRef<str>,
    ) -> (tempfile::TempDir, String, Self) {
        let (directory, path) = file("r.toml", text.as_ref());
        let hop = Self::configured(space, &path);
        (directory, path, hop)
    }

    /// `ringtide run` with a configuration file.
    pub(crate) fn configured(space: &Namespace, file: &str) -> Self {
        Self::start(space, &format!("run -c {file}"))
    }

    fn start(space: &Namespace, arguments: &str) -> Self {
        let mut command = Command::new(RINGTIDE);
        command.args(arguments.split_whitespace()).args(["--log-format", "json"]);
        let hop = Self(space.run(|| Binary::spawn(command)));
        hop.event("serving");
        hop
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Where the tracker of the same process listens.
    pub(crate) fn tracker(&self) -> SocketAddr {
        self.0.serving()
    }

    /// Waits for an event whose message begins so.
    #[track_caller]
    pub(crate) fn event(&self, message: &str) -> Value {
        self.0.event(message)
    }

    #[track_caller]
    pub(crate) fn nth_event(&self, message: &str, nth: usize) -> Value {
        self.0.nth_event(message, nth)
    }

    /// All events so far that have this message.
    pub(crate) fn events_of(&self, message: &str) -> Vec<Value> {
        self.0.events_of(message)
    }

    pub(crate) fn reload(&self) {
        self.0.signal(Signal::SIGHUP);
    }

    /// Runs `ringtide ctl` on the control socket beside a configuration file. Returns whether that
    /// did it, and what was said.
    pub(crate) fn ctl(&self, file: &str, arguments: &str) -> (bool, String) {
        let socket = Path::new(file).with_file_name("control.sock");
        let mut command = Command::new(RINGTIDE);
        command.arg("ctl").arg("--socket").arg(socket).args(arguments.split(' '));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    }

    /// What `ctl stats` tells, over the control socket beside a configuration file.
    pub(crate) fn stats(&self, file: &str) -> Value {
        let (done, text) = self.ctl(file, "--json stats");
        assert!(done, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Stops the process in good order and returns what it counted.
    #[track_caller]
    pub(crate) fn stop(self) -> Summary {
        self.0.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits until the process has ended in good order, and returns what it counted.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Summary {
        let status = self.0.exit();
        assert_eq!(status.code(), Some(0), "{:#?}", self.0.lines());
        assert!(!self.0.lines().iter().any(|line| line.contains("panicked")));
        Summary(self.0.events())
    }
}

/// The lines that a process ends with.
pub(crate) struct Summary(Vec<Value>);

/// What one input or output counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) sends: u64,
    pub(crate) drops: String,
}

impl Summary {
    /// What a rule took; `rule` is its name.
    pub(crate) fn input(&self, rule: &str) -> Figures {
        self.figures("relay in summary", rule).remove(0)
    }

    /// What a rule's outputs sent, in order.
    pub(crate) fn outputs(&self, rule: &str) -> Vec<Figures> {
        self.figures("relay out summary", rule)
    }

    /// The lines with a message.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        self.0.iter().filter(|event| event["message"] == message).cloned().collect()
    }

    /// What belongs to no rule, by reason.
    pub(crate) fn drops(&self) -> &str {
        let event = self.0.iter().find(|event| event["message"] == "relay summary").unwrap();
        assert_eq!(event["kernel_drops"], 0);
        event["drops"].as_str().unwrap()
    }

    /// Insists that a rule took so much, and that every output sent as much and dropped nothing.
    #[track_caller]
    pub(crate) fn assert_passed(&self, rule: &str, packets: usize, bytes: usize) {
        let input = self.input(rule);
        let expected = (packets as u64, bytes as u64, "0");
        assert_eq!((input.packets, input.bytes, &*input.drops), expected, "input of {rule}");
        for output in self.outputs(rule) {
            let sent = (output.packets, output.bytes, &*output.drops);
            assert_eq!(sent, expected, "an output of {rule}");
            assert!(output.sends <= output.packets && (output.sends > 0 || packets == 0));
        }
        self.drops();
    }

    fn figures(&self, message: &str, rule: &str) -> Vec<Figures> {
        let wanted = |event: &&Value| event["message"] == message && event["rule"] == rule;
        let number = |value: &Value| value.as_u64().unwrap();
        let figures = |event: &Value| Figures {
            packets: number(&event["packets"]),
            bytes: number(&event["bytes"]),
            sends: number(&event["sends"]),
            drops: event["drops"].as_str().unwrap().to_owned(),
        };
        let found: Vec<_> = self.0.iter().filter(wanted).map(figures).collect();
        assert!(!found.is_empty() || message.contains("out"), "no {message} of {rule}");
        found
    }
}
