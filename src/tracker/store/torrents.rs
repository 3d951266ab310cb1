//! One address family's torrents of one shard: announce and scrape.

use fastrand::Rng;

use super::expiry::Cursor;
use super::index::{Digest, Index, Named};
use super::memory::{EvictionCursor, MemoryShare};
use super::peer::{PeerFamily, Record, State};
use super::sink::PeerSink;
use super::slab::Slab;
use super::swarm::{Counts, Placed, Swarm};
use crate::io::Now;
use crate::values::InfoHash;

/// One address family's torrents of one shard.
///
/// A torrent exists while it has peers: the announce of its first peer creates it, and with the
/// last one that stops or expires it goes, its completed count included.
pub struct Torrents<F: PeerFamily> {
    pub(super) slab: Slab<Torrent<F::Record>>,
    pub(super) index: Index,
    pub(super) peers: usize,
    /// Bytes allocated by swarms.
    pub(super) peers_bytes: usize,
    pub(super) hand: EvictionCursor,
    pub(super) sweep: Cursor,
}

/// One torrent.
#[derive(Debug)]
pub(super) struct Torrent<R: Record> {
    pub(super) info_hash: InfoHash,
    /// The completed count in 31 bits, and [`CONFIRMED`].
    marks: u32,
    pub(super) swarm: Swarm<R>,
}

impl<R: Record> Torrent<R> {
    fn of(info_hash: InfoHash, peer: R) -> Self {
        Self { info_hash, marks: 0, swarm: Swarm::of(peer) }
    }

    /// How often a stored peer reported `completed` for the first time, up to 2^31 - 1.
    #[inline]
    pub(super) fn completed(&self) -> u32 {
        self.marks & !CONFIRMED
    }

    /// Whether one of its peers has announced again some time after another announce, or it was
    /// there before the process.
    #[inline]
    pub(super) fn is_confirmed(&self) -> bool {
        self.marks & CONFIRMED != 0
    }

    #[inline]
    fn count_completed(&mut self) {
        if self.completed() < !CONFIRMED {
            self.marks += 1;
        }
    }

    /// Takes in what was saved of a torrent.
    pub(super) fn restore(&mut self, completed: u32) {
        self.marks = self.completed().max(completed.min(!CONFIRMED)) | CONFIRMED;
    }
}

const _: () = assert!(
    size_of::<crate::tracker::store::slab::Entry<Torrent<crate::tracker::store::Ipv4Record>>>()
        == 56
);
const _: () = assert!(
    size_of::<crate::tracker::store::slab::Entry<Torrent<crate::tracker::store::Ipv6Record>>>()
        == 80
);

impl<R: Record> Named for Torrent<R> {
    #[inline]
    fn info_hash(&self) -> &InfoHash {
        &self.info_hash
    }
}

/// An announce that passed every check.
#[derive(Clone, Copy, Debug)]
pub struct Announce<'a, F: PeerFamily> {
    /// When it came.
    pub now: Now,
    /// The torrent.
    pub info_hash: &'a InfoHash,
    /// The packet's source address with the announced port.
    pub peer: F::Endpoint,
    /// Whether the peer has everything (`left` is 0).
    pub seeder: bool,
    /// What it reports.
    pub event: Event,
    /// At most how many peers it is sent.
    pub numwant: usize,
}

/// Why a client announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// At the interval, or for a reason that means nothing here, such as BEP 21's `paused`.
    None,
    /// The download has just become complete.
    Completed,
    /// The client has just begun.
    Started,
    /// The client leaves.
    Stopped,
}

/// Caps of one shard and address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most torrents.
    pub torrents: usize,
    /// The most peers.
    pub peers: usize,
    /// The most peers of one torrent.
    pub peers_per_torrent: usize,
    /// The memory they may take.
    pub memory: MemoryShare,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        torrents: usize::MAX,
        peers: usize::MAX,
        peers_per_torrent: usize::MAX,
        memory: MemoryShare::UNLIMITED,
    };
}

/// The answer to an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Seeders, the announcing peer included unless it stopped, even if it was not stored.
    pub seeders: u32,
    /// Leechers, the announcing peer included unless it stopped, even if it was not stored.
    pub leechers: u32,
    /// What became of the peer.
    pub outcome: Outcome,
    /// Whether the announce raised the torrent's completed count.
    pub completed: bool,
    /// Whether the peer is stored and was not before.
    pub is_new: bool,
    /// How many peers another torrent had that was given up for this one; 0 if none was.
    pub evicted: usize,
}

/// What became of an announcing peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// It stopped, and is not stored any more if it was.
    Removed,
    /// It was answered only.
    Unstored(Unstored),
}

