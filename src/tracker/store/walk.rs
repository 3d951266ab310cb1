//! Going over all torrents and their peers in bounded slices, and putting saved peers back.

use fastrand::Rng;

use super::index::Named;
use super::peer::{PeerFamily, Record};
use super::swarm::{Counts, Place};
use super::torrents::{Limits, ScrapeCounts, Stored, Torrents};
use crate::values::InfoHash;

/// How far a walk over all torrents has come.
///
/// Torrents and peers may come and go between two slices. What does neither during a walk is seen,
/// except for peers that a growing swarm of many thousands moves to a new table meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    number: u32,
    /// The torrent that the walk is in the midst of, and where.
    within: Option<(InfoHash, Place)>,
}

/// Some peers of one torrent: all of a small swarm, a part of a large one.
#[derive(Clone, Copy, Debug)]
pub struct PeerChunk<'a, R> {
    /// The torrent.
    pub info_hash: &'a InfoHash,
    /// Its completed count.
    pub completed: u32,
    /// Whether this is not the torrent's first piece.
    pub continues: bool,
    /// Records, those of empty slots included.
    pub slots: &'a [R],
}

impl<R: Record> PeerChunk<'_, R> {
    /// The peers of this piece.
    pub fn peers(&self) -> impl Iterator<Item = &R> {
        self.slots.iter().filter(|record| !record.is_empty())
    }
}

/// What became of peers that were to be put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Peers stored, those included that were there already.
    pub stored: usize,
    /// Peers left out, because a cap was reached or their port was 0.
    pub refused: usize,
    /// Peers of other torrents that were given up to make room.
    pub evicted: usize,
}

impl<F: PeerFamily> Torrents<F> {
    /// Goes on with a walk: visits about `budget` places, at most one table of a large swarm
    /// more. Returns whether it came to the end; the next slice then begins from the start.
    pub fn walk(
        &self,
        walk: &mut Walk,
        budget: usize,
        mut visit: impl FnMut(&PeerChunk<'_, F::Record>),
    ) -> bool {
        let mut visits = 0;
        while visits < budget {
            let Some(number) = self.next_number(walk) else { return true };
            visits += 1;
            let within = walk.within.take();
            walk.number = number + 1;
            let Some(torrent) = self.slab.get(number) else { continue };
            // Another torrent may have taken the place of the one that was begun.
            let place = within
                .filter(|(info_hash, _)| info_hash == torrent.info_hash())
                .map(|(_, place)| place);
            let (slots, next) = torrent.swarm.part(place);
            visits += slots.len();
            visit(&PeerChunk {
                info_hash: torrent.info_hash(),
                completed: torrent.completed(),
                continues: place.is_some(),
                slots,
            });
            if let Some(next) = next {
                *walk = Walk { number, within: Some((*torrent.info_hash(), next)) };
            }
        }
        false
    }

    /// As [`Torrents::walk`], for the counts of each torrent alone.
    pub fn walk_counts(
        &self,
        walk: &mut Walk,
        budget: usize,
        mut visit: impl FnMut(&InfoHash, ScrapeCounts),
    ) -> bool {
        for _ in 0..budget {
            let Some(number) = self.next_number(walk) else { return true };
            *walk = Walk { number: number + 1, within: None };
            if let Some(torrent) = self.slab.get(number) {
                let Counts { seeders, leechers } = torrent.swarm.counts();
                let completed = torrent.completed();
                visit(torrent.info_hash(), ScrapeCounts { seeders, completed, leechers });
            }
        }
        false
    }

    /// Stores peers as they were saved, as far as the caps allow. The torrent comes into being
    /// with the first one; its completed count is `completed` if that is more than it has.
    pub fn restore(
        &mut self,
        info_hash: &InfoHash,
        completed: u32,
        peers: impl Iterator<Item = F::Record>,
        limits: &Limits,
        rng: &mut Rng,
    ) -> Restored {
        let digest = self.index.digest(info_hash);
        let mut found = self.index.find(&self.slab, digest, info_hash);
        let mut restored = Restored::default();
        for peer in peers {
            let (torrent, placed) = self.store(found, digest, info_hash, peer, limits, rng);
            found = torrent;
            match placed {
                Ok(stored) => {
                    restored.stored += 1;
                    if let Stored::Inserted { evicted } = stored {
                        restored.evicted += evicted;
                    }
                }
                Err(_) => restored.refused += 1,
            }
        }
        if let Some(torrent) = found.and_then(|number| self.slab.get_mut(number)) {
            torrent.restore(completed);
        }
        restored
    }

    /// The next number that may have a torrent. `None` at the end, where the walk starts anew.
    fn next_number(&self, walk: &mut Walk) -> Option<u32> {
        let number = self.slab.skip_vacant(walk.number);
        if number >= self.slab.numbers() {
            *walk = Walk::default();
            return None;
        }
        if number != walk.number {
            walk.within = None;
        }
        Some(number)
    }
}

/// Places that one slice of a walk visits, as a rule: well under a millisecond of work.
pub const WALK_VISITS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    use super::*;
    use crate::io::Now;
    use crate::tracker::store::{Announce, Event, Ipv4, Ipv4Record, NoPeers};

