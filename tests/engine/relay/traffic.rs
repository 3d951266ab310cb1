//! Traffic that goes on while something else happens.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::common::eventually;
use crate::relay::hop::{Hop, Summary};
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, payloads, receiver, sender};

/// Rule `n` of a configuration file: 239.1.1.n on the left to 239.2.2.n on the right.
pub(crate) fn rule(number: u8) -> String {
    format!(
        "[[relay.rule]]\nname = \"r{number}\"\ninput = \"239.1.1.{number}:5001@left\"\n\
         outputs = [{{ to = \"239.2.2.{number}:5002@right\" }}]\n"
    )
}

/// The ends of rule `n`.
pub(crate) fn ends(line: &Line, number: u8) -> (UdpSocket, UdpSocket) {
    let from = sender(line.source(), "right", &format!("239.1.1.{number}:5001"));
    (from, receiver(line.sink(), "left", &format!("239.2.2.{number}:5002")))
}

/// Datagrams of which each has to arrive, in order, until it is told to stop.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Steady {
    pub(crate) fn start((from, to): (UdpSocket, UdpSocket)) -> Self {
        let (stop, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopping, count) = (Arc::clone(&stop), Arc::clone(&passed));
        let round = payloads(ROUND, BYTES);
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                pass(&from, &[&to], &round, None);
                count.fetch_add(ROUND, Ordering::Relaxed);
            }
            assert_empty(&to);
        });
        Self { stop, passed, thread }
    }

    /// Waits until many more have passed.
    #[track_caller]
    pub(crate) fn flow(&self) {
        let before = self.passed.load(Ordering::Relaxed);
        eventually("datagrams of a flow", || {
            assert!(!self.thread.is_finished(), "the flow lost something");
            (self.passed.load(Ordering::Relaxed) > before + 10 * ROUND).then_some(())
        });
    }

    /// Lets it flow on, and ends it and the relay, whose rule of this name lost nothing of it.
    #[track_caller]
    pub(crate) fn finish(self, hop: Hop, rule: &str) -> Summary {
        self.flow();
        let (packets, bytes) = self.end();
        let summary = hop.stop();
        summary.assert_passed(rule, packets, bytes);
        summary
    }

    /// Ends it; returns datagrams and bytes.
    pub(crate) fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let packets = self.passed.load(Ordering::Relaxed);
        (packets, packets * BYTES)
    }
}

const ROUND: usize = 50;
const BYTES: usize = 500;
