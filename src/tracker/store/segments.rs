//! A set of peers of any size whose growth is never felt: tables of bounded size.
//!
//! Up to [`SEGMENT_PEERS`] it is one table. Beyond that it is linear hashing: whenever the
//! average grows over that bound, the next table in turn is split in two, and undone likewise. So
//! no announce and no slice of expiry ever moves more than one table's peers.

use fastrand::Rng;
use smallvec::SmallVec;

use super::allocation::allocated_bytes;
use super::peer::{Record, State};
use super::sample::sample_table;
use super::sink::PeerSink;
use super::table::PeerTable;

/// Tables that together hold a set of peers.
#[derive(Debug)]
pub(super) struct PartitionedTable<R> {
    /// At least one.
    tables: SmallVec<[PeerTable<R>; 1]>,
    len: usize,
    /// Bytes allocated by the tables.
    bytes: usize,
    /// Secret of the hash that tells a peer's table.
    key: u64,
}

/// How far a sweep has come: from the last table to the first, each by regions. They are visited
/// in the order of their bit-reversed numbers, which thins a table out evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    table: u32,
    /// How finely the table is divided: as its size was when the sweep came to it.
    bits: u32,
    /// How many regions are done.
    regions: u32,
}

impl<R: Record> PartitionedTable<R> {
    /// A set of `peers`, in any order. Empty records and repeated endpoints are left out.
    pub(super) fn from_peers(peers: Vec<R>, rng: &mut Rng) -> Self {
        let table = PeerTable::from_peers(peers, rng);
        let (len, bytes) = (table.len(), table.bytes());
        let mut tables = SmallVec::new();
        tables.push(table);
        let mut segments = Self { tables, len, bytes, key: rng.u64(..) };
        while segments.split() {}
        segments
    }

