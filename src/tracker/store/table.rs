//! A dense hash table of peers: the slots are the records themselves, nothing beside them.
//!
//! It is Robin Hood open addressing taken to its end: records lie in ascending order of their
//! keyed hash, each at its home slot or as little after it as the order allows, without an empty
//! slot between. A home slot is the hash's share of the capacity, so a capacity can be any
//! number. From the order follows what the tracker needs:
//! - a lookup ends at an empty slot or at a larger hash, so a high load costs little;
//! - where a record lies says nothing about when it came, so a window of slots is a fair sample;
//! - growing and shrinking copy from front to back in one pass;
//! - a range of hashes is a part of the table, whatever changes, which the sweep relies on.

use fastrand::Rng;

use super::allocation::allocated_bytes;
use super::peer::{Record, State};

/// A set of peers in ascending order of their hashes.
#[derive(Debug)]
pub(super) struct PeerTable<R> {
    /// Home slots first, then as many more as the last records were pushed beyond them.
    slots: Vec<R>,
    /// How many of the slots are home slots.
    capacity: u32,
    len: u32,
    /// Secret of this table's hash. Replies show in which order peers lie, so it is replaced when
    /// records crowd: somebody may be aiming.
    key: u64,
}

/// Where a peer is, or where it would go.
enum Place {
    Taken(usize),
    Vacant(usize),
}

impl<R: Record> PeerTable<R> {
    /// A table without peers, to be filled by [`PeerTable::append`] or replaced.
    pub(super) fn empty() -> Self {
        Self { slots: Vec::new(), capacity: 0, len: 0, key: 0 }
    }

    /// A table of `peers`, in any order. Empty records and repeated endpoints are left out.
    pub(super) fn from_peers(mut peers: Vec<R>, rng: &mut Rng) -> Self {
        let key = rng.u64(..);
        peers.retain(|peer| !peer.is_empty());
        peers.sort_unstable_by_key(|peer| peer.hash(key));
        peers.dedup_by(|later, earlier| later.is_peer(earlier));
        Self::from_sorted(peers, key)
    }

    /// A table of peers that are in the order of their hashes under `key`.
    fn from_sorted(peers: Vec<R>, key: u64) -> Self {
        let len = peers.len() as u32;
        let mut table = Self { slots: peers, capacity: 0, len, key };
        table.resize(roomy_capacity(len));
        table
    }

