//! The figures of a run, as the JSON report has them. Times are in nanoseconds unless their name
//! says otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::Plan;
use super::stats::{Interval, Operation, OperationStats, Stats};
use super::usage::Shares;
use super::verdict::{SUCCESS_PERCENT_MIN, Verdict};
use super::verify::{Failure, Stray};
use crate::tools::figures::Latency;

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was tested, and how.
    pub setup: Setup,
    /// How long requests were sent.
    pub seconds: f64,
    /// Over all operations.
    pub total: OperationSummary,
    /// Requests of the schedule that never left.
    pub unsent: u64,
    /// Correct answers as a share of the requests sent and unsent.
    pub success_percent: f64,
    /// Correct answers per second of sending.
    pub responses_per_second: f64,
    /// Failed requests by reason; those that occurred.
    pub failures: BTreeMap<&'static str, u64>,
    /// Datagrams that answered no request, by reason; those that occurred.
    pub strays: BTreeMap<&'static str, u64>,
    /// A few of the messages in error responses.
    pub error_messages: Vec<String>,
    /// Connect, announce, scrape.
    pub operations: BTreeMap<&'static str, OperationSummary>,
    /// Peers in an answer to an announce, on average.
    pub peers_per_answer: f64,
    /// The load tester itself.
    pub generator: Generator,
    /// The tracker, with `--pid`.
    pub tracker: Option<TrackerUsage>,
    /// By published guidance.
    pub verdict: Verdict,
    /// The run in stretches of equal length.
    pub series: Vec<Point>,
    /// Latency at growing percentiles.
    pub distribution: Vec<Step>,
}

/// What was tested, and how.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    /// Address and port.
    pub target: String,
    /// "closed" or "open".
    pub loop_kind: &'static str,
    /// Requests per second over all clients, of an open loop.
    pub rate: Option<f64>,
    /// Simulated clients.
    pub clients: usize,
    /// Requests in flight per client, at most.
    pub in_flight: usize,
    /// Threads.
    pub workers: usize,
    /// How often it goes unanswered before it is a timeout.
    pub timeout_s: f64,
    /// In all.
    pub torrents: u32,
    /// Of each client.
    pub hashes: usize,
    /// Its law.
    pub popularity: String,
    /// In all.
    pub peers: usize,
    /// Their share at the start.
    pub seeders: f64,
    /// Share of announces.
    pub churn: f64,
    /// In announces.
    pub numwant: i32,
    /// Announces between scrapes.
    pub scrape_every: Option<u32>,
    /// Whether announces left together.
    pub coalesced: bool,
    /// Makes the same run again.
    pub seed: u64,
}

/// The figures of one kind of request, or of all.
#[derive(Clone, Debug, Serialize)]
pub struct OperationSummary {
    /// Datagrams, retries included.
    pub sent: u64,
    /// Repetitions of unanswered requests.
    pub retries: u64,
    /// Answered correctly.
    pub succeeded: u64,
    /// Answered incorrectly, or not in time.
    pub failed: u64,
    /// Of requests, UDP payload.
    pub bytes_sent: u64,
    /// Of answers, UDP payload.
    pub bytes_received: u64,
    /// Of correct answers.
    pub latency_ns: Option<Latency>,
}

/// The load tester itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Generator {
    /// Processor time of the busiest thread, as a share of one core.
    pub busiest_cpu_percent: f64,
    /// Processor time of all load threads.
    pub cpu_percent: f64,
    /// Sends for which no slot was free; they were repeated.
    pub no_slot: u64,
    /// Sends that the kernel refused.
    pub refused: u64,
    /// Answers that the kernel dropped because a client's receive buffer was full.
    pub kernel_drops: u64,
    /// Scheduled requests that left more than 1 ms late for no fault of the tracker's.
    pub sent_late: u64,
    /// Why the generator, and not the tracker, may be what limits this run.
    pub limits: Vec<String>,
}

/// The tracker's process.
#[derive(Clone, Debug, Serialize)]
pub struct TrackerUsage {
    /// Which one.
    pub pid: u32,
    /// Processor time while requests were sent, as a share of one core.
    pub cpu_percent: f64,
    /// Per correct answer.
    pub cpu_ns_per_response: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Its maximum.
    pub rss_bytes_max: u64,
}

/// A stretch of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Its end, from the start of the run.
    pub at_s: f64,
    /// Correct answers per second.
    pub responses_per_second: f64,
    /// Failed requests per second.
    pub failures_per_second: f64,
    /// The median latency of its answers; 0 when there are none.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum.
    pub max: u64,
}

/// Latency at one percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// From 0 to 100.
    pub percentile: f64,
    /// The latency at that percentile.
    pub latency_ns: u64,
}

/// What the main thread knows besides the workers' figures.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) workers: usize,
    pub(super) sending: Duration,
    pub(super) interval: Duration,
    pub(super) shares: Shares,
    pub(super) refused: u64,
    pub(super) kernel_drops: u64,
    /// The tracker's process, its resident memory, and the maximum of that.
    pub(super) tracker: Option<(u32, u64, u64)>,
}

