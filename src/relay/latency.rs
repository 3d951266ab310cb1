//! How long datagrams take from their arrival at the interface to the end of their send.
//!
//! The kernel stamps a frame when it comes in, before any queue (`SO_TIMESTAMPNS`). When the sends
//! of an iteration have been submitted to the kernel, which carries them out or refuses them at
//! once, the loop reads the wall clock. The difference counts once for each send, however many
//! datagrams it carries: it is that of the one that waited longest. So it covers the wait in the
//! socket's receive buffer, the iteration of the loop and all its sends, and nothing of what comes
//! before or after this host's network stack. Datagrams put together from IPv6 fragments and sends
//! that are made for the second time are left out.

use super::table::RelayTable;

/// The sends of one iteration that are timed.
#[derive(Debug, Default)]
pub(super) struct LatencySamples {
    /// When the oldest frame in each rule's open batch came in, in nanoseconds since the Unix
    /// epoch by the wall clock; 0 where that is not known.
    pub(super) oldest_ns: Vec<u64>,
    /// Sends since the last submission, never more than `samples_max`.
    samples: Vec<Sample>,
    /// [`SAMPLES_MAX`], or 0 where nothing is timed.
    samples_max: usize,
}

/// One send.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rule: usize,
    output: usize,
    received_ns: u64,
}

impl LatencySamples {
    /// Makes room for the table's rules. What is in flight is not timed.
    pub(super) fn apply_table(&mut self, table: &RelayTable) {
        self.oldest_ns.clear();
        self.oldest_ns.resize(table.rules.len(), 0);
        self.samples.clear();
        self.samples_max = if table.latency { SAMPLES_MAX } else { 0 };
        self.samples.reserve(self.samples_max);
    }

    /// Whether a send waits for its time.
    #[inline]
    pub(super) fn are_pending(&self) -> bool {
        !self.samples.is_empty()
    }

    /// What the rule gathered last was given to one of its outputs.
    #[inline]
    pub(super) fn begin(&mut self, rule: usize, output: usize) {
        if self.samples.len() >= self.samples_max {
            return;
        }
        let received_ns = self.oldest_ns[rule];
        if received_ns > 0 {
            self.samples.push(Sample { rule, output, received_ns });
        }
    }

    /// All of them were submitted, at this time by the wall clock.
    pub(super) fn end(&mut self, table: &RelayTable, wall_ns: u64) {
        for Sample { rule, output, received_ns } in self.samples.drain(..) {
            // A wall clock that was set back in between makes no time negative.
            let took_us = wall_ns.saturating_sub(received_ns) / 1000;
            table.rules[rule].outputs[output].state.latency_us.add(took_us);
        }
    }
}

/// As many as there are send slots; what a loop sends beyond that in one iteration is not timed.
const SAMPLES_MAX: usize = 4096;
