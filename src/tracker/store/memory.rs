//! How much memory torrents and peers may take, and which torrent goes when there is no more.
//!
//! What is accounted are allocated bytes: chunks of the slab, parts of the index, lists and tables
//! of peers, each with what the allocator adds. Nothing but a table of bounded size is ever held
//! twice while it is moved, which [`SHARE_RESERVED_BYTES`] leaves room for.
// Circle: the part of `Torrents` that accounts for memory, whose state `Torrents` holds.

use super::index::NUMBER_BYTES_MAX;
use super::peer::{PeerFamily, Record};
use super::slab::{CHUNK_ENTRIES, Slab};
use super::swarm::Swarm;
use super::torrents::{Torrent, Torrents};

/// Bytes that one family of a shard takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The slab of torrents with their first peers, and the index, as large as it may become for
    /// them.
    pub torrents_bytes: usize,
    /// Lists and tables of peers.
    pub peers_bytes: usize,
}

impl Usage {
    /// All of it.
    pub fn bytes(&self) -> usize {
        self.torrents_bytes + self.peers_bytes
    }
}

/// A shard's share of the memory, as one family sees it.
///
/// Torrents of each family may always take an eighth of it and peers a quarter, whatever the
/// others hold; the rest goes to those who come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShare {
    /// What both families may take together.
    pub bytes_max: usize,
    /// What the other family takes.
    pub other: Usage,
}

impl MemoryShare {
    /// No bound.
    pub const UNLIMITED: Self =
        Self { bytes_max: usize::MAX, other: Usage { torrents_bytes: 0, peers_bytes: 0 } };

    /// Whether one family may take `own`.
    #[inline]
    fn fits(&self, own: Usage) -> bool {
        let for_torrents = self.bytes_max / TORRENTS_SHARE;
        let torrents =
            own.torrents_bytes.max(for_torrents) + self.other.torrents_bytes.max(for_torrents);
        let peers = own.peers_bytes + self.other.peers_bytes;
        torrents + peers.max(self.bytes_max / PEERS_SHARE) <= self.bytes_max
    }
}

/// One shard's share of `memory_bytes` for the whole process.
pub fn share_bytes(memory_bytes: usize, shards: usize) -> usize {
    (memory_bytes / shards.max(1)).max(SHARE_BYTES_MIN).saturating_sub(SHARE_RESERVED_BYTES)
}

impl<F: PeerFamily> Torrents<F> {
    /// What is allocated now.
    #[inline]
    pub fn usage(&self) -> Usage {
        let index = self.index.bytes().max(self.slab.capacity() * NUMBER_BYTES_MAX);
        Usage { torrents_bytes: self.slab.bytes() + index, peers_bytes: self.peers_bytes }
    }

    /// Whether there is memory for another torrent.
    #[inline]
    pub(super) fn has_room_for_torrent(&self, share: &MemoryShare) -> bool {
        let Usage { torrents_bytes, peers_bytes } = self.usage();
        !self.slab.is_full()
            || share.fits(Usage { torrents_bytes: torrents_bytes + Self::CHUNK_BYTES, peers_bytes })
    }

    /// Whether there is memory for another peer in any swarm.
    #[inline]
    pub(super) fn has_room_for_peer(&self, share: &MemoryShare) -> bool {
        let Usage { torrents_bytes, peers_bytes } = self.usage();
        share.fits(Usage { torrents_bytes, peers_bytes: peers_bytes + SWARM_GROWTH_BYTES_MAX })
    }

