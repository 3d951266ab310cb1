//! What one worker counts and measures, and how workers' figures are summed.

use hdrhistogram::Histogram;

use super::verify::{Failure, Stray};

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Connect,
    Announce,
    Scrape,
}

impl Operation {
    pub(super) const ALL: [Self; 3] = [Self::Connect, Self::Announce, Self::Scrape];
}

/// The figures of one kind of request.
#[derive(Clone, Debug)]
pub(super) struct OperationStats {
    /// Datagrams sent, retries included.
    pub(super) sent: u64,
    /// Those that repeat a request that went unanswered.
    pub(super) retries: u64,
    pub(super) succeeded: u64,
    pub(super) failures: [u64; Failure::ALL.len()],
    pub(super) bytes_sent: u64,
    /// Of all answers that have the transaction ID of a request.
    pub(super) bytes_received: u64,
    /// Of correct answers, in nanoseconds.
    pub(super) latency: Histogram<u64>,
}

impl OperationStats {
    fn new() -> Self {
        Self {
            sent: 0,
            retries: 0,
            succeeded: 0,
            failures: [0; Failure::ALL.len()],
            bytes_sent: 0,
            bytes_received: 0,
            latency: histogram(DIGITS_OVERALL),
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.retries += other.retries;
        self.succeeded += other.succeeded;
        sum(&mut self.failures, &other.failures);
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        merge(&mut self.latency, &other.latency);
    }
}

/// A stretch of the run.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// Of the correct answers that arrived in it.
    pub(super) latency: Histogram<u64>,
}

/// All figures of one worker, or of several added up.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    operations: [OperationStats; 3],
    pub(super) strays: [u64; Stray::ALL.len()],
    /// Peers in correct answers to announces.
    pub(super) peers_received: u64,
    /// Requests that the schedule wanted and that never left.
    pub(super) unsent: u64,
    /// Sends for which the generator had no free slot.
    pub(super) no_slot: u64,
    /// Requests that left later than they should although the client had room for them.
    pub(super) sent_late: u64,
    /// A few of the messages in error responses.
    pub(super) messages: Vec<String>,
    pub(super) intervals: Vec<Interval>,
    /// The interval that is being filled.
    current: usize,
}

impl Stats {
    /// Everything 0, with `intervals` intervals.
    pub(super) fn new(intervals: usize) -> Self {
        let interval =
            Interval { succeeded: 0, failed: 0, latency: histogram(DIGITS_PER_INTERVAL) };
        Self {
            operations: std::array::from_fn(|_| OperationStats::new()),
            strays: [0; Stray::ALL.len()],
            peers_received: 0,
            unsent: 0,
            no_slot: 0,
            sent_late: 0,
            messages: Vec::with_capacity(MESSAGES_MAX),
            intervals: vec![interval; intervals.max(1)],
            current: 0,
        }
    }

    pub(super) fn of(&self, operation: Operation) -> &OperationStats {
        &self.operations[operation as usize]
    }

    /// All operations together.
    pub(super) fn total(&self) -> OperationStats {
        let mut total = OperationStats::new();
        self.operations.iter().for_each(|operation| total.add(operation));
        total
    }

    /// Later counts belong to this interval; the last one also takes everything beyond it.
    pub(super) fn enter_interval(&mut self, index: usize) {
        self.current = index.min(self.intervals.len() - 1);
    }

    pub(super) fn sent(&mut self, operation: Operation, bytes: usize, retry: bool) {
        let stats = &mut self.operations[operation as usize];
        stats.sent += 1;
        stats.retries += u64::from(retry);
        stats.bytes_sent += bytes as u64;
    }

    /// Undoes a [`Self::sent`]: the request was not sent.
    pub(super) fn not_sent(&mut self, operation: Operation, bytes: usize, retry: bool) {
        let stats = &mut self.operations[operation as usize];
        stats.sent -= 1;
        stats.retries -= u64::from(retry);
        stats.bytes_sent -= bytes as u64;
        self.no_slot += 1;
    }

    pub(super) fn received(&mut self, operation: Operation, bytes: usize) {
        self.operations[operation as usize].bytes_received += bytes as u64;
    }

    pub(super) fn succeeded(&mut self, operation: Operation, latency_ns: u64) {
        let stats = &mut self.operations[operation as usize];
        stats.succeeded += 1;
        stats.latency.saturating_record(latency_ns);
        let interval = &mut self.intervals[self.current];
        interval.succeeded += 1;
        interval.latency.saturating_record(latency_ns);
    }