    /// How many peers there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        let tables = if self.tables.spilled() { self.tables.capacity() } else { 0 };
        self.bytes + allocated_bytes(tables * size_of::<PeerTable<R>>())
    }

    /// All peers, in no telling order.
    pub(super) fn peers(&self) -> impl Iterator<Item = &R> {
        self.tables.iter().flat_map(PeerTable::peers)
    }

    /// The slots of the table at `index`, or of the last one where there are fewer, and its index.
    pub(super) fn table(&self, index: usize) -> (usize, &[R]) {
        let index = index.min(self.tables.len() - 1);
        (index, self.tables[index].slots())
    }

    /// The stored record of the peer with this endpoint.
    #[inline]
    pub(super) fn get_mut(&mut self, peer: &R) -> Option<&mut R> {
        let table = self.table_of(peer);
        self.tables[table].get_mut(peer)
    }

    /// Adds a peer that is not there yet.
    pub(super) fn insert(&mut self, peer: R, rng: &mut Rng) {
        let table = self.table_of(&peer);
        self.change(table, |table| table.insert(peer, rng));
        self.len += 1;
        self.split();
    }

    /// Removes the peer with this endpoint and returns its record.
    pub(super) fn remove(&mut self, peer: &R) -> Option<R> {
        let table = self.table_of(peer);
        let removed = self.change(table, |table| table.remove(peer))?;
        self.len -= 1;
        self.merge();
        Some(removed)
    }

    /// Writes up to `want` peers, `me` left out. With many tables, places at equal distances in
    /// the row of all peers, turned at random, say how many each table gives.
    pub(super) fn sample(&self, me: &R, want: usize, rng: &mut Rng, sink: &mut impl PeerSink) {
        if let [table] = &self.tables[..] {
            return sample_table(table, me, want, rng, sink);
        }
        if want >= self.len {
            return self.tables.iter().for_each(|table| {
                sample_table(table, me, table.len(), rng, sink);
            });
        }
        let step = self.len / PLACES;
        let mut next = rng.usize(..step);
        // When the wanted number cannot be divided, any of the places may give one more.
        let turn = rng.usize(..PLACES);
        let quota = |place: usize| {
            let place = (place + turn) % PLACES;
            want * (place + 1) / PLACES - want * place / PLACES
        };
        let (mut before, mut place) = (0, 0);
        for table in &self.tables {
            before += table.len();
            let mut share = 0;
            while place < PLACES && next < before {
                share += quota(place);
                (place, next) = (place + 1, next + step);
            }
            sample_table(table, me, share, rng, sink);
        }
    }

    /// Removes peers whose state `is_expired` tells, from `position` on until about `budget` slots
    /// were visited. Returns how many were visited and how many peers removed; `position` is
    /// `None` when the sweep is done.
    ///
    /// Tables may be split and joined between slices. A join moves peers from the last table to
    /// one that the sweep has yet to come to; those that a split moves to a new last table wait
    /// for the next sweep.
    pub(super) fn expire(
        &mut self,
        position: &mut Option<Position>,
        budget: usize,
        is_expired: impl Fn(State) -> bool,
    ) -> (usize, usize) {
        let mut at = position.unwrap_or_else(|| self.begin(self.tables.len()));
        let (mut visited, mut removed) = (0, 0);
        while visited < budget {
            if at.regions >> at.bits > 0 {
                if at.table == 0 {
                    *position = None;
                    return (visited, removed);
                }
                at = self.begin(at.table as usize);
            }
            if at.table as usize >= self.tables.len() {
                at = self.begin(self.tables.len());
                continue;
            }
            let region = at.regions.reverse_bits().checked_shr(u32::BITS - at.bits).unwrap_or(0);
            let (slots, peers) =
                self.change(at.table as usize, |table| table.expire(region, at.bits, &is_expired));
            at.regions += 1;
            visited += slots + 1;
            removed += peers;
            self.len -= peers;
            if peers > 0 {
                self.merge();
            }
        }
        *position = Some(at);
        (visited, removed)
    }

    /// Changes one table and keeps account of what it takes.
    #[inline]
    fn change<T>(&mut self, table: usize, change: impl FnOnce(&mut PeerTable<R>) -> T) -> T {
        let table = &mut self.tables[table];
        let before = table.bytes();
        let result = change(table);
        self.bytes = self.bytes - before + table.bytes();
        result
    }

    /// As [`PeerTable::probes`], of each table.
    #[cfg(test)]
    pub(super) fn probes(&self) -> impl Iterator<Item = (usize, Vec<usize>)> {
        self.tables.iter().map(|table| (table.len(), table.probes().collect()))
    }

    /// The beginning of the sweep of the table before `table`.
    fn begin(&self, table: usize) -> Position {
        let table = table.saturating_sub(1).min(self.tables.len() - 1);
        Position { table: table as u32, bits: self.tables[table].region_bits(), regions: 0 }
    }

    /// The table that a peer belongs to: as many bits of its hash as there are tables, and one
    /// bit fewer where that table has not been split off yet.
    #[inline]
    fn table_of(&self, peer: &R) -> usize {
        let tables = self.tables.len();
        if tables == 1 {
            return 0;
        }
        let mask = tables.next_power_of_two() - 1;
        let table = peer.hash(self.key) as usize & mask;
        if table < tables { table } else { table & mask >> 1 }
    }

    /// The table that the last one was split from, and will be joined with.
    fn buddy_of_last(&self) -> usize {
        let last = self.tables.len() - 1;
        last.checked_ilog2().map_or(0, |highest_bit| last ^ (1 << highest_bit))
    }

    /// Splits the next table in turn if there are too many peers for as many tables.
    fn split(&mut self) -> bool {
        if self.len <= self.tables.len() * SEGMENT_PEERS {
            return false;
        }
        let last = self.tables.len();
        self.tables.push(PeerTable::empty());
        let buddy = self.buddy_of_last();
        let mut table = std::mem::replace(&mut self.tables[buddy], PeerTable::empty());
        self.bytes -= table.bytes();
        let split = table.split_off(|peer| self.table_of(peer) == last);
        self.bytes += table.bytes() + split.bytes();
        self.tables[last] = split;
        self.tables[buddy] = table;
        true
    }

    /// Joins the last table with its buddy if there are few peers for as many tables.
    fn merge(&mut self) {
        if self.len * 2 < (self.tables.len() - 1) * SEGMENT_PEERS {
            let buddy = self.buddy_of_last();
            if let Some(last) = self.tables.pop() {
                self.bytes -= last.bytes();
                self.change(buddy, |table| table.append(last));
            }
            if self.tables.len() == 1 {
                self.tables.shrink_to_fit();
            }
        }
    }
}