/// Why a peer that announced is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unstored {
    /// Nobody can connect to it.
    #[error("its port is 0")]
    PortZero,
    /// It would be the first of another torrent.
    #[error("the shard holds as many torrents as it may")]
    TorrentCap,
    /// All torrents together have as many peers as they may.
    #[error("the shard holds as many peers as it may")]
    PeerCap,
    /// Its torrent has as many peers as it may.
    #[error("the torrent has as many peers as it may")]
    SwarmCap,
    /// There is no memory for it, and nothing that may be evicted for it.
    #[error("the shard's memory is used up")]
    MemoryLimit,
}

/// What a scrape tells of one torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeCounts {
    /// Stored seeders.
    pub seeders: u32,
    /// How often a stored peer reported `completed` for the first time.
    pub completed: u32,
    /// Stored leechers.
    pub leechers: u32,
}

impl<F: PeerFamily> Torrents<F> {
    /// No torrents yet. `key` is secret: it keeps info hashes from being chosen to collide.
    pub fn new(key: [u64; 2]) -> Self {
        Self {
            slab: Slab::new(),
            index: Index::new(key),
            peers: 0,
            peers_bytes: 0,
            hand: EvictionCursor::default(),
            sweep: Cursor::default(),
        }
    }

    /// How many torrents there are.
    pub fn torrents(&self) -> usize {
        self.slab.len()
    }

    /// How many peers there are in all torrents.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// Stores, updates or removes the announcing peer and chooses the peers for its answer, which
    /// go to `sink`.
    ///
    /// A seeder gets leechers only, a leecher both; nobody gets itself. `completed` counts
    /// once for a stored peer, however often it is repeated. A stopping peer gets counts and no
    /// peers. A peer with port 0, or new and over a cap, is answered as usual but not stored, and
    /// its `completed` does not count.
    pub fn announce(
        &mut self,
        request: &Announce<'_, F>,
        limits: &Limits,
        rng: &mut Rng,
        sink: &mut impl PeerSink,
    ) -> Announced {
        let completed = request.event == Event::Completed;
        let state = State::new(request.now, request.seeder, completed);
        let me = F::Record::new(request.peer, state);
        let digest = self.index.digest(request.info_hash);
        let found = self.index.find(&self.slab, digest, request.info_hash);
        if request.event == Event::Stopped {
            return self.stop(found, digest, &me);
        }
        let (found, placed) = self.store(found, digest, request.info_hash, me, limits, rng);
        let torrent = found.and_then(|number| self.slab.get_mut(number));
        let (mut counted, mut confirmed, mut evicted) = (false, false, 0);
        match placed {
            Ok(Stored::Updated(earlier)) => {
                counted = completed && !earlier.completed();
                confirmed = earlier.age_before_s(state) >= CONFIRMED_AFTER_S;
            }
            Ok(Stored::Inserted { evicted: peers }) => (counted, evicted) = (completed, peers),
            Err(_) => {}
        }
        let outcome = placed.map_or_else(Outcome::Unstored, |_| Outcome::Stored);
        let stored = outcome == Outcome::Stored;
        let mut counts = Counts::default();
        if let Some(torrent) = torrent {
            if counted {
                torrent.count_completed();
            }
            if confirmed {
                torrent.marks |= CONFIRMED;
            }
            counts = torrent.swarm.counts();
            torrent.swarm.sample(&me, stored, request.numwant, rng, sink);
        }
        let myself = |kind: bool| u32::from(!stored && kind);
        Announced {
            seeders: counts.seeders + myself(request.seeder),
            leechers: counts.leechers + myself(!request.seeder),
            outcome,
            completed: counted,
            is_new: matches!(placed, Ok(Stored::Inserted { .. })),
            evicted,
        }
    }

