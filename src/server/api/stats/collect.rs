//! Collects the figures from the view.

use super::{
    ClientStats, Counts, FlowStats, Histogram, Holdings, OutputStats, Pools, ProcessStats,
    RelayStats, RuleStats, Stats, TorrentSizeStats, TrackerStats, WorkerStats,
};
use crate::relay::control::{OutputView, RelayView, RuleView};
use crate::relay::stats::{FlowSnapshot, RelayDrop};
use crate::server::api::view::{HEARTBEAT_AGE_S_MAX, TrackerView, View, WorkerView};
use crate::telemetry::{Counter, DropReason, SizesSnapshot, Snapshot};
use crate::tracker::store::Gauges;

impl Stats {
    /// The figures as they are now.
    pub fn collect(view: &View) -> Self {
        let shards: Vec<Holdings> = match &view.tracker {
            Some(tracker) => tracker.shards.gauges().map(Holdings::from).collect(),
            None => vec![Holdings::default(); view.workers.len()],
        };
        let workers =
            view.workers.iter().zip(view.heartbeat_ages_s()).zip(&shards).enumerate().map(
                |(index, ((worker, age_s), shard))| worker_stats(index, worker, age_s, *shard),
            );
        Self {
            process: ProcessStats::collect(view),
            workers: workers.collect(),
            tracker: view.tracker.as_ref().map(|tracker| tracker_stats(view, tracker, &shards)),
            relay: view.relay.as_ref().map(|relay| relay_stats(&relay.load())),
        }
    }
}

fn worker_stats(
    index: usize,
    worker: &WorkerView,
    heartbeat_age_s: u64,
    shard: Holdings,
) -> WorkerStats {
    let counted = worker.counters.snapshot();
    let iterations = worker.counters.loop_stats().snapshot();
    WorkerStats {
        index,
        core: worker.core,
        healthy: heartbeat_age_s <= HEARTBEAT_AGE_S_MAX,
        heartbeat_age_s,
        counters: counters(&counted),
        drops: drops(&counted),
        shard,
        pools: Pools {
            receive_buffers_free: iterations.gauges.receive_buffers_free,
            frame_buffers_free: iterations.gauges.frame_buffers_free,
            send_slots_free: iterations.gauges.send_slots_free,
            frames_waiting: iterations.gauges.frames_waiting,
        },
        iteration_packets: (&iterations.packets).into(),
        iteration_us: (&iterations.busy_us).into(),
    }
}

impl<const BUCKETS: usize> From<&SizesSnapshot<BUCKETS>> for Histogram {
    fn from(counted: &SizesSnapshot<BUCKETS>) -> Self {
        Self { buckets: counted.buckets.to_vec(), sum: counted.sum }
    }
}

fn tracker_stats(view: &View, tracker: &TrackerView, shards: &[Holdings]) -> TrackerStats {
    let counted = view.counted();
    let policy = tracker.policy.current();
    TrackerStats {
        listen: tracker.addresses.iter().map(ToString::to_string).collect(),
        steering: tracker.steering.to_owned(),
        holdings: shards.iter().fold(Holdings::default(), |sum, shard| sum.plus(*shard)),
        memory_limit_bytes: tracker.shards.memory_bytes_max() as u64,
        kernel_drops: tracker.kernel_drops(),
        access_mode: policy.access.mode().name().to_owned(),
        access_hashes: policy.access.len() as u64,
        counters: counters(&counted),
        drops: drops(&counted),
        clients: ClientStats::collect(view, tracker),
        torrent_sizes: TorrentSizeStats::collect(tracker),
    }
}

fn relay_stats(view: &RelayView) -> RelayStats {
    RelayStats {
        rules: view.rules.iter().map(|rule| rule_stats(rule, view.latency)).collect(),
        unmatched: relay_drops(&view.unmatched()),
        kernel_drops: view.kernel_drops(),
    }
}

fn rule_stats(view: &RuleView, latency: bool) -> RuleStats {
    let output = |output| output_stats(output, latency);
    let outputs: Vec<OutputStats> = view.outputs.iter().map(output).collect();
    let parts = outputs.iter().filter_map(|output| output.latency_us.as_ref());
    RuleStats {
        latency_us: latency.then(|| parts.fold(Histogram::default(), Histogram::plus)),
        name: view.rule.name.clone(),
        input: view.rule.input.endpoint.to_string(),
        source: view.rule.input.sources.iter().map(ToString::to_string).collect(),
        receiving: view.receiving,
        down: view.down.clone(),
        flow: view.figures().into(),
        outputs,
    }
}

fn output_stats(view: &OutputView, latency: bool) -> OutputStats {
    OutputStats {
        to: view.output.endpoint.to_string(),
        down: view.down.clone(),
        flow: view.figures().into(),
        latency_us: latency.then(|| (&view.latency_us()).into()),
    }
}

impl From<FlowSnapshot> for FlowStats {
    fn from(flow: FlowSnapshot) -> Self {
        let FlowSnapshot { packets, bytes, sends, last_seen_s, .. } = flow;
        Self { packets, bytes, sends, last_seen_s, drops: relay_drops(&flow) }
    }
}

impl From<&Gauges> for Holdings {
    fn from(gauges: &Gauges) -> Self {
        Self {
            torrents_ipv4: gauges.torrents_ipv4() as u64,
            torrents_ipv6: gauges.torrents_ipv6() as u64,
            peers_ipv4: gauges.peers_ipv4() as u64,
            peers_ipv6: gauges.peers_ipv6() as u64,
            memory_bytes: gauges.memory_bytes() as u64,
        }
    }
}

impl Holdings {
    fn plus(self, other: Self) -> Self {
        Self {
            torrents_ipv4: self.torrents_ipv4 + other.torrents_ipv4,
            torrents_ipv6: self.torrents_ipv6 + other.torrents_ipv6,
            peers_ipv4: self.peers_ipv4 + other.peers_ipv4,
            peers_ipv6: self.peers_ipv6 + other.peers_ipv6,
            memory_bytes: self.memory_bytes + other.memory_bytes,
        }
    }
}

fn counters(counted: &Snapshot) -> Counts {
    Counter::ALL.iter().map(|counter| (counter.name().to_owned(), counted.get(*counter))).collect()
}

fn drops(counted: &Snapshot) -> Counts {
    DropReason::ALL
        .iter()
        .map(|reason| (reason.name().to_owned(), counted.dropped(*reason)))
        .collect()
}

/// Only reasons with a drop: with a thousand rules, the others would be most of the text.
fn relay_drops(flow: &FlowSnapshot) -> Counts {
    let count = |reason: &RelayDrop| (reason.name().to_owned(), flow.dropped(*reason));
    RelayDrop::ALL.iter().map(count).filter(|(_, count)| *count > 0).collect()
}
