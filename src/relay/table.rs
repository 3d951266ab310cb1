//! The rules as one worker sees them: matched by socket and destination, swapped as a whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hashbrown::{DefaultHashBuilder, HashMap};

use super::rule::Offload;
use super::stats::FlowCounters;
use crate::handler::SocketId;

/// Everything one worker's relay goes by.
#[derive(Debug, Default)]
pub struct RelayTable {
    /// Counts up with each table that is published.
    pub generation: u64,
    /// Whether datagrams are kept together.
    pub offload: Offload,
    /// Rules by what they take.
    pub inputs: HashMap<InputKey, usize, DefaultHashBuilder>,
    /// The rules.
    pub rules: Vec<TableRule>,
    /// One more than the largest tag of any output.
    pub tags: usize,
    /// The most receive buffers that one output may hold.
    pub held_max: usize,
}

/// What a rule takes, as a frame shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InputKey {
    /// The packet socket, which stands for the interface.
    pub socket: SocketId,
    /// Where the datagram is going.
    pub destination: SocketAddr,
}

/// One rule.
#[derive(Debug)]
pub struct TableRule {
    /// Sources to take datagrams from; empty takes all.
    pub sources: Box<[IpAddr]>,
    /// Whether some output keeps the TTL or the code point.
    pub keeps: bool,
    /// What the worker took for this rule.
    pub counters: Arc<FlowCounters>,
    /// Where it goes.
    pub outputs: Vec<TableOutput>,
}

/// One output.
#[derive(Debug)]
pub struct TableOutput {
    /// The connected socket; `None` while the output is down.
    pub socket: Option<SocketId>,
    /// Whether it is an IPv6 socket.
    pub ipv6: bool,
    /// The output's own number among all outputs; stays when rules change.
    pub tag: u32,
    /// The largest payload that leaves the interface unfragmented.
    pub segment_max: usize,
    /// Whether it sends with the TTL that came in.
    pub keep_ttl: bool,
    /// Whether it sends with the code point that came in.
    pub keep_dscp: bool,
    /// What the worker sent.
    pub counters: Arc<FlowCounters>,
    /// Set when the kernel refused `UDP_SEGMENT` here: from then on datagrams go singly.
    pub refuses_segments: Arc<AtomicBool>,
}

impl TableOutput {
    /// The largest payload of a datagram: 65,535 bytes less the headers that count (RFC 768,
    /// RFC 791, RFC 8200).
    pub const fn payload_max(&self) -> usize {
        if self.ipv6 { 65_535 - 8 } else { 65_535 - 20 - 8 }
    }
}

/// The table in force on one worker.
#[derive(Debug, Default)]
pub struct SharedTable {
    table: ArcSwap<RelayTable>,
    seen: AtomicU64,
    /// What arrived on this worker's packet sockets and belongs to no rule.
    pub unmatched: FlowCounters,
}

impl SharedTable {
    /// Puts a table in force; the worker takes it up within a tick.
    pub fn publish(&self, table: RelayTable) {
        self.table.store(Arc::new(table));
    }

    /// The generation that the worker goes by.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    pub(super) fn current(&self) -> Arc<RelayTable> {
        self.table.load_full()
    }

    pub(super) fn is_newer_than(&self, generation: u64) -> bool {
        self.table.load().generation != generation
    }

    pub(super) fn set_seen(&self, generation: u64) {
        self.seen.store(generation, Ordering::Release);
    }
}
