//! The rules as one worker sees them: matched by socket and destination, swapped as a whole.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::rule::Offload;
use super::stats::FlowCounters;
use crate::io::{AppliedVersion, SocketId};
use crate::sync::{ArcSwap, AtomicBool};
use crate::telemetry::Sizes;

/// Everything that one worker's relay uses.
#[derive(Debug, Default)]
pub struct RelayTable {
    /// Counts up with each table that is published.
    pub generation: u64,
    /// Whether datagrams are kept together.
    pub offload: Offload,
    /// Whether sends are timed.
    pub latency: bool,
    /// Receive buffers that fragments of IPv6 datagrams may hold; 0 where no rule takes any.
    pub fragments_held_max: usize,
    /// Rules by what they take. With source lists, several may take the same.
    pub inputs: HashMap<InputKey, Vec<usize>>,
    /// The rules.
    pub rules: Vec<TableRule>,
}

/// What a rule takes, as a frame shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InputKey {
    /// The packet socket, which stands for the interface.
    pub socket: SocketId,
    /// Where the datagram is going, without flow label and scope.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
}

impl InputKey {
    /// What arrives at `socket` for `destination`.
    pub const fn new(socket: SocketId, destination: SocketAddr) -> Self {
        Self { socket, address: destination.ip(), port: destination.port() }
    }
}

/// One rule.
#[derive(Debug)]
pub struct TableRule {
    /// Sources to take datagrams from; empty takes all.
    pub sources: Box<[IpAddr]>,
    /// Whether some output keeps the TTL.
    pub keeps_ttl: bool,
    /// Whether some output keeps the code point.
    pub keeps_dscp: bool,
    /// What the worker took for this rule.
    pub counters: Arc<FlowCounters>,
    /// Where it goes.
    pub outputs: Vec<TableOutput>,
}

/// One output.
#[derive(Debug)]
pub struct TableOutput {
    /// The socket; `None` while the output is down.
    pub socket: Option<SocketId>,
    /// Where to, for a socket that is not connected.
    pub to: Option<SocketAddr>,
    /// Whether it is an IPv6 socket.
    pub ipv6: bool,
    /// The longest payload that leaves the interface unfragmented.
    pub segment_max: usize,
    /// The longest payload of a datagram at all.
    pub payload_max: usize,
    /// Whether it sends with the TTL that came in.
    pub keep_ttl: bool,
    /// Whether it sends with the code point that came in.
    pub keep_dscp: bool,
    /// What the worker sent, and how it stands; outlives the table.
    pub state: Arc<OutputState>,
}

/// One worker's figures of one output, and what it learned about it.
#[derive(Debug, Default)]
pub struct OutputState {
    /// Its own number among all outputs that there ever were.
    pub tag: u32,
    /// What the worker sent.
    pub counters: FlowCounters,
    /// How long what was sent took, in microseconds, where that is measured: see
    /// [`Relay::on_submitted`](crate::relay::handler::Relay).
    pub latency_us: Sizes<LATENCY_BUCKETS>,
    /// Set when the kernel refused `UDP_SEGMENT` here: from then on datagrams go singly.
    pub refuses_segments: AtomicBool,
}

/// Up to 2^20 microseconds, which is about a second, and whatever is more.
pub const LATENCY_BUCKETS: usize = 22;

/// The current table of one worker.
#[derive(Debug, Default)]
pub struct SharedTable {
    table: ArcSwap<RelayTable>,
    applied: AppliedVersion,
    /// What arrived on this worker's packet sockets and belongs to no rule.
    pub unmatched: FlowCounters,
}

impl SharedTable {
    /// Publishes a table; the worker uses it within a tick.
    pub fn publish(&self, table: RelayTable) {
        self.table.store(Arc::new(table));
    }

    /// The generation that the worker uses.
    pub fn seen(&self) -> u64 {
        self.applied.get()
    }

    /// Waits until the worker uses `generation`, at most for `timeout`. Returns whether it does.
    pub fn wait_seen(&self, generation: u64, timeout: Duration) -> bool {
        self.applied.wait(generation, timeout)
    }

    pub(super) fn current(&self) -> Arc<RelayTable> {
        self.table.load_full()
    }

    pub(super) fn is_newer_than(&self, generation: u64) -> bool {
        self.table.load().generation != generation
    }

    pub(super) fn set_seen(&self, generation: u64) {
        self.applied.set(generation);
    }
}
