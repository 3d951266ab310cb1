//! The line that says what the process does, every few seconds and once more at the end.

use std::fmt;
use std::time::{Duration, Instant};

use super::api::view::{Holdings, View};
use crate::relay::control::RelayReporter;
use crate::telemetry::rates::{named_counts, per_second};
use crate::telemetry::{Counter, DropReason, Snapshot};

/// What happened over a stretch of time.
#[derive(Clone, Debug)]
pub struct Report {
    /// The length of the stretch.
    pub elapsed: Duration,
    /// What was counted in it.
    pub counted: Snapshot,
    /// Datagrams that the kernel dropped in it because a receive buffer was full.
    pub kernel_drops: u64,
    /// What the tracker held at its end.
    pub holdings: Holdings,
}

/// Logs a report from time to time, each of what happened since the last.
pub struct Reporter {
    at: Instant,
    counted: Snapshot,
    kernel_drops: u64,
    relay: RelayReporter,
}

impl Default for Reporter {
    fn default() -> Self {
        Self {
            at: Instant::now(),
            counted: Snapshot::default(),
            kernel_drops: 0,
            relay: RelayReporter::default(),
        }
    }
}

impl Reporter {
    /// The time since the last report.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// Logs rates since the last report, of the relay and of the tracker, as far as they run.
    pub fn report(&mut self, view: &View) {
        let elapsed = self.age();
        let total = Report::of(view, elapsed);
        if let Some(relay) = &view.relay {
            self.relay.report(relay.load().figures(), elapsed);
        }
        if view.tracker.is_some() {
            let counted = total.counted.since(&self.counted);
            let kernel_drops = total.kernel_drops.saturating_sub(self.kernel_drops);
            Report { counted, kernel_drops, ..total.clone() }.log_rates();
        }
        self.at = Instant::now();
        self.counted = total.counted;
        self.kernel_drops = total.kernel_drops;
    }
}

impl Report {
    /// What happened in the whole time that a process served.
    pub fn of(view: &View, elapsed: Duration) -> Self {
        Self {
            elapsed,
            counted: view.counted(),
            kernel_drops: view.kernel_drops(),
            holdings: view.holdings(),
        }
    }

    /// Writes the report to the log as rates per second.
    pub fn log_rates(&self) {
        tracing::info!(
            connects_per_s = self.rate(self.connects()),
            announces_per_s = self.rate(self.announces()),
            scrapes_per_s = self.rate(self.scrapes()),
            responses_per_s = self.rate(self.responses()),
            torrents = self.holdings.torrents,
            peers = self.holdings.peers,
            drops = %Drops(&self.counted),
            kernel_drops = self.kernel_drops,
            "tracker",
        );
    }

    /// Writes the report to the log as totals.
    pub fn log_totals(&self) {
        let counted = &self.counted;
        tracing::info!(
            uptime = %humantime::format_duration(Duration::from_secs(self.elapsed.as_secs())),
            received = counted.get(Counter::PacketsReceived),
            sent = counted.get(Counter::PacketsSent),
            connects = self.connects(),
            announces = self.announces(),
            scrapes = self.scrapes(),
            errors = counted.get(Counter::ErrorResponses),
            completed = counted.get(Counter::Completed),
            at_owner = counted.get(Counter::RequestsAtOwner),
            elsewhere = counted.get(Counter::RequestsElsewhere),
            unstored = self.unstored(),
            peers_expired = counted.get(Counter::PeersExpired),
            peers_evicted = counted.get(Counter::PeersEvicted),
            torrents = self.holdings.torrents,
            peers = self.holdings.peers,
            worker_restarts = counted.get(Counter::WorkerRestarts),
            queue_overflows = counted.get(Counter::CompletionQueueOverflows),
            drops = %Drops(counted),
            kernel_drops = self.kernel_drops,
            "summary",
        );
    }

    /// Per second, to a tenth.
    fn rate(&self, count: u64) -> f64 {
        per_second(count as f64, self.elapsed)
    }

    fn connects(&self) -> u64 {
        self.sum(&[Counter::ConnectsIpv4, Counter::ConnectsIpv6])
    }

    fn announces(&self) -> u64 {
        self.sum(&[Counter::AnnouncesIpv4, Counter::AnnouncesIpv6])
    }

    fn scrapes(&self) -> u64 {
        self.sum(&[Counter::ScrapesIpv4, Counter::ScrapesIpv6])
    }

    fn responses(&self) -> u64 {
        self.sum(&[
            Counter::ConnectResponses,
            Counter::AnnounceResponses,
            Counter::ScrapeResponses,
            Counter::ErrorResponses,
        ])
    }

    fn unstored(&self) -> u64 {
        self.sum(&[
            Counter::UnstoredPortZero,
            Counter::UnstoredTorrentCap,
            Counter::UnstoredPeerCap,
            Counter::UnstoredSwarmCap,
            Counter::UnstoredMemoryLimit,
        ])
    }

    fn sum(&self, counters: &[Counter]) -> u64 {
        counters.iter().map(|counter| self.counted.get(*counter)).sum()
    }
}

/// Drop counts by reason, those above zero: `bad_connection_id=3 too_short=1`, or `0`.
struct Drops<'a>(&'a Snapshot);

impl fmt::Display for Drops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = DropReason::ALL.iter().map(|reason| (reason.name(), self.0.dropped(*reason)));
        f.write_str(&named_counts(counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Counters;

    #[test]
    fn rates_are_per_second_and_drops_named() {
        let counters = Counters::default();
        counters.add(Counter::AnnouncesIpv4, 300);
        counters.add(Counter::AnnouncesIpv6, 200);
        let quiet = counters.snapshot();
        counters.dropped(DropReason::TooShort);
        counters.dropped(DropReason::BadMagic);
        let counted = counters.snapshot();
        assert_eq!(Drops(&quiet).to_string(), "0");
        assert_eq!(Drops(&counted).to_string(), "too_short=1 bad_magic=1");
        let elapsed = Duration::from_secs(10);
        let report = Report { elapsed, counted, kernel_drops: 0, holdings: Holdings::default() };
        assert_eq!(report.rate(report.announces()), 50.0);
        assert_eq!(report.rate(3), 0.3);
    }

    #[test]
    fn a_report_over_no_time_does_not_divide_by_zero() {
        let report = Report {
            elapsed: Duration::ZERO,
            counted: Snapshot::default(),
            kernel_drops: 0,
            holdings: Holdings::default(),
        };
        assert_eq!(report.rate(5), 5000.0);
    }
}