    const LIMITS: Limits = Limits::NONE;
    const STABLE: u32 = 0x0a00_0000;
    const FLEETING: u32 = 0x0b00_0000;

    fn hash(torrent: u32) -> InfoHash {
        let mut hash = InfoHash([7; 20]);
        hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
        hash
    }

    fn announce(torrents: &mut Torrents<Ipv4>, torrent: u32, address: u32, event: Event) {
        let request = Announce {
            now: Now::from_unix(Duration::from_secs(1_700_000_000)),
            info_hash: &hash(torrent),
            peer: SocketAddrV4::new(Ipv4Addr::from_bits(address), 1),
            seeder: address.is_multiple_of(3),
            event,
            numwant: 0,
        };
        torrents.announce(&request, &LIMITS, &mut Rng::with_seed(address.into()), &mut NoPeers);
    }

    fn wire(record: &Ipv4Record) -> u32 {
        let mut wire = [0; 6];
        record.write_compact(&mut wire);
        u32::from_be_bytes([wire[0], wire[1], wire[2], wire[3]])
    }

    /// Torrents of 1 to 60 stable peers, and one of 30,000.
    fn fill(torrents: &mut Torrents<Ipv4>) -> BTreeSet<(InfoHash, u32)> {
        let mut stable = BTreeSet::new();
        for torrent in 0..=600 {
            let peers = if torrent == 300 { 30_000 } else { 1 + torrent % 60 };
            for peer in STABLE..STABLE + peers {
                announce(torrents, torrent, peer, Event::None);
                stable.insert((hash(torrent), peer));
            }
        }
        stable
    }

    #[test]
    fn what_stays_is_seen_whatever_comes_and_goes_meanwhile() {
        let mut torrents = Torrents::<Ipv4>::new([1, 2]);
        let stable = fill(&mut torrents);
        let mut rng = Rng::with_seed(5);
        let (mut walk, mut seen, mut counted) = (Walk::default(), BTreeSet::new(), 0);
        loop {
            let begun = &mut counted;
            let finished = torrents.walk(&mut walk, 1 + rng.usize(..200), |piece| {
                *begun += u32::from(!piece.continues);
                seen.extend(piece.peers().map(|peer| (*piece.info_hash, wire(peer))));
            });
            if finished {
                break;
            }
            for _ in 0..rng.u32(..200) {
                // Some torrents come into being and vanish, some grow and shrink.
                let torrent = rng.u32(200..800);
                let event = if rng.bool() { Event::None } else { Event::Stopped };
                announce(&mut torrents, torrent, FLEETING + rng.u32(..40), event);
            }
        }
        assert!(seen.is_superset(&stable));
        assert!(counted >= 601);
    }

    #[test]
    fn slices_are_bounded() {
        let mut torrents = Torrents::<Ipv4>::new([1, 2]);
        let stable = fill(&mut torrents);
        let (mut walk, mut peers) = (Walk::default(), 0);
        loop {
            let mut slots = 0;
            let finished = torrents.walk(&mut walk, 100, |piece| {
                slots += piece.slots.len();
                peers += piece.peers().count();
            });
            assert!(slots < 30_000, "{slots} slots");
            if finished {
                break;
            }
        }
        assert_eq!(peers, stable.len());
        let mut counts = 0;
        while !torrents.walk_counts(&mut walk, 100, |_, found| {
            counts += found.seeders + found.leechers;
        }) {}
        assert_eq!(counts as usize, stable.len());
    }

    #[test]
    fn what_was_walked_over_is_put_back() {
        let mut torrents = Torrents::<Ipv4>::new([1, 2]);
        let stable = fill(&mut torrents);
        let mut back = Torrents::<Ipv4>::new([3, 4]);
        let mut rng = Rng::with_seed(6);
        let mut walk = Walk::default();
        while !torrents.walk(&mut walk, WALK_VISITS, |piece| {
            let peers = piece.peers().copied();
            let restored = back.restore(piece.info_hash, 9, peers, &LIMITS, &mut rng);
            assert_eq!(restored.refused, 0);
        }) {}
        assert_eq!((back.torrents(), back.peers()), (601, stable.len()));
        for torrent in 0..=600 {
            let expected = torrents.scrape(&hash(torrent));
            let expected = expected.map(|counts| ScrapeCounts { completed: 9, ..counts });
            assert_eq!(back.scrape(&hash(torrent)), expected);
        }
    }
}
