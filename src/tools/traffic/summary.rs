//! What a run is summed up in: text for people, one JSON object for scripts.

use std::fmt::Write as _;

use serde::Serialize;

use crate::tools::figures::Latency;
use crate::values::units::grouped;

/// What the generator did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SendSummary {
    /// Datagrams that the kernel took.
    pub packets: u64,
    /// Their payload.
    pub bytes: u64,
    /// From the first send to the last.
    pub seconds: f64,
    /// Datagrams per second.
    pub packets_per_second: f64,
    /// Payload in units of 1,000,000 bits per second.
    pub mbit_per_second: f64,
    /// System calls that sent.
    pub sends: u64,
    /// Sends repeated because a queue below the socket was full (`ENOBUFS`).
    pub retries: u64,
    /// How often the generator waited for room in the socket buffer.
    pub waits: u64,
    /// Errors that the destination or a router reported, such as nobody listening.
    pub refusals: u64,
    /// How far the generator was behind the schedule at worst; `None` without a rate.
    pub behind_us_max: Option<u64>,
}

/// What the receiver saw.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiveSummary {
    /// Datagrams, all of them.
    pub packets: u64,
    /// Their payload.
    pub bytes: u64,
    /// From the first datagram to the last.
    pub seconds: f64,
    /// Datagrams per second.
    pub packets_per_second: f64,
    /// Payload in units of 1,000,000 bits per second.
    pub mbit_per_second: f64,
    /// Datagrams that count for what is expected: different ones, and those too short to be
    /// numbered.
    pub distinct: u64,
    /// Missing between the lowest and the highest number of each flow.
    pub lost: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived after one with a higher number.
    pub reordered: u64,
    /// Too old to know whether they had arrived before.
    pub late: u64,
    /// With a wrong checksum.
    pub corrupt: u64,
    /// Not from a generator.
    pub foreign: u64,
    /// Of more flows than can be distinguished.
    pub untracked: u64,
    /// Too short for a number and a checksum: counted only.
    pub unnumbered: u64,
    /// Too short for a send time: without latency.
    pub untimed: u64,
    /// Received before they were sent: the clocks are not the same.
    pub clock_errors: u64,
    /// Dropped by the kernel because the receive buffer was full; a super-packet counts once.
    pub kernel_drops: u64,
    /// One-way latency over all flows.
    pub latency_ns: Option<Latency>,
    /// `--expect`.
    pub expected: Option<u64>,
    /// Whether what was expected arrived, without duplicates and corruption.
    pub intact: bool,
    /// What ended the run.
    pub ended: Ended,
    /// Each flow.
    pub flows: Vec<FlowSummary>,
}

/// What the receiver saw of one flow.
#[derive(Clone, Debug, Serialize)]
pub struct FlowSummary {
    /// The generator process, in hexadecimal.
    pub run: String,
    /// The flow of that generator.
    pub flow: u16,
    /// Datagrams.
    pub packets: u64,
    /// Their payload.
    pub bytes: u64,
    /// Datagrams per second from the first to the last.
    pub packets_per_second: f64,
    /// Different ones.
    pub distinct: u64,
    /// Missing between the lowest and the highest number.
    pub lost: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived after one with a higher number.
    pub reordered: u64,
    /// Too old to know whether they had arrived before.
    pub late: u64,
    /// One-way latency.
    pub latency_ns: Option<Latency>,
}

/// Why a receiver stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Everything expected is there.
    Expected,
    /// `--for` is over.
    Time,
    /// Nothing arrived for `--idle`.
    Idle,
    /// SIGINT or SIGTERM.
    Signal,
}

impl SendSummary {
    /// The summary for people.
    pub fn text(&self) -> String {
        let mut text = totals("sent", self.packets, self.bytes, self.seconds);
        let Self { sends, retries, waits, refusals, .. } = self;
        let _ = writeln!(
            text,
            "{} sends, {retries} retries, {waits} waits for room, {refusals} refusals",
            grouped(*sends)
        );
        if let Some(behind) = self.behind_us_max {
            let _ = writeln!(text, "at worst {} us behind the schedule", grouped(behind));
        }
        text
    }
}

