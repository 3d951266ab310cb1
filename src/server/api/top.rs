//! The list of the torrents with the most peers, and the counts in it.

use serde::{Deserialize, Serialize};

/// Counts of a swarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmCounts {
    /// Stored seeders.
    pub seeders: u64,
    /// Stored leechers.
    pub leechers: u64,
    /// Downloads reported complete.
    pub completed: u64,
}

/// The torrents with the most peers, those of both families listed each for itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Top {
    /// The one with the most peers first.
    pub torrents: Vec<TopTorrent>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopTorrent {
    /// Its info hash, 40 hex digits.
    pub info_hash: String,
    /// "ipv4" or "ipv6".
    pub family: String,
    /// Its counts.
    #[serde(flatten)]
    pub swarm: SwarmCounts,
}

impl TopTorrent {
    /// Seeders and leechers.
    pub fn peers(&self) -> u64 {
        self.swarm.seeders + self.swarm.leechers
    }
}