impl Summary {
    /// Whether the run is a success for scripts.
    pub fn is_success(&self) -> bool {
        self.total.succeeded > 0 && self.success_percent >= SUCCESS_PERCENT_MIN
    }

    pub(super) fn new(plan: &Plan, stats: &Stats, around: &Surroundings) -> Self {
        let total = stats.total();
        let seconds = around.sending.as_secs_f64();
        let latency = Latency::of(&total.latency);
        let asked = total.sent + stats.unsent;
        let success_percent = percent(total.succeeded, asked);
        let announces = stats.of(Operation::Announce).succeeded;
        let named = Operation::ALL.into_iter().zip(["connect", "announce", "scrape"]);
        Self {
            setup: Setup::new(plan, around.workers),
            seconds,
            unsent: stats.unsent,
            success_percent,
            responses_per_second: ratio(total.succeeded as f64, seconds),
            failures: counted(Failure::ALL.iter().map(|f| f.name()).zip(total.failures)),
            strays: counted(Stray::ALL.iter().map(|stray| stray.name()).zip(stats.strays)),
            error_messages: stats.messages.clone(),
            operations: named
                .map(|(operation, name)| (name, OperationSummary::new(stats.of(operation))))
                .collect(),
            peers_per_answer: ratio(stats.peers_received as f64, announces as f64),
            generator: Generator::new(plan, stats, around),
            tracker: around.tracker.map(|(pid, rss_bytes, rss_bytes_max)| {
                let share = around.shares.tracker.unwrap_or(0.0);
                TrackerUsage {
                    pid,
                    cpu_percent: share * 100.0,
                    cpu_ns_per_response: ratio(share * seconds * 1e9, total.succeeded as f64),
                    rss_bytes,
                    rss_bytes_max,
                }
            }),
            verdict: Verdict::of(latency, success_percent),
            series: series(&stats.intervals, around.interval, around.sending),
            distribution: distribution(&total.latency),
            total: OperationSummary::new(&total),
        }
    }
}

impl Setup {
    fn new(plan: &Plan, workers: usize) -> Self {
        Self {
            target: plan.target.to_string(),
            loop_kind: if plan.rate.is_some() { "open" } else { "closed" },
            rate: plan.rate.map(|rate| rate * plan.clients as f64),
            clients: plan.clients,
            in_flight: plan.in_flight,
            workers,
            timeout_s: plan.timeout.as_secs_f64(),
            torrents: plan.torrents,
            hashes: plan.hashes,
            popularity: plan.popularity.to_string(),
            peers: plan.peers,
            seeders: plan.seeders,
            churn: plan.churn,
            numwant: plan.numwant,
            scrape_every: plan.scrape_every,
            coalesced: plan.coalesce,
            seed: plan.seed,
        }
    }
}

impl OperationSummary {
    fn new(stats: &OperationStats) -> Self {
        Self {
            sent: stats.sent,
            retries: stats.retries,
            succeeded: stats.succeeded,
            failed: stats.failed(),
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            latency_ns: Latency::of(&stats.latency),
        }
    }
}

impl Generator {
    fn new(plan: &Plan, stats: &Stats, around: &Surroundings) -> Self {
        let busiest = around.shares.busiest * 100.0;
        let sent = stats.total().sent;
        let mut limits = Vec::new();
        let mut limit = |applies: bool, text: String| {
            if applies {
                limits.push(text);
            }
        };
        limit(
            busiest >= BUSY_PERCENT && (plan.rate.is_none() || is_part(stats.sent_late, sent)),
            format!("its busiest thread used {busiest:.0} % of a core; use more --workers"),
        );
        limit(
            is_part(stats.sent_late, sent),
            format!("{} scheduled requests left more than 1 ms late", stats.sent_late),
        );
        limit(
            is_part(stats.no_slot, sent),
            format!("{} sends found no free slot; use more --workers", stats.no_slot),
        );
        limit(around.refused > 0, format!("the kernel refused {} sends", around.refused));
        limit(
            around.kernel_drops > 0,
            format!(
                "{} answers were dropped because clients' receive buffers were full; use a \
                 smaller --in-flight",
                around.kernel_drops
            ),
        );
        Self {
            busiest_cpu_percent: busiest,
            cpu_percent: around.shares.total * 100.0,
            no_slot: stats.no_slot,
            refused: around.refused,
            kernel_drops: around.kernel_drops,
            sent_late: stats.sent_late,
            limits,
        }
    }
}

/// Whether a count is a significant share of all.
fn is_part(count: u64, all: u64) -> bool {
    percent(count, all) >= PART_PERCENT
}

/// 0 percent of nothing.
pub(super) fn percent(part: u64, all: u64) -> f64 {
    ratio(part as f64 * 100.0, all as f64)
}

fn ratio(part: f64, all: f64) -> f64 {
    if all > 0.0 { part / all } else { 0.0 }
}

fn counted<const N: usize>(
    counts: std::iter::Zip<impl Iterator<Item = &'static str>, std::array::IntoIter<u64, N>>,
) -> BTreeMap<&'static str, u64> {
    counts.filter(|(_, count)| *count > 0).collect()
}