/// Peers per table on average, at most, if there are several; some have twice as many.
const SEGMENT_PEERS: usize = 8192;
/// From how many places in the row of all peers a reply comes.
const PLACES: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    use super::*;
    use crate::io::Now;
    use crate::tracker::store::{CompactPeers, Ipv4Record};

    fn at(seconds: u64) -> Now {
        Now::from_unix(Duration::from_secs(seconds))
    }

    fn peer(number: u32, seconds: u64) -> Ipv4Record {
        let endpoint = SocketAddrV4::new(Ipv4Addr::from_bits(number), 6881);
        Ipv4Record::new(endpoint, State::new(at(seconds), false, false))
    }

    /// Every peer lies in its table, and no table is larger than it may be.
    fn check(segments: &PartitionedTable<Ipv4Record>) {
        for (number, table) in segments.tables.iter().enumerate() {
            assert!(table.peers().all(|peer| segments.table_of(peer) == number));
            assert!(table.len() < SEGMENT_PEERS * 5 / 2, "{} peers", table.len());
        }
        assert_eq!(segments.peers().count(), segments.len());
        assert_eq!(segments.bytes, segments.tables.iter().map(PeerTable::bytes).sum::<usize>());
    }

    #[test]
    fn tables_split_and_join_as_peers_come_and_go() {
        let mut rng = Rng::with_seed(1);
        let mut segments = PartitionedTable::from_peers(Vec::new(), &mut rng);
        for number in 0..100_000 {
            segments.insert(peer(number, 0), &mut rng);
            if number % 5000 == 0 {
                check(&segments);
            }
        }
        assert_eq!(segments.tables.len(), 100_000_usize.div_ceil(SEGMENT_PEERS));
        assert!((0..100_000).all(|number| segments.get_mut(&peer(number, 0)).is_some()));
        for number in 0..100_000 {
            assert!(segments.remove(&peer(number, 0)).is_some());
            if number % 5000 == 0 {
                check(&segments);
            }
        }
        assert_eq!((segments.tables.len(), segments.tables.spilled()), (1, false));
    }

    #[test]
    fn buddies_are_as_linear_hashing_has_them() {
        let mut segments =
            PartitionedTable::<Ipv4Record>::from_peers(Vec::new(), &mut Rng::with_seed(2));
        let buddies: Vec<usize> = (1..=8)
            .map(|_| {
                segments.tables.push(PeerTable::empty());
                segments.buddy_of_last()
            })
            .collect();
        assert_eq!(buddies, [0, 0, 1, 0, 1, 2, 3, 0]);
    }

    #[test]
    fn expiry_removes_all_that_is_old_and_nothing_else() {
        let mut rng = Rng::with_seed(3);
        for (peers, budget) in [(0, 10), (10, 1), (20_000, 100), (100_000, 4000)] {
            for fresh_in_8 in [0, 3, 8] {
                let age = |number: u32| if number % 8 < fresh_in_8 { 900 } else { 10 };
                let records = (0..peers).map(|number| peer(number, age(number))).collect();
                let mut segments = PartitionedTable::from_peers(records, &mut rng);
                check(&segments);
                let (mut position, mut removed) = (None, 0);
                loop {
                    let is_expired = |state: State| state.expired(at(1000), 200);
                    let slice = segments.expire(&mut position, budget, is_expired);
                    assert!(slice.0 < budget + 1000 && (slice.0 > 0 || position.is_none()));
                    removed += slice.1;
                    if position.is_none() {
                        break;
                    }
                }
                check(&segments);
                let kept = (0..peers).filter(|number| age(*number) == 900);
                assert!(kept.clone().all(|number| segments.get_mut(&peer(number, 0)).is_some()));
                assert_eq!(segments.len(), kept.count());
                assert_eq!(segments.len() + removed, peers as usize);
            }
        }
    }

    #[test]
    fn every_table_gives_its_share() {
        let mut rng = Rng::with_seed(4);
        let records = (0..60_000).map(|number| peer(number, 0)).collect();
        let segments = PartitionedTable::from_peers(records, &mut rng);
        let mut shares: BTreeMap<usize, f64> = BTreeMap::new();
        let mut out = [0; 1472];
        let (rounds, want) = (20_000, 53);
        for _ in 0..rounds {
            let mut reply = CompactPeers::new(&mut out);
            segments.sample(&peer(7, 0), want, &mut rng, &mut reply);
            assert_eq!(reply.written(), want * 6);
            for wire in out[..want * 6].as_chunks::<6>().0 {
                let number = u32::from_be_bytes([wire[0], wire[1], wire[2], wire[3]]);
                assert_ne!(number, 7);
                *shares.entry(segments.table_of(&peer(number, 0))).or_default() += 1.0;
            }
        }
        assert_eq!(shares.len(), 8);
        for (table, share) in shares {
            let fair = segments.tables[table].len() as f64 / segments.len() as f64;
            let share = share / f64::from(rounds) / want as f64 / fair;
            assert!((0.97..1.03).contains(&share), "table {table}: {share}");
        }
    }
}