    /// Finds a torrent that can be spared for one of `newcomer` and takes it out of the index, but
    /// not out of the slab. Returns its number and how many peers it had.
    ///
    /// Each call goes on where the last one ended and looks at [`EVICTION_VISITS`] places, or at
    /// [`EVICTION_VISITS_MAX`] until one has a torrent that only a flood or a single newcomer
    /// announced. Others are given up only after [`FRUITLESS_SCANS_MAX`] calls found none of those,
    /// so that torrents that lie together by chance do not suffer for it.
    pub(super) fn evict(&mut self, newcomer: &F::Record) -> Option<(u32, usize)> {
        let mut best: Option<(SpareRank, u32)> = None;
        for visits in 0..EVICTION_VISITS_MAX {
            if visits >= EVICTION_VISITS && best.is_some_and(|(rank, _)| rank.is_first_choice()) {
                break;
            }
            let number = self.slab.skip_vacant(self.hand.number);
            if number >= self.slab.numbers() {
                self.hand.number = 0;
                continue;
            }
            self.hand.number = number + 1;
            let rank = self.slab.get(number).and_then(|torrent| torrent.spare_rank(newcomer));
            best = best.max(rank.map(|rank| (rank, number)));
        }
        let (rank, number) = best?;
        if rank.is_first_choice() {
            self.hand.fruitless_scans = 0;
        } else if self.hand.fruitless_scans < FRUITLESS_SCANS_MAX {
            self.hand.fruitless_scans += 1;
            return None;
        }
        let torrent = self.slab.get(number)?;
        let peers = torrent.swarm.len();
        self.peers -= peers;
        self.peers_bytes -= torrent.swarm.heap_bytes();
        let digest = self.index.digest(&torrent.info_hash);
        self.index.remove(digest, number);
        Some((number, peers))
    }

    /// What another chunk of torrents takes, their part of the index included.
    const CHUNK_BYTES: usize =
        Slab::<Torrent<F::Record>>::CHUNK_BYTES + CHUNK_ENTRIES as usize * NUMBER_BYTES_MAX;
}

/// The search for torrents to give up.
#[derive(Debug, Default)]
pub(super) struct EvictionCursor {
    /// The number to look at next.
    number: u32,
    /// Calls in a row that found no first choice.
    fruitless_scans: u32,
}

/// How readily a torrent is given up: the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SpareRank {
    /// Nobody has announced it a second time, some time after the first.
    unconfirmed: bool,
    /// All of its peers are of the newcomer's source: who floods displaces itself.
    of_newcomer: bool,
    /// All of its peers are of one source, as a rule because there is only one.
    of_one_source: bool,
    /// Seconds since the last announce.
    age_s: u16,
}

impl SpareRank {
    /// One peer, or several of one source, that never came back.
    fn is_first_choice(self) -> bool {
        self.unconfirmed && self.of_one_source
    }
}

impl<R: Record> Torrent<R> {
    /// How readily this torrent is given up for one of `newcomer`. `None` if it is established: a
    /// swarm of several sources that was announced again, or a large one.
    fn spare_rank(&self, newcomer: &R) -> Option<SpareRank> {
        let Swarm::Flat(peers) = &self.swarm else { return None };
        let first = peers.first()?;
        let of_one_source = peers.iter().all(|peer| peer.is_same_source(first));
        if self.is_confirmed() && !of_one_source {
            return None;
        }
        let age_s = |peer: &R| peer.state().age_before_s(newcomer.state());
        Some(SpareRank {
            unconfirmed: !self.is_confirmed(),
            of_newcomer: of_one_source && first.is_same_source(newcomer),
            of_one_source,
            age_s: peers.iter().map(age_s).min()?,
        })
    }
}

/// Places that one announce looks at for a torrent to give up: as many as make a good choice.
const EVICTION_VISITS: usize = 16;
/// The most places that one announce looks at, where torrents are hard to spare.
pub const EVICTION_VISITS_MAX: usize = 64;
/// Calls in a row that may find only torrents that are hard to spare; the next evicts one of these.
const FRUITLESS_SCANS_MAX: u32 = 16;
/// The part of a share that is kept for torrents of each family: one in so many bytes.
const TORRENTS_SHARE: usize = 8;
/// The part that is kept for peers of both.
const PEERS_SHARE: usize = 4;
/// More than one more peer can make a swarm grow: a table of up to 20,480 places by an eighth, or
/// into two tables.
const SWARM_GROWTH_BYTES_MAX: usize = 128 << 10;
/// Kept of each share for a table that is held twice while it moves.
const SHARE_RESERVED_BYTES: usize = 1 << 20;
/// The smallest share: with less, its parts would not hold a chunk of the slab each.
pub const SHARE_BYTES_MIN: usize = 4 << 20;

#[cfg(test)]
mod tests;
