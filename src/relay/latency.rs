//! How long datagrams take from their arrival at the interface to the end of their send.
//!
//! The kernel stamps a frame when it comes in, before any queue (`SO_TIMESTAMPNS`). When the sends
//! of a turn have been handed to the kernel, which carries them out or refuses them there and then,
//! the loop reads the wall clock once. The difference counts once for each send, however many
//! datagrams it carries: it is that of the one that waited longest. So it covers the wait in the
//! socket's receive buffer, the turn of the loop and all sends of that turn, and nothing of what
//! comes before or after this host's network stack. Datagrams put together from IPv6 fragments and
//! sends that are made for the second time are left out.

use super::table::RelayTable;

/// The sends of one turn that are timed.
#[derive(Debug, Default)]
pub(super) struct LatencySamples {
    /// When the oldest frame in each rule's open batch came in, in nanoseconds since the Unix
    /// epoch by the wall clock; 0 where that is not known.
    pub(super) oldest_ns: Vec<u64>,
    /// Sends since the last departure, never more than `sends_max`.
    sends: Vec<Departure>,
    /// [`DEPARTURES_MAX`], or 0 where nothing is timed.
    sends_max: usize,
}

/// One send.
#[derive(Clone, Copy, Debug)]
struct Departure {
    rule: usize,
    output: usize,
    received_ns: u64,
}

impl LatencySamples {
    /// Has room for the table's rules. What is on its way is not timed.
    pub(super) fn apply_table(&mut self, table: &RelayTable) {
        self.oldest_ns.clear();
        self.oldest_ns.resize(table.rules.len(), 0);
        self.sends.clear();
        self.sends_max = if table.latency { DEPARTURES_MAX } else { 0 };
        self.sends.reserve(self.sends_max);
    }

    /// Whether a send waits for its time.
    #[inline]
    pub(super) fn are_awaited(&self) -> bool {
        !self.sends.is_empty()
    }

    /// What the rule gathered last was given to one of its outputs.
    #[inline]
    pub(super) fn begin(&mut self, rule: usize, output: usize) {
        if self.sends.len() >= self.sends_max {
            return;
        }
        let received_ns = self.oldest_ns[rule];
        if received_ns > 0 {
            self.sends.push(Departure { rule, output, received_ns });
        }
    }

    /// All of them have left, at this time by the wall clock.
    pub(super) fn end(&mut self, table: &RelayTable, wall_ns: u64) {
        for Departure { rule, output, received_ns } in self.sends.drain(..) {
            // A wall clock that was set back in between makes no time negative.
            let took_us = wall_ns.saturating_sub(received_ns) / 1000;
            table.rules[rule].outputs[output].state.latency_us.add(took_us);
        }
    }
}

/// As many as there are send slots; what a loop sends beyond that in one turn is not timed.
const DEPARTURES_MAX: usize = 4096;
