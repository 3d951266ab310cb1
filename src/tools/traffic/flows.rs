//! What the receiver keeps of each flow.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use super::payload::{Content, Stream, read};
use super::sequence::{Arrival, Sequences};
use super::summary::{Ended, FlowSummary, ReceiveSummary, rates};
use crate::tools::figures::Latency;

/// When a batch was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Nanoseconds of a clock that never steps.
    pub(super) at_ns: u64,
    /// Nanoseconds of `CLOCK_REALTIME`, to compare with send times.
    pub(super) realtime_ns: u64,
}

/// Everything that was received.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    by_stream: HashMap<Stream, usize>,
    /// Where the last datagram belonged: the next one mostly belongs there, too.
    recent: usize,
    /// Datagrams.
    pub(super) packets: u64,
    /// Their payload in bytes.
    pub(super) bytes: u64,
    /// Datagrams that count for what is expected.
    pub(super) distinct: u64,
    span: Span,
    corrupt: u64,
    foreign: u64,
    unnumbered: u64,
    untimed: u64,
    untracked: u64,
    clock_errors: u64,
}

#[derive(Debug)]
struct Flow {
    stream: Stream,
    packets: u64,
    bytes: u64,
    span: Span,
    sequences: Sequences,
    latency: Histogram<u64>,
}

/// First and last arrival.
#[derive(Clone, Copy, Debug, Default)]
struct Span(Option<(u64, u64)>);

impl Span {
    fn extend(&mut self, at_ns: u64) {
        let first = self.0.map_or(at_ns, |(first, _)| first);
        self.0 = Some((first, at_ns));
    }

    fn seconds(self) -> f64 {
        self.0.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e9)
    }
}

impl Flows {
    /// When the last datagram arrived, by [`Received::at_ns`].
    pub(super) fn last_ns(&self) -> Option<u64> {
        self.span.0.map(|(_, last)| last)
    }

    /// Takes one datagram.
    pub(super) fn take(&mut self, bytes: &[u8], received: Received) {
        self.packets += 1;
        self.bytes += bytes.len() as u64;
        self.span.extend(received.at_ns);
        match read(bytes) {
            Content::Intact { stream, sequence, sent_ns } => {
                self.take_numbered(stream, sequence, sent_ns, bytes.len(), received);
            }
            Content::Bare => {
                self.unnumbered += 1;
                self.distinct += 1;
            }
            Content::Foreign => self.foreign += 1,
            Content::Corrupt => self.corrupt += 1,
        }
    }

    fn take_numbered(
        &mut self,
        stream: Stream,
        sequence: u64,
        sent_ns: Option<u64>,
        bytes: usize,
        received: Received,
    ) {
        let Some(index) = self.index(stream) else {
            self.untracked += 1;
            return;
        };
        let flow = &mut self.flows[index];
        flow.packets += 1;
        flow.bytes += bytes as u64;
        flow.span.extend(received.at_ns);
        match flow.sequences.arrive(sequence) {
            Arrival::Fresh | Arrival::Reordered => self.distinct += 1,
            Arrival::Duplicate | Arrival::Late => return,
        }
        let Some(sent_ns) = sent_ns else {
            self.untimed += 1;
            return;
        };
        match received.realtime_ns.checked_sub(sent_ns) {
            Some(latency) => flow.latency.saturating_record(latency),
            None => self.clock_errors += 1,
        }
    }

    fn index(&mut self, stream: Stream) -> Option<usize> {
        if self.flows.get(self.recent).is_some_and(|flow| flow.stream == stream) {
            return Some(self.recent);
        }
        let index = match self.by_stream.get(&stream) {
            Some(index) => *index,
            None if self.flows.len() == FLOWS_MAX => return None,
            None => {
                self.flows.push(Flow::new(stream));
                self.by_stream.insert(stream, self.flows.len() - 1);
                self.flows.len() - 1
            }
        };
        self.recent = index;
        Some(index)
    }

    /// Sums everything up.
    pub(super) fn summary(
        mut self,
        expected: Option<u64>,
        kernel_drops: u64,
        ended: Ended,
    ) -> ReceiveSummary {
        self.flows.sort_by_key(|flow| flow.stream);
        let mut latency = latency_histogram();
        for flow in &self.flows {
            latency.add(&flow.latency).expect("histograms of the same bounds add up");
        }
        let sum = |figure: fn(&Sequences) -> u64| {
            self.flows.iter().map(|flow| figure(&flow.sequences)).sum()
        };
        let duplicated = sum(|sequences| sequences.duplicated);
        let complete = expected.is_none_or(|expected| self.distinct >= expected);
        let seconds = self.span.seconds();
        let (packets_per_second, mbit_per_second) = rates(self.packets, self.bytes, seconds);
        ReceiveSummary {
            packets: self.packets,
            bytes: self.bytes,
            seconds,
            packets_per_second,
            mbit_per_second,
            distinct: self.distinct,
            lost: sum(Sequences::lost),
            duplicated,
            reordered: sum(|sequences| sequences.reordered),
            late: sum(|sequences| sequences.late),
            corrupt: self.corrupt,
            foreign: self.foreign,
            untracked: self.untracked,
            unnumbered: self.unnumbered,
            untimed: self.untimed,
            clock_errors: self.clock_errors,
            kernel_drops,
            latency_ns: Latency::of(&latency),
            expected,
            intact: expected.is_none() || complete && duplicated == 0 && self.corrupt == 0,
            ended,
            flows: self.flows.iter().map(Flow::summary).collect(),
        }
    }
}

