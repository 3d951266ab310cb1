//! The peers of every torrent, in as little memory as they take.
//!
//! A [`Shard`] holds a part of all torrents: [`Torrents`] of each address family. A torrent is
//! an entry of a slab, found by a keyed hash of its info hash; its peers are a short list or, if
//! many, dense tables. Nothing here reads a clock, locks (but for [`Shards`]) or allocates,
//! except for growth.

mod allocation;
mod expiry;
mod index;
mod memory;
mod peer;
#[cfg(test)]
mod probes;
mod sample;
mod segments;
mod shard;
mod sink;
mod slab;
pub mod steering;
mod swarm;
mod table;
mod torrents;
mod walk;

pub use expiry::{BACKLOG_INTERVAL, EXPIRY_VISITS_MAX, Expired, Pace};
pub use memory::{EVICTION_VISITS_MAX, MemoryShare, SHARE_BYTES_MIN, Usage, share_bytes};
pub use peer::{Ipv4, Ipv4Record, Ipv6, Ipv6Record, PEER_TIMEOUT_S_MAX, PeerFamily, Record, State};
pub use shard::{Gauges, Secrets, Shard, ShardGuard, Shards};
pub use sink::{CompactPeers, NoPeers, PeerSink};
pub use torrents::{Announce, Announced, Event, Limits, Outcome, ScrapeCounts, Torrents, Unstored};
pub use walk::{PeerChunk, Restored, WALK_VISITS, Walk};

#[cfg(test)]
mod tests;
