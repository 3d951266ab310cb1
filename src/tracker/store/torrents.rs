//! One address family's torrents of one shard: announce and scrape.

use fastrand::Rng;

use super::expiry::Cursor;
use super::index::{Digest, Index, Named};
use super::peer::{Family, Record, State};
use super::sample::Reply;
use super::slab::Slab;
use super::swarm::{Counts, Placed, Swarm};
use crate::handler::Now;
use crate::telemetry::Counter;
use crate::tracker::request::Event;
use crate::tracker::{InfoHash, TrackerSettings};

/// One address family's torrents of one shard.
///
/// A torrent exists while it has peers: the announce of its first peer creates it, and with the
/// last one that stops or expires it goes, its completed count included.
pub struct Torrents<F: Family> {
    pub(super) slab: Slab<Torrent<F::Record>>,
    pub(super) index: Index,
    pub(super) peers: usize,
    pub(super) sweep: Cursor,
}

/// One torrent.
#[derive(Debug)]
pub(super) struct Torrent<R: Record> {
    info_hash: InfoHash,
    pub(super) completed: u32,
    pub(super) swarm: Swarm<R>,
}

const _: () = assert!(size_of::<super::slab::Entry<Torrent<super::Ipv4Record>>>() == 56);
const _: () = assert!(size_of::<super::slab::Entry<Torrent<super::Ipv6Record>>>() == 80);

impl<R: Record> Named for Torrent<R> {
    #[inline]
    fn info_hash(&self) -> &InfoHash {
        &self.info_hash
    }
}

/// An announce that passed every check.
#[derive(Clone, Copy, Debug)]
pub struct Announce<'a, F: Family> {
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
    /// The most peers it is to be told of.
    pub numwant: usize,
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
}

impl Limits {
    /// One shard's part of the process's caps, rounded up.
    pub fn per_shard(settings: &TrackerSettings, shards: usize) -> Self {
        let part = |total: u64| {
            usize::try_from(total.div_ceil(shards.max(1) as u64)).unwrap_or(usize::MAX)
        };
        Self {
            torrents: part(settings.torrents_max),
            peers: part(settings.peers_max),
            peers_per_torrent: settings.peers_per_torrent_max as usize,
        }
    }
}

/// The answer to an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Seeders, the announcing peer included unless it stopped, even if it was not stored.
    pub seeders: u32,
    /// Leechers, the announcing peer included unless it stopped, even if it was not stored.
    pub leechers: u32,
    /// How many bytes of peers were written.
    pub bytes_written: usize,
    /// What became of the peer.
    pub outcome: Outcome,
    /// Whether the announce raised the torrent's completed count.
    pub completed: bool,
    /// Whether the peer is stored and was not before.
    pub is_new: bool,
}

/// What became of an announcing peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// It stopped, and is not stored any more if it was.
    Removed,
    /// It was answered only; the counter says why.
    Unstored(Counter),
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

impl<F: Family> Torrents<F> {
    /// No torrents yet. `key` is secret: it keeps info hashes from being chosen to collide.
    pub fn new(key: [u64; 2]) -> Self {
        Self { slab: Slab::new(), index: Index::new(key), peers: 0, sweep: Cursor::default() }
    }

    /// How many torrents there are.
    pub fn torrents(&self) -> usize {
        self.slab.len()
    }

    /// How many peers there are in all torrents.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// Stores, updates or removes the announcing peer and chooses the peers it is told of, which
    /// are written to `out` as the wire has them; what `out` holds after them is left undefined.
    ///
    /// A seeder is told of leechers only, a leecher of both; nobody of itself. `completed` counts
    /// once for a stored peer, however often it is repeated. A stopping peer gets counts and no
    /// peers. A peer with port 0, or new and over a cap, is answered as usual but not stored, and
    /// its `completed` does not count.
    pub fn announce(
        &mut self,
        request: &Announce<'_, F>,
        limits: &Limits,
        rng: &mut Rng,
        out: &mut [u8],
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
        let counted = completed
            && match placed {
                Ok(Placed::Updated(earlier)) => !earlier.completed(),
                Ok(Placed::Inserted) => true,
                _ => false,
            };
        let outcome = placed.map_or_else(Outcome::Unstored, |_| Outcome::Stored);
        let stored = outcome == Outcome::Stored;
        let mut reply = Reply::new(out);
        let mut counts = Counts::default();
        if let Some(torrent) = torrent {
            torrent.completed = torrent.completed.saturating_add(u32::from(counted));
            counts = torrent.swarm.counts();
            torrent.swarm.sample(&me, stored, request.numwant, rng, &mut reply);
        }
        let myself = |kind: bool| u32::from(!stored && kind);
        Announced {
            seeders: counts.seeders + myself(request.seeder),
            leechers: counts.leechers + myself(!request.seeder),
            bytes_written: reply.written(),
            outcome,
            completed: counted,
            is_new: placed == Ok(Placed::Inserted),
        }
    }