    pub(super) fn failed(&mut self, operation: Operation, failure: Failure) {
        self.operations[operation as usize].failures[failure as usize] += 1;
        self.intervals[self.current].failed += 1;
    }

    pub(super) fn stray(&mut self, stray: Stray) {
        self.strays[stray as usize] += 1;
    }

    /// Keeps an error message, unless it is known or enough are kept.
    pub(super) fn message(&mut self, message: &[u8]) {
        if self.messages.len() == MESSAGES_MAX {
            return;
        }
        let text = String::from_utf8_lossy(&message[..message.len().min(MESSAGE_BYTES_MAX)]);
        if !self.messages.iter().any(|known| *known == text) {
            self.messages.push(text.into_owned());
        }
    }

    /// Adds what another worker counted over the same intervals.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.operations.iter_mut().zip(&other.operations) {
            mine.add(theirs);
        }
        sum(&mut self.strays, &other.strays);
        self.peers_received += other.peers_received;
        self.unsent += other.unsent;
        self.no_slot += other.no_slot;
        self.sent_late += other.sent_late;
        other.messages.iter().for_each(|message| self.message(message.as_bytes()));
        for (mine, theirs) in self.intervals.iter_mut().zip(&other.intervals) {
            mine.succeeded += theirs.succeeded;
            mine.failed += theirs.failed;
            merge(&mut mine.latency, &theirs.latency);
        }
    }
}

fn sum<const N: usize>(mine: &mut [u64; N], theirs: &[u64; N]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
}

fn merge(mine: &mut Histogram<u64>, theirs: &Histogram<u64>) {
    mine.add(theirs).expect("all histograms here have the same bounds");
}

/// All memory is allocated at the start: recording allocates nothing.
fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, digits)
        .expect("bounds and digits are constants that fit")
}

/// The resolution of latencies, and the longest that is recorded exactly.
const LATENCY_NS_MIN: u64 = 100;
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

const DIGITS_OVERALL: u8 = 3;
const DIGITS_PER_INTERVAL: u8 = 2;

/// Different error messages that are kept, and how much of each.
const MESSAGES_MAX: usize = 4;
const MESSAGE_BYTES_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        let mut workers = [Stats::new(2), Stats::new(2)];
        for (index, stats) in workers.iter_mut().enumerate() {
            stats.enter_interval(index * 7);
            stats.sent(Operation::Connect, 16, false);
            stats.succeeded(Operation::Connect, 1_000_000);
            stats.sent(Operation::Announce, 98, true);
            stats.sent(Operation::Announce, 98, false);
            stats.not_sent(Operation::Announce, 98, false);
            stats.failed(Operation::Announce, Failure::Timeout);
            stats.stray(Stray::Late);
            stats.message(b"denied");
        }
        let [mut sum, other] = workers;
        sum.add(&other);
        let announce = sum.of(Operation::Announce);
        assert_eq!((announce.sent, announce.retries, announce.failed()), (2, 2, 2));
        assert_eq!((announce.bytes_sent, sum.no_slot), (196, 2));
        let total = sum.total();
        assert_eq!((total.sent, total.succeeded, total.latency.len()), (4, 2, 2));
        assert_eq!(sum.strays[Stray::Late as usize], 2);
        assert_eq!(sum.messages, ["denied"]);
        let counts: Vec<_> = sum.intervals.iter().map(|i| (i.succeeded, i.failed)).collect();
        assert_eq!(counts, [(1, 1), (1, 1)]);
    }

    #[test]
    fn few_messages_are_kept_and_cut() {
        let mut stats = Stats::new(1);
        for number in 0..10_u8 {
            stats.message(&[b'0' + number; 500]);
            stats.message(&[b'0' + number; 500]);
        }
        assert_eq!(stats.messages.len(), MESSAGES_MAX);
        assert_eq!(stats.messages[1], "1".repeat(120));
    }

    #[test]
    fn an_endless_latency_is_recorded_all_the_same() {
        let mut stats = Stats::new(1);
        stats.succeeded(Operation::Scrape, u64::MAX);
        stats.succeeded(Operation::Scrape, 0);
        assert_eq!(stats.of(Operation::Scrape).latency.len(), 2);
    }
}