    /// The counts of a torrent; `None` if there is no such torrent.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<ScrapeCounts> {
        let digest = self.index.digest(info_hash);
        let torrent = self.slab.get(self.index.find(&self.slab, digest, info_hash)?)?;
        let Counts { seeders, leechers } = torrent.swarm.counts();
        Some(ScrapeCounts { seeders, completed: torrent.completed(), leechers })
    }

    /// Rebuilds the index, the counts and each swarm from the stored records, after a panic may
    /// have cut a change short.
    pub fn recover(&mut self, rng: &mut Rng) {
        self.index.clear();
        (self.peers, self.peers_bytes, self.sweep) = (0, 0, Cursor::default());
        let mut seen = std::collections::BTreeSet::new();
        self.slab.rebuild(|torrent| {
            torrent.swarm.repair(rng);
            let keep = torrent.swarm.len() > 0 && seen.insert(torrent.info_hash);
            if keep {
                self.peers += torrent.swarm.len();
                self.peers_bytes += torrent.swarm.heap_bytes();
            }
            keep
        });
        for number in 0..self.slab.numbers() {
            if let Some(torrent) = self.slab.get(number) {
                let digest = self.index.digest(&torrent.info_hash);
                self.index.insert(&self.slab, digest, number);
            }
        }
    }

    /// Removes a torrent that has no peers left.
    pub(super) fn remove_torrent(&mut self, digest: Digest, number: u32) {
        self.index.remove(digest, number);
        self.slab.remove(number);
    }

    /// Stores the peer if the caps allow, and says in which torrent and how; or, if not, which
    /// cap it was, and the torrent if there is one.
    #[inline]
    pub(super) fn store(
        &mut self,
        found: Option<u32>,
        digest: Digest,
        info_hash: &InfoHash,
        me: F::Record,
        limits: &Limits,
        rng: &mut Rng,
    ) -> (Option<u32>, Result<Stored, Unstored>) {
        if me.is_empty() {
            return (found, Err(Unstored::PortZero));
        }
        let Some(number) = found else {
            return match self.add_torrent(digest, info_hash, me, limits) {
                Ok((number, evicted)) => (Some(number), Ok(Stored::Inserted { evicted })),
                Err(cap) => (None, Err(cap)),
            };
        };
        let peers_full = self.peers >= limits.peers;
        let has_memory = self.has_room_for_peer(&limits.memory);
        let Some(torrent) = self.slab.get_mut(number) else {
            return (None, Err(Unstored::TorrentCap));
        };
        let swarm = &mut torrent.swarm;
        let swarm_full = swarm.len() >= limits.peers_per_torrent.min(SWARM_PEERS_MAX);
        let room = !peers_full && !swarm_full && (has_memory || swarm.has_vacancy());
        let before = swarm.heap_bytes();
        let stored = match swarm.store(me, room, rng) {
            Placed::Updated(earlier) => Ok(Stored::Updated(earlier)),
            Placed::Inserted => Ok(Stored::Inserted { evicted: 0 }),
            Placed::Refused if peers_full => Err(Unstored::PeerCap),
            Placed::Refused if swarm_full => Err(Unstored::SwarmCap),
            Placed::Refused => Err(Unstored::MemoryLimit),
        };
        self.peers_bytes = self.peers_bytes - before + swarm.heap_bytes();
        self.peers += usize::from(matches!(stored, Ok(Stored::Inserted { .. })));
        (found, stored)
    }

    /// Adds a torrent of one peer, in the place of another one if memory is short. Returns its
    /// number and how many peers the other one had.
    fn add_torrent(
        &mut self,
        digest: Digest,
        info_hash: &InfoHash,
        me: F::Record,
        limits: &Limits,
    ) -> Result<(u32, usize), Unstored> {
        if self.slab.len() >= limits.torrents.min(Slab::<F>::LEN_MAX) {
            return Err(Unstored::TorrentCap);
        }
        if self.peers >= limits.peers {
            return Err(Unstored::PeerCap);
        }
        if limits.peers_per_torrent == 0 {
            return Err(Unstored::SwarmCap);
        }
        let torrent = Torrent::of(*info_hash, me);
        let (number, evicted) = if self.has_room_for_torrent(&limits.memory) {
            (self.slab.insert(torrent), 0)
        } else {
            let (number, evicted) = self.evict(&me).ok_or(Unstored::MemoryLimit)?;
            self.slab.replace(number, torrent);
            (number, evicted)
        };
        self.index.insert(&self.slab, digest, number);
        self.peers += 1;
        Ok((number, evicted))
    }

    fn stop(&mut self, found: Option<u32>, digest: Digest, me: &F::Record) -> Announced {
        let mut counts = Counts::default();
        if let Some(number) = found
            && let Some(torrent) = self.slab.get_mut(number)
        {
            let before = torrent.swarm.heap_bytes();
            self.peers -= usize::from(torrent.swarm.remove(me));
            self.peers_bytes = self.peers_bytes - before + torrent.swarm.heap_bytes();
            counts = torrent.swarm.counts();
            if torrent.swarm.len() == 0 {
                self.remove_torrent(digest, number);
            }
        }
        Announced {
            seeders: counts.seeders,
            leechers: counts.leechers,
            outcome: Outcome::Removed,
            completed: false,
            is_new: false,
            evicted: 0,
        }
    }
}

/// How a peer was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It was there; this was its state.
    Updated(State),
    /// It is new; `evicted` peers went with another torrent to make room.
    Inserted { evicted: usize },
}

/// The most peers of one torrent, whatever is configured: a table counts its slots in 32 bits.
const SWARM_PEERS_MAX: usize = 1 << 30;
/// The mark of a torrent that was announced again: the highest bit beside its completed count.
const CONFIRMED: u32 = 1 << 31;
/// A peer that announces again confirms its torrent if that comes so many seconds later: whoever
/// floods the tracker has to keep all it invents for as long.
pub(super) const CONFIRMED_AFTER_S: u16 = 60;
