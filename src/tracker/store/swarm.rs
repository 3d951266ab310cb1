//! The peers of one torrent: a short list while they are few, two tables when they are many.

use fastrand::Rng;
use smallvec::SmallVec;

use super::allocation::allocated_bytes;
use super::peer::{Record, State};
use super::sample::sample_flat;
use super::segments::{self, PartitionedTable};
use super::sink::PeerSink;

/// The peers of one torrent.
#[derive(Debug)]
pub(super) enum Swarm<R: Record> {
    /// In no order, without heap memory up to two peers, [`FLAT_MAX`] at most.
    Flat(SmallVec<[R; 2]>),
    /// More than that; back to flat below [`LARGE_MIN`], so that a peer that comes and goes does
    /// not rebuild the swarm each time.
    Large(Box<LargeSwarm<R>>),
}

/// Peers by kind, so that a seeder's reply is chosen from leechers alone and counting is free.
#[derive(Debug)]
pub(super) struct LargeSwarm<R> {
    seeders: PartitionedTable<R>,
    leechers: PartitionedTable<R>,
}

/// Seeders and leechers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) seeders: u32,
    pub(super) leechers: u32,
}

/// What became of a peer that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It was there; this was its state.
    Updated(State),
    Inserted,
    /// It was not there, and there was no room for another.
    Refused,
}

/// How far a sweep has come in a large swarm: leechers first, then seeders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    in_seeders: bool,
    within: Option<segments::Position>,
}

/// Where a part of a large swarm is: its leechers by table, the last one first, then its seeders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    in_seeders: bool,
    table: usize,
}

impl<R: Record> Swarm<R> {
    /// A swarm of one peer.
    pub(super) fn of(peer: R) -> Self {
        let mut peers = SmallVec::new();
        peers.push(peer);
        Self::Flat(peers)
    }

    /// How many peers there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Flat(peers) => peers.len(),
            Self::Large(large) => large.seeders.len() + large.leechers.len(),
        }
    }

    /// Bytes allocated beyond the swarm itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Flat(peers) if !peers.spilled() => 0,
            Self::Flat(peers) => allocated_bytes(peers.capacity() * size_of::<R>()),
            Self::Large(large) => {
                let itself = allocated_bytes(size_of::<LargeSwarm<R>>());
                itself + large.seeders.bytes() + large.leechers.bytes()
            }
        }
    }

    /// Whether one more peer takes no more memory for certain.
    #[inline]
    pub(super) fn has_vacancy(&self) -> bool {
        matches!(self, Self::Flat(peers) if peers.len() < peers.capacity().min(FLAT_MAX))
    }

    /// Seeders and leechers.
    pub(super) fn counts(&self) -> Counts {
        match self {
            Self::Flat(peers) => {
                let seeders = peers.iter().filter(|peer| peer.state().seeder()).count();
                Counts { seeders: seeders as u32, leechers: (peers.len() - seeders) as u32 }
            }
            Self::Large(large) => Counts {
                seeders: large.seeders.len() as u32,
                leechers: large.leechers.len() as u32,
            },
        }
    }

    /// Stores the peer or brings it up to date; a new one only if there is `room`. Whether its
    /// completed download was counted is kept from before.
    pub(super) fn store(&mut self, peer: R, room: bool, rng: &mut Rng) -> Placed {
        match self {
            Self::Flat(peers) => {
                if let Some(stored) = peers.iter_mut().find(|stored| stored.is_peer(&peer)) {
                    return Placed::Updated(replace_state(stored, peer.state()));
                }
                if !room {
                    return Placed::Refused;
                }
                peers.push(peer);
                if peers.len() > FLAT_MAX {
                    let large = LargeSwarm::from_peers(peers.iter().copied(), rng);
                    *self = Self::Large(Box::new(large));
                }
                Placed::Inserted
            }
            Self::Large(large) => large.store(peer, room, rng),
        }
    }

    /// Removes the peer; false if it was not there.
    pub(super) fn remove(&mut self, peer: &R) -> bool {
        match self {
            Self::Flat(peers) => {
                let Some(at) = peers.iter().position(|stored| stored.is_peer(peer)) else {
                    return false;
                };
                peers.swap_remove(at);
                shrink_flat(peers);
                true
            }
            Self::Large(large) => {
                let removed =
                    large.leechers.remove(peer).or_else(|| large.seeders.remove(peer)).is_some();
                self.flatten();
                removed
            }
        }
    }

    /// Writes up to `want` peers for `me`, which is in this swarm if `stored`: leechers for a
    /// seeder; for a leecher both, in the proportion in which they are there.
    pub(super) fn sample(
        &self,
        me: &R,
        stored: bool,
        want: usize,
        rng: &mut Rng,
        sink: &mut impl PeerSink,
    ) {
        let want = want.min(sink.room::<R>());
        match self {
            _ if want == 0 => {}
            Self::Flat(peers) => sample_flat(peers, me, want, rng, sink),
            Self::Large(large) => large.sample(me, stored, want, rng, sink),
        }
    }

    /// Removes expired peers, in a large swarm from `position` on until about `budget` slots were
    /// visited. Returns how many were visited and how many peers removed; `position` is `None`
    /// when the swarm is done.
    pub(super) fn expire(
        &mut self,
        position: &mut Option<Position>,
        budget: usize,
        is_expired: impl Fn(State) -> bool,
    ) -> (usize, usize) {
        let (mut visited, mut removed) = (0, 0);
        if let Self::Large(large) = self {
            (visited, removed) = large.expire(position, budget, &is_expired);
            self.flatten();
        }
        if let Self::Flat(peers) = self {
            // A large swarm that has just become flat is short: it is finished here.
            *position = None;
            let before = peers.len();
            peers.retain(|peer| !is_expired(peer.state()));
            visited += before;
            removed += before - peers.len();
            if before != peers.len() {
                shrink_flat(peers);
            }
        }
        (visited, removed)
    }

    /// The slots of the part at `place`, or of the first one, and where the next one is. A part is
    /// all of a small swarm, or one table of a large one.
    ///
    /// A leecher that completes between two parts is seen again, as a seeder, and never not at all.
    pub(super) fn part(&self, place: Option<Place>) -> (&[R], Option<Place>) {
        let large = match self {
            Self::Flat(peers) => return (peers, None),
            Self::Large(large) => large,
        };
        let begin = Place { in_seeders: false, table: usize::MAX };
        let Place { in_seeders, table } = place.unwrap_or(begin);
        let peers = if in_seeders { &large.seeders } else { &large.leechers };
        let (table, slots) = peers.table(table);
        let next = match table.checked_sub(1) {
            Some(table) => Some(Place { in_seeders, table }),
            None if in_seeders => None,
            None => Some(Place { in_seeders: true, table: usize::MAX }),
        };
        (slots, next)
    }

    /// All peers, in no telling order.
    pub(super) fn to_vec(&self) -> Vec<R> {
        match self {
            Self::Flat(peers) => peers.to_vec(),
            Self::Large(large) => large.peers().copied().collect(),
        }
    }

    /// Rebuilds the swarm from whatever records it holds, after a change to it was cut short.
    pub(super) fn repair(&mut self, rng: &mut Rng) {
        // A peer that was being moved may be in both tables: it is kept once.
        let unique = PartitionedTable::from_peers(self.to_vec(), rng);
        let large = LargeSwarm::from_peers(unique.peers().copied(), rng);
        *self = Self::Large(Box::new(large));
        self.flatten();
    }

    /// Turns a large swarm that has become small into a flat one.
    fn flatten(&mut self) {
        if let Self::Large(large) = self
            && large.seeders.len() + large.leechers.len() < LARGE_MIN
        {
            *self = Self::Flat(large.peers().copied().collect());
        }
    }
}