    /// The counts of a torrent; `None` if there is no such torrent.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<ScrapeCounts> {
        let digest = self.index.digest(info_hash);
        let torrent = self.slab.get(self.index.find(&self.slab, digest, info_hash)?)?;
        let Counts { seeders, leechers } = torrent.swarm.counts();
        Some(ScrapeCounts { seeders, completed: torrent.completed, leechers })
    }

    /// Rebuilds the index, the counts and each swarm from the stored records, after a panic may
    /// have cut a change short.
    pub fn recover(&mut self, rng: &mut Rng) {
        self.index.clear();
        (self.peers, self.sweep) = (0, Cursor::default());
        let mut seen = std::collections::BTreeSet::new();
        self.slab.rebuild(|torrent| {
            torrent.swarm.repair(rng);
            self.peers += torrent.swarm.len();
            torrent.swarm.len() > 0 && seen.insert(torrent.info_hash)
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
    pub(super) fn store(
        &mut self,
        found: Option<u32>,
        digest: Digest,
        info_hash: &InfoHash,
        me: F::Record,
        limits: &Limits,
        rng: &mut Rng,
    ) -> (Option<u32>, Result<Placed, Counter>) {
        if me.is_empty() {
            return (found, Err(Counter::UnstoredPortZero));
        }
        let peers_full = self.peers >= limits.peers;
        let swarm_max = limits.peers_per_torrent.min(SWARM_PEERS_MAX);
        let Some(number) = found else {
            if self.slab.len() >= limits.torrents.min(Slab::<F>::LEN_MAX) {
                return (None, Err(Counter::UnstoredTorrentCap));
            }
            if peers_full || swarm_max == 0 {
                return (None, Err(cap_reached(peers_full)));
            }
            let info_hash = *info_hash;
            let torrent = Torrent { info_hash, completed: 0, swarm: Swarm::of(me) };
            let number = self.slab.insert(torrent);
            self.index.insert(&self.slab, digest, number);
            self.peers += 1;
            return (Some(number), Ok(Placed::Inserted));
        };
        let Some(torrent) = self.slab.get_mut(number) else {
            return (None, Err(Counter::UnstoredTorrentCap));
        };
        let room = !peers_full && torrent.swarm.len() < swarm_max;
        let placed = match torrent.swarm.store(me, room, rng) {
            Placed::Refused => Err(cap_reached(peers_full)),
            placed => Ok(placed),
        };
        self.peers += usize::from(placed == Ok(Placed::Inserted));
        (found, placed)
    }

    fn stop(&mut self, found: Option<u32>, digest: Digest, me: &F::Record) -> Announced {
        let mut counts = Counts::default();
        if let Some(number) = found
            && let Some(torrent) = self.slab.get_mut(number)
        {
            self.peers -= usize::from(torrent.swarm.remove(me));
            counts = torrent.swarm.counts();
            if torrent.swarm.len() == 0 {
                self.remove_torrent(digest, number);
            }
        }
        Announced {
            seeders: counts.seeders,
            leechers: counts.leechers,
            bytes_written: 0,
            outcome: Outcome::Removed,
            completed: false,
            is_new: false,
        }
    }
}

fn cap_reached(peers_full: bool) -> Counter {
    if peers_full { Counter::UnstoredPeerCap } else { Counter::UnstoredSwarmCap }
}

/// The most peers of one torrent, whatever is configured: a table counts its slots in 32 bits.
const SWARM_PEERS_MAX: usize = 1 << 30;