    /// How many peers there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes allocated for slots.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        allocated_bytes(self.slots.capacity() * size_of::<R>())
    }

    /// All slots, empty ones included.
    #[inline]
    pub(super) fn slots(&self) -> &[R] {
        &self.slots
    }

    /// All peers, in no telling order.
    pub(super) fn peers(&self) -> impl Iterator<Item = &R> {
        self.slots.iter().filter(|record| !record.is_empty())
    }

    /// The stored record of the peer with this endpoint.
    #[inline]
    pub(super) fn get_mut(&mut self, peer: &R) -> Option<&mut R> {
        match self.locate(peer) {
            Place::Taken(slot) => self.slots.get_mut(slot),
            Place::Vacant(_) => None,
        }
    }

    /// Adds a peer that is not there yet.
    pub(super) fn insert(&mut self, peer: R, rng: &mut Rng) {
        debug_assert!(!peer.is_empty());
        if u64::from(self.len + 1) * 8 > u64::from(self.capacity) * 7 {
            self.resize(self.capacity + (self.capacity / 8).max(CAPACITY_STEP_MIN));
        }
        let Place::Vacant(slot) = self.locate(&peer) else { return };
        let end = self.cluster_end(slot);
        if end == self.slots.len() {
            self.push_empty();
        }
        self.slots.copy_within(slot..end, slot + 1);
        self.slots[slot] = peer;
        self.len += 1;
        let probes = slot - self.home(peer.hash(self.key));
        if probes > PROBE_LENGTH_MAX || end - slot > SHIFT_LENGTH_MAX {
            *self = Self::from_peers(std::mem::take(&mut self.slots), rng);
        }
    }

    /// Removes the peer with this endpoint and returns its record.
    pub(super) fn remove(&mut self, peer: &R) -> Option<R> {
        let Place::Taken(slot) = self.locate(peer) else { return None };
        let removed = self.slots[slot];
        let mut end = slot + 1;
        while end < self.slots.len() && self.is_displaced(end) {
            end += 1;
        }
        self.slots.copy_within(slot + 1..end, slot);
        self.slots[end - 1] = R::EMPTY;
        self.len -= 1;
        self.shrink();
        Some(removed)
    }

    /// How many bits of hash divide the table into regions of 16 to 32 home slots, for
    /// [`PeerTable::expire`].
    pub(super) fn region_bits(&self) -> u32 {
        (self.capacity / REGION_SLOTS_MIN).checked_ilog2().unwrap_or(0)
    }

    /// Takes the peers that `moves` tells out into a table of their own, in one pass: both keep
    /// the key and so the order.
    pub(super) fn split_off(&mut self, moves: impl Fn(&R) -> bool) -> Self {
        let (moved, kept): (Vec<R>, Vec<R>) = self.peers().copied().partition(moves);
        *self = Self::from_sorted(kept, self.key);
        Self::from_sorted(moved, self.key)
    }

    /// Takes in all peers of `other`. If both have the same key it is a merge of two sorted runs,
    /// which the sort makes use of.
    pub(super) fn append(&mut self, other: Self) {
        let mut peers: Vec<R> = self.peers().chain(other.peers()).copied().collect();
        peers.sort_by_key(|peer| peer.hash(self.key));
        *self = Self::from_sorted(peers, self.key);
    }

    /// Removes the peers of one region whose state `is_expired` tells: those whose hashes begin
    /// with the `bits` low bits of `region`. Returns how many slots were visited, those to the
    /// end of the last cluster included, and how many peers removed.
    ///
    /// The caller must not go through regions in order: with peers removed from one end on, the
    /// rest would lie too densely for the table's size as soon as it shrinks or others come.
    ///
    /// Records are moved as the slots are visited, not once per removal: a hole that opened at
    /// `write` is filled by the records after it, until one of them is at home already.
    pub(super) fn expire(
        &mut self,
        region: u32,
        bits: u32,
        is_expired: impl Fn(State) -> bool,
    ) -> (usize, usize) {
        let first = u64::from(region).checked_shl(u64::BITS - bits).unwrap_or(0);
        let last = first | u64::MAX.checked_shr(bits).unwrap_or(0);
        let start = self.position(first);
        let before = self.len;
        let (mut read, mut write) = (start, start);
        while let Some(&record) = self.slots.get(read) {
            if record.is_empty() {
                write = read + 1;
                if self.home(last) <= read {
                    break;
                }
            } else {
                let hash = record.hash(self.key);
                let home = self.home(hash);
                if home == read {
                    write = read;
                }
                if hash > last && write == read {
                    break;
                }
                if hash <= last && is_expired(record.state()) {
                    self.slots[read] = R::EMPTY;
                    self.len -= 1;
                } else {
                    write = write.max(home);
                    self.slots.swap(write, read);
                    write += 1;
                }
            }
            read += 1;
        }
        let removed = (before - self.len) as usize;
        if removed > 0 {
            self.shrink();
        }
        (read - start, removed)
    }

    /// Where `peer` is or would go. Empty slots end the search, so it is short at any load the
    /// table allows.
    #[inline]
    fn locate(&self, peer: &R) -> Place {
        let hash = peer.hash(self.key);
        let mut slot = self.home(hash);
        while let Some(record) = self.slots.get(slot) {
            if record.is_empty() {
                break;
            }
            if record.is_peer(peer) {
                return Place::Taken(slot);
            }
            if record.hash(self.key) > hash {
                break;
            }
            slot += 1;
        }
        Place::Vacant(slot)
    }

    /// How many slots a lookup of each peer passes, its own included.
    #[cfg(test)]
    pub(super) fn probes(&self) -> impl Iterator<Item = usize> {
        let taken = self.slots.iter().enumerate().filter(|(_, record)| !record.is_empty());
        taken.map(|(slot, record)| slot - self.home(record.hash(self.key)) + 1)
    }

    /// The first slot whose record has at least this hash, empty slots before it included.
    fn position(&self, hash: u64) -> usize {
        let mut slot = self.home(hash);
        while let Some(record) = self.slots.get(slot) {
            if record.is_empty() || record.hash(self.key) >= hash {
                break;
            }
            slot += 1;
        }
        slot
    }

    /// The slot at which a record of this hash would lie if it were alone.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * u128::from(self.capacity)) >> 64) as usize
    }

    /// Whether the slot holds a record that is not at home.
    #[inline]
    fn is_displaced(&self, slot: usize) -> bool {
        let record = &self.slots[slot];
        !record.is_empty() && self.home(record.hash(self.key)) < slot
    }

    /// The first empty slot from `slot` on, or the number of slots.
    fn cluster_end(&self, slot: usize) -> usize {
        let rest = &self.slots[slot..];
        slot + rest.iter().position(R::is_empty).unwrap_or(rest.len())
    }

    /// Adds a slot beyond the home slots, without the doubling of a plain push.
    fn push_empty(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(SPARE_SLOTS);
        }
        self.slots.push(R::EMPTY);
    }

    /// Gives memory back when fewer than half of the home slots are taken.
    fn shrink(&mut self) {
        let roomy = roomy_capacity(self.len);
        if self.len * 2 < self.capacity && roomy < self.capacity {
            self.resize(roomy);
        }
    }

    /// Copies all records, which lie in order of their hashes, into `capacity` home slots.
    fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
        if capacity == 0 {
            self.slots = Vec::new();
            return;
        }
        let mut slots = Vec::with_capacity(capacity as usize + SPARE_SLOTS);
        for record in self.slots.iter().filter(|record| !record.is_empty()) {
            let home = self.home(record.hash(self.key));
            if slots.len() == slots.capacity() {
                slots.reserve_exact(SPARE_SLOTS);
            }
            while slots.len() < home {
                slots.push(R::EMPTY);
            }
            slots.push(*record);
        }
        while slots.len() < capacity as usize {
            slots.push(R::EMPTY);
        }
        self.slots = slots;
    }
}

/// The capacity for `len` peers and the next few, at the load that a table has on average.
fn roomy_capacity(len: u32) -> u32 {
    if len == 0 { 0 } else { (len + len / 4 + 4).max(CAPACITY_STEP_MIN) }
}

/// The fewest home slots of a region.
const REGION_SLOTS_MIN: u32 = 16;
/// The least that a table grows by, and the smallest that is not empty.
const CAPACITY_STEP_MIN: u32 = 8;
/// Slots allocated beyond the home slots at a time: most tables never need more.
const SPARE_SLOTS: usize = 16;
/// The farthest that a new record may lie from its home. By chance, at the highest load, it
/// happens once in 10^15 insertions.
const PROBE_LENGTH_MAX: usize = 128;
/// The most records that an insertion may move. By chance about as rare.
const SHIFT_LENGTH_MAX: usize = 4096;

#[cfg(test)]
mod tests;