fn series(intervals: &[Interval], length: Duration, sending: Duration) -> Vec<Point> {
    let sending_s = sending.as_secs_f64();
    let points = intervals.iter().enumerate().map_while(|(index, interval)| {
        let start_s = length.as_secs_f64() * index as f64;
        // The last stretch of sending may be a short one; what is behind it only drains.
        let width_s = length.as_secs_f64().min(sending_s - start_s);
        (width_s > length.as_secs_f64() / 4.0 || index == 0).then(|| Point {
            at_s: start_s + width_s,
            responses_per_second: ratio(interval.succeeded as f64, width_s),
            failures_per_second: ratio(interval.failed as f64, width_s),
            p50: interval.latency.value_at_quantile(0.5),
            p99: interval.latency.value_at_quantile(0.99),
            max: interval.latency.max(),
        })
    });
    points.collect()
}

/// Percentiles approaching 100, as far as there are enough values for them.
fn distribution(latency: &Histogram<u64>) -> Vec<Step> {
    let tail = (0..DECADES).flat_map(|decade| {
        let rest = 100.0 / 10_f64.powi(decade);
        (0..STEPS_PER_DECADE).map(move |step| {
            100.0 - rest * 10_f64.powf(-f64::from(step) / f64::from(STEPS_PER_DECADE))
        })
    });
    let values = latency.len() as f64;
    // The same digits on every machine, whatever its powers come to in the last ones.
    let tail = tail.map(|percentile| (percentile * 1e7).round() / 1e7);
    tail.take_while(|percentile| (100.0 - percentile) / 100.0 * values >= 1.0)
        .map(|percentile| Step {
            percentile,
            latency_ns: latency.value_at_quantile(percentile / 100.0),
        })
        .collect()
}

/// The share of a core from which a thread counts as busy.
const BUSY_PERCENT: f64 = 95.0;

const PART_PERCENT: f64 = 1.0;

/// Up to 99.9999 %, at ten points for each digit.
const DECADES: i32 = 6;
const STEPS_PER_DECADE: i32 = 10;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tools::load_test::plan::tests::plan;

    /// A run of two seconds with something of everything.
    pub(in crate::tools::load_test) fn sample(rate: Option<f64>) -> Summary {
        let mut stats = Stats::new(2);
        for number in 0..1000_u64 {
            stats.enter_interval(number as usize / 600);
            stats.sent(Operation::Announce, 98, number == 7);
            stats.received(Operation::Announce, 50);
            stats.succeeded(Operation::Announce, 100_000 + number * 1000);
        }
        stats.peers_received = 2500;
        stats.sent(Operation::Connect, 16, false);
        stats.received(Operation::Connect, 16);
        stats.succeeded(Operation::Connect, 250_000);
        stats.sent(Operation::Scrape, 36, false);
        stats.failed(Operation::Scrape, Failure::Timeout);
        stats.stray(Stray::Late);
        stats.message(b"<denied>");
        stats.unsent = if rate.is_some() { 4 } else { 0 };
        let around = Surroundings {
            workers: 2,
            sending: Duration::from_secs(2),
            interval: Duration::from_secs(1),
            shares: Shares { busiest: 0.96, total: 1.5, tracker: Some(0.5) },
            refused: 0,
            kernel_drops: 0,
            tracker: Some((4242, 3 << 20, 5 << 20)),
        };
        Summary::new(&Plan { rate, ..plan() }, &stats, &around)
    }

    #[test]
    fn figures_add_up() {
        let summary = sample(Some(125.0));
        assert_eq!((summary.total.sent, summary.total.succeeded), (1002, 1001));
        assert_eq!(summary.setup.rate, Some(500.0));
        assert!((summary.success_percent - 100_100.0 / 1006.0).abs() < 1e-9);
        assert!(!summary.is_success());
        assert_eq!(summary.failures, [("timeout", 1)].into());
        assert_eq!(summary.strays, [("late", 1)].into());
        assert_eq!(summary.peers_per_answer, 2.5);
        // Busy, but on time: in an open loop that limits nothing.
        assert!(summary.generator.limits.is_empty());
        assert_eq!(sample(None).generator.limits.len(), 1);
        let points: Vec<_> =
            summary.series.iter().map(|point| (point.at_s, point.responses_per_second)).collect();
        assert_eq!(points, [(1.0, 600.0), (2.0, 401.0)]);
        let tracker = summary.tracker.unwrap();
        assert_eq!(tracker.cpu_ns_per_response, 1e9 / 1001.0);
        let last = summary.distribution.last().unwrap();
        assert!((99.8..99.91).contains(&last.percentile), "{last:?}");
        assert!(
            summary.distribution.windows(2).all(|pair| pair[0].latency_ns <= pair[1].latency_ns)
        );
    }

    #[test]
    fn the_json_report_is_the_golden_one() {
        let json = crate::tools::load_test::json(&sample(None));
        assert_eq!(json, include_str!("golden/closed.json"));
    }
}
