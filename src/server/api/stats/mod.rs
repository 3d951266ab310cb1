//! Figures of one moment, as JSON and metrics show them and as `ringtide ctl` reads them back.

mod clients;
mod collect;
mod process;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use process::ProcessStats;

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// All figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The process as a whole.
    pub process: ProcessStats,
    /// Each worker, by index.
    pub workers: Vec<WorkerStats>,
    /// The tracker; absent when none runs.
    pub tracker: Option<TrackerStats>,
    /// The relay; absent when none runs.
    pub relay: Option<RelayStats>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Its index, from 0.
    pub index: usize,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Whether its loop ticks.
    pub healthy: bool,
    /// Seconds since its loop last ticked.
    pub heartbeat_age_s: u64,
    /// Its counters, by name.
    pub counters: Counts,
    /// Datagrams it dropped, by reason.
    pub drops: Counts,
    /// What its shard holds.
    pub shard: Holdings,
    /// The pools of its loop.
    pub pools: Pools,
    /// Packets and frames per iteration of its loop.
    pub iteration_packets: Histogram,
    /// Microseconds from the end of the wait until all packets are handled and submitted.
    pub iteration_us: Histogram,
}

/// Torrents and peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Torrents with IPv4 peers.
    pub torrents_ipv4: u64,
    /// Torrents with IPv6 peers.
    pub torrents_ipv6: u64,
    /// IPv4 peers.
    pub peers_ipv4: u64,
    /// IPv6 peers.
    pub peers_ipv6: u64,
    /// Bytes allocated for them and their indexes.
    pub memory_bytes: u64,
}

/// The pools of a loop after its last iteration that took packets; all 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// Free receive buffers for datagrams.
    pub receive_buffers_free: u64,
    /// Free receive buffers for frames.
    pub frame_buffers_free: u64,
    /// Send slots that are not in flight.
    pub send_slots_free: u64,
    /// Frames waiting for send slots.
    pub frames_waiting: u64,
}

/// A histogram in powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Values up to 1, 2, 4, 8 and so on, each above the previous bound; the last bucket holds
    /// everything larger.
    pub buckets: Vec<u64>,
    /// The sum of all sizes.
    pub sum: u64,
}

/// The tracker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrackerStats {
    /// The addresses it is bound to.
    pub listen: Vec<String>,
    /// Whether the kernel steers requests to the worker that owns their torrent.
    pub steering: String,
    /// What all shards hold.
    pub holdings: Holdings,
    /// The memory that they may use.
    pub memory_limit_bytes: u64,
    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub kernel_drops: u64,
    /// The mode of the access list: "off", "allow" or "deny".
    pub access_mode: String,
    /// How many torrents are on it.
    pub access_hashes: u64,
    /// What all workers counted.
    pub counters: Counts,
    /// What all workers dropped, by reason.
    pub drops: Counts,
    /// Which programs new peers ran; absent where they are not counted.
    pub clients: Option<ClientStats>,
    /// How many peers torrents have; absent where they are not counted, and before the first time.
    pub torrent_sizes: Option<TorrentSizeStats>,
}

/// New peers, by the client program in their peer ID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStats {
    /// By the program's name; "other" are unknown ones.
    pub programs: Counts,
    /// By the first eight bytes of the peer ID, versions included; those with the most peers.
    pub prefixes: Counts,
}

/// Torrents by number of peers at the last count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TorrentSizeStats {
    /// Seconds since then.
    pub age_s: u64,
    /// Torrents with IPv4 peers.
    pub ipv4: Histogram,
    /// Torrents with IPv6 peers.
    pub ipv6: Histogram,
}

/// The relay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RelayStats {
    /// The rules, in order.
    pub rules: Vec<RuleStats>,
    /// What belongs to no rule, by reason.
    pub unmatched: Counts,
    /// Frames that the kernel dropped because a packet socket's buffer was full.
    pub kernel_drops: u64,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleStats {
    /// Its name.
    pub name: String,
    /// Its input.
    pub input: String,
    /// Sources whose datagrams it takes; all if empty.
    pub source: Vec<String>,
    /// Whether its input's interface is present.
    pub receiving: bool,
    /// Why it receives nothing, or not everything.
    pub down: Option<String>,
    /// What it took.
    #[serde(flatten)]
    pub flow: FlowStats,
    /// The latency of all its outputs together; absent where it is not measured.
    pub latency_us: Option<Histogram>,
    /// Where it sends.
    pub outputs: Vec<OutputStats>,
}

/// One output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputStats {
    /// Where it sends.
    pub to: String,
    /// Why it cannot send at the moment.
    pub down: Option<String>,
    /// What it sent.
    #[serde(flatten)]
    pub flow: FlowStats,
    /// Microseconds from a frame's arrival at the interface to the end of its send, once for each
    /// send; absent where it is not measured.
    pub latency_us: Option<Histogram>,
}

/// Figures of a rule's input or of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStats {
    /// Datagrams that went through.
    pub packets: u64,
    /// Their payload in bytes.
    pub bytes: u64,
    /// Frames received or sends made for them.
    pub sends: u64,
    /// When one last went through, in seconds since the Unix epoch; 0 is never.
    pub last_seen_s: u64,
    /// What was dropped, by reason; reasons without a drop are left out.
    pub drops: Counts,
}

impl Histogram {
    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The size that this share of all, 0 to 1, is not above: the end of a bucket. `None` for the
    /// last bucket, which has no end, and when nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut reached = 0;
        let place = self.buckets.iter().position(|count| {
            reached += count;
            reached >= wanted
        })?;
        (place + 1 < self.buckets.len()).then(|| 1 << place)
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: buckets.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, part)| *sum += part);
        self.sum += other.sum;
        self
    }
}

impl Holdings {
    /// Both families' torrents, each counted for itself.
    pub fn torrents(&self) -> u64 {
        self.torrents_ipv4 + self.torrents_ipv6
    }

    /// Both families' peers.
    pub fn peers(&self) -> u64 {
        self.peers_ipv4 + self.peers_ipv6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let histogram = Histogram { buckets: vec![0, 50, 40, 9, 1], sum: 0 };
        for (share, size) in [(0.5, Some(2)), (0.51, Some(4)), (0.99, Some(8)), (1.0, None)] {
            assert_eq!(histogram.quantile(share), size, "{share}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        let none = histogram.since(&histogram);
        assert_eq!((none.count(), none.quantile(0.5)), (0, None));
    }
}
