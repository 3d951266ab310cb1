//! What the threads `main` and `api` read while workers run: counters, gauges, and the current
//! rules and limits. Nothing here waits for a worker; only listing torrents takes a shard's lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::io::clock::Clock;
use crate::io::{Engine, RingFeatures, WorkerControl};
use crate::relay::control::RelayView;
use crate::server::broker::BrokerHealth;
use crate::server::persist::sizes::SharedSizes;
use crate::server::sandbox::Confinement;
use crate::sys::socket::BoundSocket;
use crate::telemetry::{Counters, Snapshot};
use crate::tracker::core::policy::SharedPolicy;
use crate::tracker::store::Shards;

/// The running process as other threads see it.
pub struct View {
    /// The clock of the workers.
    pub clock: Clock,
    /// When the process began to serve.
    pub started: Instant,
    /// What drives the workers' loops.
    pub engine: Engine,
    /// What of io_uring they use; nothing on epoll.
    pub features: RingFeatures,
    /// What was given up at the start.
    pub privileges: Confinement,
    /// How the process is that opens sockets, if one was started.
    pub broker: Option<BrokerHealth>,
    /// In the order of their indices.
    pub workers: Vec<WorkerView>,
    /// The tracker, if there is one.
    pub tracker: Option<TrackerView>,
    /// The relay, if there is one.
    pub relay: Option<Arc<ArcSwap<RelayView>>>,
    /// Set when the process is about to stop.
    pub draining: AtomicBool,
}

/// One worker.
pub struct WorkerView {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Its heartbeat.
    pub control: Arc<WorkerControl>,
}

/// The tracker.
pub struct TrackerView {
    /// The addresses it is bound to.
    pub addresses: Vec<SocketAddr>,
    /// Whether the kernel took the steering program for every address.
    pub steered: bool,
    /// "on", "off", "refused" or "not needed".
    pub steering: &'static str,
    /// The sockets of all workers.
    pub sockets: Vec<Arc<BoundSocket>>,
    /// The current limits, intervals and access list.
    pub policy: SharedPolicy,
    /// The swarms: one shard for each worker.
    pub shards: Arc<Shards>,
    /// Torrents by how many peers they have, where they are counted.
    pub torrent_sizes: SharedSizes,
}

/// How much the tracker stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Torrents, each address family counted for itself.
    pub torrents: u64,
    /// Peers of both address families.
    pub peers: u64,
}

impl View {
    /// The bound addresses, with the ports that were chosen where 0 was asked for.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.tracker.iter().flat_map(|tracker| tracker.addresses.iter().copied())
    }

    /// Whether the kernel steers every request to the worker that owns its torrent.
    pub fn is_steered(&self) -> bool {
        self.tracker.as_ref().is_none_or(|tracker| tracker.steered)
    }

    /// When each worker's loop last ticked, in seconds since the Unix epoch.
    pub fn heartbeats(&self) -> impl Iterator<Item = u64> {
        self.workers.iter().map(|worker| worker.control.heartbeat_s())
    }

    /// What all workers counted so far.
    pub fn counted(&self) -> Snapshot {
        Snapshot::total(self.workers.iter().map(|worker| &*worker.counters))
    }

    /// What each worker counted so far.
    pub fn counted_by_worker(&self) -> impl Iterator<Item = Snapshot> {
        self.workers.iter().map(|worker| worker.counters.snapshot())
    }

    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub fn kernel_drops(&self) -> u64 {
        self.tracker.as_ref().map_or(0, TrackerView::kernel_drops)
    }

    /// How much the tracker stores.
    pub fn holdings(&self) -> Holdings {
        let gauges = self.tracker.iter().flat_map(|tracker| tracker.shards.gauges());
        gauges.fold(Holdings::default(), |sum, shard| Holdings {
            torrents: sum.torrents + shard.torrents() as u64,
            peers: sum.peers + shard.peers() as u64,
        })
    }

    /// Whether the process is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Seconds since each worker's loop last ticked.
    pub fn heartbeat_ages_s(&self) -> impl Iterator<Item = u64> {
        let now_s = self.clock.now().seconds();
        self.workers.iter().map(move |worker| now_s.saturating_sub(worker.control.heartbeat_s()))
    }
}

impl TrackerView {
    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub fn kernel_drops(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.kernel_drops()).sum()
    }
}

/// A loop ticks every 100 ms and its heartbeat counts whole seconds; a worker that restarts rests
/// for a second at most. One that is silent for longer than this hangs.
pub const HEARTBEAT_AGE_S_MAX: u64 = 5;