impl<R: Record> LargeSwarm<R> {
    fn from_peers(peers: impl Iterator<Item = R>, rng: &mut Rng) -> Self {
        let (seeders, leechers) = peers.partition(|peer| peer.state().seeder());
        Self {
            seeders: PartitionedTable::from_peers(seeders, rng),
            leechers: PartitionedTable::from_peers(leechers, rng),
        }
    }

    fn peers(&self) -> impl Iterator<Item = &R> {
        self.leechers.peers().chain(self.seeders.peers())
    }

    fn store(&mut self, mut peer: R, room: bool, rng: &mut Rng) -> Placed {
        let (own, other) = if peer.state().seeder() {
            (&mut self.seeders, &mut self.leechers)
        } else {
            (&mut self.leechers, &mut self.seeders)
        };
        if let Some(stored) = own.get_mut(&peer) {
            return Placed::Updated(replace_state(stored, peer.state()));
        }
        if let Some(earlier) = other.remove(&peer) {
            peer.set_state(peer.state().inheriting(earlier.state()));
            own.insert(peer, rng);
            return Placed::Updated(earlier.state());
        }
        if !room {
            return Placed::Refused;
        }
        own.insert(peer, rng);
        Placed::Inserted
    }

    fn sample(&self, me: &R, stored: bool, want: usize, rng: &mut Rng, sink: &mut impl PeerSink) {
        if me.state().seeder() {
            return self.leechers.sample(me, want, rng, sink);
        }
        let seeders = self.seeders.len();
        let others = seeders + self.leechers.len() - usize::from(stored);
        if want >= others {
            self.seeders.sample(me, seeders, rng, sink);
            return self.leechers.sample(me, want - seeders, rng, sink);
        }
        // Rounded up as often as the fraction says, so that on average the share is exact.
        let share = want * seeders / others;
        let round_up = rng.usize(..others) < want * seeders % others;
        let share = share + usize::from(round_up);
        self.seeders.sample(me, share, rng, sink);
        self.leechers.sample(me, want - share, rng, sink);
    }

    fn expire(
        &mut self,
        position: &mut Option<Position>,
        budget: usize,
        is_expired: impl Fn(State) -> bool,
    ) -> (usize, usize) {
        let begin = Position { in_seeders: false, within: None };
        let Position { in_seeders, mut within } = position.unwrap_or(begin);
        let peers = if in_seeders { &mut self.seeders } else { &mut self.leechers };
        let slice = peers.expire(&mut within, budget, is_expired);
        *position = match (within, in_seeders) {
            (None, true) => None,
            (None, false) => Some(Position { in_seeders: true, within }),
            _ => Some(Position { in_seeders, within }),
        };
        slice
    }
}

/// Gives a stored peer its new state and returns the one it had.
#[inline]
fn replace_state<R: Record>(stored: &mut R, state: State) -> State {
    let earlier = stored.state();
    stored.set_state(state.inheriting(earlier));
    earlier
}

/// Gives heap memory back when a quarter of it is used, or none is needed.
fn shrink_flat<R: Record>(peers: &mut SmallVec<[R; 2]>) {
    let wasteful = peers.len() * 4 <= peers.capacity() || peers.len() <= peers.inline_size();
    if peers.spilled() && wasteful {
        peers.shrink_to_fit();
    }
}

/// The most peers of a flat swarm: 256 bytes of IPv4 peers, four cache lines.
const FLAT_MAX: usize = 32;
/// A large swarm with fewer peers becomes flat.
const LARGE_MIN: usize = 16;

#[cfg(test)]
mod tests;
