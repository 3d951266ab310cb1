//! The tracker's limits and intervals, already validated.

use super::source_limits::SourceLimitSettings;
use crate::tracker::store::{self, MemoryShare};

/// What an operator can set about the tracker's answers and its memory.
///
/// Durations are whole seconds: nothing in the protocol is finer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerSettings {
    /// The interval clients are told, before jitter. Default 1,800 s.
    pub announce_interval_s: u32,
    /// Up to this much is added to the interval, per peer, so that herds spread. Default 120 s.
    pub announce_jitter_s: u32,
    /// A peer that has not announced for this long is removed. Default 2,700 s, at most
    /// [`TrackerSettings::PEER_TIMEOUT_S_MAX`].
    pub peer_timeout_s: u32,
    /// How long a connection ID is accepted at least; at most twice that. Default 120 s.
    pub connection_lifetime_s: u32,
    /// Peers in a reply when the client leaves the number to the tracker. Default 50.
    pub numwant_default: u16,
    /// The most peers in a reply; further bounded by what fits one datagram. Default 200.
    pub numwant_max: u16,
    /// The most hashes answered in one scrape, 74 at the least for BEP 15. Default 74; at most
    /// [`TrackerSettings::SCRAPE_HASHES_MAX`].
    pub scrape_hashes_max: u16,
    /// Caps for the whole process, each per address family: a peer over one is answered but not
    /// stored. Default [`TrackerSettings::NO_CAP`].
    pub torrents_max: u64,
    /// Default [`TrackerSettings::NO_CAP`].
    pub peers_max: u64,
    /// Default 1 million peers per torrent.
    pub peers_per_torrent_max: u32,
    /// Whether a wrong connection ID gets an error response. Off by default: the source may be
    /// forged, and an answer to it is reflection.
    pub answer_bad_connection_ids: bool,
    /// Whether new peers are counted by the program that their peer ID names. Off by default.
    pub client_statistics: bool,
    /// How much one source may ask for. Without limits by default.
    pub source_limits: SourceLimitSettings,
}

impl TrackerSettings {
    /// The longest that the store can keep a silent peer.
    pub const PEER_TIMEOUT_S_MAX: u32 = store::PEER_TIMEOUT_S_MAX;

    /// A cap that is never reached: memory alone bounds the number.
    pub const NO_CAP: u64 = u64::MAX;

    /// The response to this many hashes still fits one unfragmented datagram over IPv6, and the
    /// request fits a receive buffer.
    pub const SCRAPE_HASHES_MAX: u16 = 100;

    /// The number of peers to answer with at most: what the client wants, or the default if it
    /// leaves that to the tracker, and never more than the maximum.
    #[inline]
    pub fn peers_wanted(&self, wanted: Option<usize>) -> usize {
        wanted.unwrap_or(self.numwant_default.into()).min(self.numwant_max.into())
    }

    /// One shard's part of the caps for the whole process, rounded up. Its memory is bounded by
    /// [`Shard::limits_ipv4`](store::Shard::limits_ipv4) and
    /// [`Shard::limits_ipv6`](store::Shard::limits_ipv6).
    pub fn limits_per_shard(&self, shards: usize) -> store::Limits {
        let part = |total: u64| {
            usize::try_from(total.div_ceil(shards.max(1) as u64)).unwrap_or(usize::MAX)
        };
        store::Limits {
            torrents: part(self.torrents_max),
            peers: part(self.peers_max),
            peers_per_torrent: self.peers_per_torrent_max as usize,
            memory: MemoryShare::UNLIMITED,
        }
    }
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            announce_interval_s: 1800,
            announce_jitter_s: 120,
            peer_timeout_s: 2700,
            connection_lifetime_s: 120,
            numwant_default: 50,
            numwant_max: 200,
            scrape_hashes_max: 74,
            torrents_max: Self::NO_CAP,
            peers_max: Self::NO_CAP,
            peers_per_torrent_max: 1_000_000,
            answer_bad_connection_ids: false,
            client_statistics: false,
            source_limits: SourceLimitSettings::default(),
        }
    }
}