impl Flow {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            packets: 0,
            bytes: 0,
            span: Span::default(),
            sequences: Sequences::default(),
            latency: latency_histogram(),
        }
    }

    fn summary(&self) -> FlowSummary {
        FlowSummary {
            run: format!("{:016x}", self.stream.run),
            flow: self.stream.flow,
            packets: self.packets,
            bytes: self.bytes,
            packets_per_second: rates(self.packets, self.bytes, self.span.seconds()).0,
            distinct: self.sequences.distinct,
            lost: self.sequences.lost(),
            duplicated: self.sequences.duplicated,
            reordered: self.sequences.reordered,
            late: self.sequences.late,
            latency_ns: Latency::of(&self.latency),
        }
    }
}

/// From a nanosecond to a minute, to three digits; what takes longer counts as a minute.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constant and in order")
}

/// The maximum number of flows that are distinguished. Each takes 128 KiB for its window and up to
/// 220 KiB for its histogram, of which the system provides only what is touched.
pub(super) const FLOWS_MAX: usize = 1024;

const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::traffic::payload::{Pool, Stamp};

    fn datagram(size: usize, flow: u16, sequence: u64) -> Vec<u8> {
        let mut pool = Pool::new(1, size);
        let stream = Stream { run: 7, flow };
        pool.stamp(0, Stamp { stream, sequence, sent_ns: 1_000_000 });
        pool.datagrams(0, 1).to_vec()
    }

    fn at(index: u64) -> Received {
        Received { at_ns: index * 1_000_000_000, realtime_ns: 1_000_000 + 1000 * (index + 1) }
    }

    #[test]
    fn everything_that_can_happen_is_counted() {
        let mut flows = Flows::default();
        for (index, (flow, sequence)) in
            [(0, 0), (1, 10), (0, 1), (0, 4), (0, 3), (1, 10), (1, 11)].into_iter().enumerate()
        {
            flows.take(&datagram(100, flow, sequence), at(index as u64));
        }
        let mut corrupt = datagram(100, 0, 5);
        corrupt[50] ^= 1;
        flows.take(&corrupt, at(7));
        flows.take(&[1; 100], at(8));
        flows.take(&[], at(9));
        let before = Received { at_ns: 10_000_000_000, realtime_ns: 5 };
        flows.take(&datagram(100, 1, 12), before);
        assert_eq!(flows.last_ns(), Some(10_000_000_000));
        let summary = flows.summary(Some(8), 3, Ended::Idle);
        let ReceiveSummary { packets, distinct, lost, duplicated, reordered, .. } = summary;
        assert_eq!((packets, distinct, lost, duplicated, reordered), (11, 8, 1, 1, 1));
        let ReceiveSummary { corrupt, foreign, unnumbered, clock_errors, .. } = summary;
        assert_eq!((corrupt, foreign, unnumbered, clock_errors), (1, 1, 1, 1));
        assert_eq!((summary.seconds, summary.packets_per_second), (10.0, 1.1));
        assert!(!summary.intact, "all distinct ones are there, but not intact");
        let latency = summary.latency_ns.unwrap();
        assert_eq!((latency.min, latency.max), (1000, 7003), "to three digits");
        assert_eq!(summary.flows.len(), 2);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!((&json["ended"], &json["kernel_drops"]), (&"idle".into(), &3.into()));
        assert_eq!(json["flows"][1]["run"], "0000000000000007");
        let text = summary.text();
        for part in ["1 lost, 1 duplicated, 1 reordered", "below 16", "clocks differ", "NOT MET"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_was_expected_is_intact_however_it_was_ordered() {
        for (expected, sequences, intact) in [
            (None, &[0, 0, 5][..], true),
            (Some(3), &[2, 1, 0], true),
            (Some(2), &[0, 1, 2], true),
            (Some(4), &[0, 1, 2], false),
            (Some(2), &[0, 1, 1], false),
        ] {
            let mut flows = Flows::default();
            for sequence in sequences {
                flows.take(&datagram(16, 0, *sequence), at(0));
            }
            let summary = flows.summary(expected, 0, Ended::Signal);
            assert_eq!(summary.intact, intact, "{expected:?} {sequences:?}");
            assert_eq!(summary.latency_ns, None, "16 bytes hold no time");
        }
    }

    #[test]
    fn more_flows_than_can_be_kept_are_counted() {
        let mut flows = Flows::default();
        for flow in 0..FLOWS_MAX as u16 + 5 {
            flows.take(&datagram(40, flow, 0), at(0));
        }
        let summary = flows.summary(None, 0, Ended::Time);
        assert_eq!((summary.flows.len(), summary.untracked), (FLOWS_MAX, 5));
    }
}
