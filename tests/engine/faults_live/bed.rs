//! A relay and a tracker in one process in a namespace, with a flow that nothing may disturb, one
//! that is about to be disturbed, and what must be as before in the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::asking::Controlled;
use crate::common::{connect, eventually};
use crate::faults_live::pulse::Pulse;
use crate::relay::line::Line;
use crate::relay::ports::{receive, receiver};
use crate::relay::traffic::{Steady, ends, rule};

/// What the disturbed rule takes, and where it sends as a rule.
pub(crate) const IN: &str = "239.1.1.2:5001";
pub(crate) const OUT: &str = "239.2.2.2:5002";

pub(crate) struct Bed {
    pub(crate) line: Arc<Line>,
    pub(crate) process: Controlled,
    /// Rule `r1`: each datagram has to arrive.
    steady: Option<Steady>,
    /// Rule `r2`: `left2` to `right2`.
    pulse: Option<Pulse>,
    to: String,
    before: Baseline,
}

/// What a process holds.
#[derive(Debug, PartialEq, Eq)]
struct Baseline {
    descriptors: usize,
    pools: Value,
}

impl Bed {
    /// Rule `r2` from `left2` to the usual group by `right2`.
    pub(crate) fn start() -> Self {
        Self::sending(OUT, 1400)
    }

    /// Rule `r2` from `left2` to `to` by `right2`, payloads of so many bytes.
    pub(crate) fn sending(to: &str, bytes: usize) -> Self {
        let mut bed = Self::lay(to, "");
        bed.steady = Some(Steady::start(ends(&bed.line, 1)));
        bed.pulse = Some(Pulse::start(&bed.line, "right2", IN, bytes));
        bed.arrived();
        bed
    }

    /// Without traffic, and with a receive buffer that is full soon.
    pub(crate) fn quiet() -> Self {
        Self::lay(OUT, "receive_buffer = \"256KiB\"\n")
    }

    fn lay(to: &str, relay: &str) -> Self {
        let line = Arc::new(Line::new(1));
        second_input(&line);
        second_output(&line);
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "workers = 1\nreport_interval = \"1s\"\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n\
             [control]\nsocket = \"control.sock\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [privileges]\nuser = \"65534\"\n[relay]\n{relay}{}{}",
            rule(1),
            disturbed(to),
        );
        std::fs::write(directory.path().join("r.toml"), text).unwrap();
        let process = line.hop(1).run(|| Controlled::start_in(directory));
        let before = Baseline { descriptors: 0, pools: Value::Null };
        let mut bed = Self { line, process, steady: None, pulse: None, to: to.to_owned(), before };
        bed.before = bed.baseline();
        bed
    }

    /// Waits until a datagram of the disturbed rule arrives.
    #[track_caller]
    pub(crate) fn arrived(&self) -> Vec<u8> {
        receive(&receiver(self.line.sink(), "left2", &self.to))
    }

    /// Waits for the first datagram that arrives after the repair that just happened, and prints
    /// how long it took.
    #[track_caller]
    pub(crate) fn recovered(&self, fault: &str) -> Vec<u8> {
        let repaired = Instant::now();
        let datagram = self.arrived();
        row(fault, repaired.elapsed());
        datagram
    }

    /// Waits as long as two lines of the report take: longer than what failed is left alone.
    #[track_caller]
    pub(crate) fn linger(&self) {
        let reports = self.process.binary.events_of("relay in").len();
        self.process.binary.nth_event("relay in", reports + 4);
        self.steady.as_ref().unwrap().flow();
    }

    pub(crate) fn stats(&self) -> Value {
        self.process.ctl_json("stats")
    }

    /// The first output of the disturbed rule, by its figures.
    pub(crate) fn output(&self) -> Value {
        self.stats()["relay"]["rules"][1]["outputs"][0].clone()
    }

    /// Ends the traffic of the disturbed rule.
    pub(crate) fn rest(&mut self) {
        self.pulse = None;
    }

    /// Ends traffic and process. The steady flow lost nothing, descriptors and buffers are what
    /// they were, and the warnings since the start are these, each as often as told.
    #[track_caller]
    pub(crate) fn finish(mut self, warnings: &[(&str, usize)]) {
        self.pulse = None;
        let steady = self.steady.take().unwrap();
        steady.flow();
        let (packets, _) = steady.end();
        // One more was sent to look at the pools; what was sent is counted a turn later.
        let all = Value::from(packets + 1);
        eventually("all of the steady flow", || {
            let steady = self.stats()["relay"]["rules"][0]["outputs"][0].clone();
            assert_eq!(steady["drops"], serde_json::json!({}));
            (steady["packets"] == all).then_some(())
        });
        eventually("descriptors and buffers as before", || {
            (self.baseline() == self.before).then_some(())
        });
        self.end(warnings);
    }

    /// Ends the process in good order, after these warnings.
    #[track_caller]
    pub(crate) fn end(mut self, warnings: &[(&str, usize)]) {
        self.pulse = None;
        if let Some(steady) = self.steady.take() {
            steady.flow();
            steady.end();
        }
        self.process.binary.signal(Signal::SIGTERM);
        assert_eq!(self.process.binary.exit().code(), Some(0));
        assert_warned(&self.process, warnings);
    }

    /// What is held while a single datagram is under way.
    fn baseline(&self) -> Baseline {
        let (from, to) = ends(&self.line, 1);
        assert_eq!(from.send(b"alone").unwrap(), 5);
        assert_eq!(receive(&to), b"alone");
        // Counted first: the connection that is asked by may be closed a moment after its answer.
        let descriptors = descriptors(self.process.binary.pid());
        let pools = self.stats()["workers"][0]["pools"].clone();
        Baseline { descriptors, pools }
    }
}

/// The second rule's text.
pub(crate) fn disturbed(to: &str) -> String {
    format!(
        "[[relay.rule]]\nname = \"r2\"\ninput = \"{IN}@left2\"\n\
         outputs = [{{ to = \"{to}@right2\" }}]\n"
    )
}

/// The cable from the source's `right2` to the relay's `left2`.
pub(crate) fn second_input(line: &Line) {
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
}

/// The cable from the relay's `right2` to the sink's `left2`.
pub(crate) fn second_output(line: &Line) {
    connect((line.hop(1), "right2"), (line.sink(), "left2"), 8);
}

/// Insists that the warnings and errors so far are these, each as often as told.
#[track_caller]
pub(crate) fn assert_warned(process: &Controlled, expected: &[(&str, usize)]) {
    let events = process.binary.events();
    let grave = |event: &&Value| event["level"] == "WARN" || event["level"] == "ERROR";
    let text = |event: &Value| format!("{} {}", event["message"].as_str().unwrap(), event["error"]);
    let mut warnings: Vec<_> = events.iter().filter(grave).map(text).collect();
    for (beginning, count) in expected {
        let all = warnings.len();
        warnings.retain(|warning| !warning.starts_with(beginning));
        assert_eq!(all - warnings.len(), *count, "{beginning}; others: {warnings:#?}");
    }
    assert!(warnings.is_empty(), "{warnings:#?}");
}

/// Descriptors that a process and its children have open.
pub(crate) fn descriptors(pid: u32) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children.split_whitespace().map(|child| child.parse().unwrap());
    let open = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    std::iter::once(pid).chain(children).map(open).sum()
}

/// One row of the table.
pub(crate) fn row(fault: &str, took: Duration) {
    println!("| {fault} | recovered in {} ms |", took.as_millis());
}