impl ReceiveSummary {
    /// The summary for people.
    pub fn text(&self) -> String {
        let mut text = totals("received", self.packets, self.bytes, self.seconds);
        let Self { lost, duplicated, reordered, late, corrupt, foreign, .. } = self;
        let _ = writeln!(
            text,
            "{lost} lost, {duplicated} duplicated, {reordered} reordered, {late} late, \
             {corrupt} corrupt, {foreign} foreign, {} dropped by the kernel",
            self.kernel_drops
        );
        if let Some(latency) = self.latency_ns {
            let _ = writeln!(text, "latency (one-way, one clock): {latency}");
        }
        for (count, what) in [
            (self.unnumbered, "below 16 bytes: counted only, not checked for loss or corruption"),
            (self.untimed, "below 32 bytes: without latency, and generators not distinguished"),
            (self.clock_errors, "received before they were sent: the clocks differ"),
            (self.untracked, "of more flows than can be distinguished: not checked for loss"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{} datagrams {what}", grouped(count));
            }
        }
        if self.flows.len() > 1 {
            self.list_flows(&mut text);
        }
        if let Some(expected) = self.expected {
            let verdict = if self.intact { "all there and intact" } else { "NOT MET" };
            let (expected, distinct) = (grouped(expected), grouped(self.distinct));
            let _ = writeln!(text, "expected {expected}, {distinct} different: {verdict}");
        }
        text
    }

    fn list_flows(&self, text: &mut String) {
        for flow in self.flows.iter().take(FLOWS_LISTED_MAX) {
            let p99 = flow.latency_ns.map(|latency| latency.p99 as f64 / 1000.0);
            let p99 = p99.map_or_else(String::new, |p99| format!(", p99 {p99:.1} us"));
            let _ = writeln!(
                text,
                "  flow {}: {} packets, {}/s, {} lost, {} duplicated, {} reordered{p99}",
                flow.flow,
                grouped(flow.packets),
                grouped(flow.packets_per_second.round() as u64),
                flow.lost,
                flow.duplicated,
                flow.reordered,
            );
        }
        if self.flows.len() > FLOWS_LISTED_MAX {
            let more = self.flows.len() - FLOWS_LISTED_MAX;
            let _ = writeln!(text, "  and {more} flows more; --json lists all");
        }
    }
}

fn totals(done: &str, packets: u64, bytes: u64, seconds: f64) -> String {
    let (rate, mbit) = rates(packets, bytes, seconds);
    format!(
        "{done} {} packets, {} bytes in {seconds:.3} s: {} packets/s, {} Mbit/s\n",
        grouped(packets),
        grouped(bytes),
        grouped(rate.round() as u64),
        grouped(mbit.round() as u64)
    )
}

/// Datagrams per second, and millions of bits per second; 0 over no time.
pub(super) fn rates(packets: u64, bytes: u64, seconds: f64) -> (f64, f64) {
    if seconds <= 0.0 {
        return (0.0, 0.0);
    }
    (packets as f64 / seconds, bytes as f64 * 8.0 / 1e6 / seconds)
}

/// Flows that the text lists; JSON has them all.
const FLOWS_LISTED_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_divide_by_something() {
        assert_eq!(rates(10, 1_000_000, 0.0), (0.0, 0.0));
        assert_eq!(rates(10, 1_000_000, 2.0), (5.0, 4.0));
    }

    #[test]
    fn a_send_summary_is_one_json_object_with_all_figures() {
        let summary = SendSummary { packets: 7, behind_us_max: None, ..SendSummary::default() };
        let json = serde_json::to_value(&summary).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "behind_us_max",
                "bytes",
                "mbit_per_second",
                "packets",
                "packets_per_second",
                "refusals",
                "retries",
                "seconds",
                "sends",
                "waits"
            ]
        );
        assert_eq!(json["packets"], 7);
    }
}
