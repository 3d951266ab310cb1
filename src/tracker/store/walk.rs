//! Going over all torrents and their peers in bounded slices, and putting saved peers back.

use fastrand::Rng;

use super::index::Named;
use super::peer::{Family, Record};
use super::swarm::{Counts, Place};
use super::torrents::{Limits, ScrapeCounts, Torrents};
use crate::tracker::InfoHash;

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
pub struct Piece<'a, R> {
    /// The torrent.
    pub info_hash: &'a InfoHash,
    /// Its completed count.
    pub completed: u32,
    /// Whether this is not the torrent's first piece.
    pub continues: bool,
    /// Records, those of empty slots included.
    pub slots: &'a [R],
}

impl<R: Record> Piece<'_, R> {
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
}

impl<F: Family> Torrents<F> {
    /// Goes on with a walk: visits about `budget` places, at the most one table of a large swarm
    /// more. Returns whether it came to the end; the next slice then begins from the start.
    pub fn walk(
        &self,
        walk: &mut Walk,
        budget: usize,
        mut visit: impl FnMut(&Piece<'_, F::Record>),
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
            visit(&Piece {
                info_hash: torrent.info_hash(),
                completed: torrent.completed,
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
                let completed = torrent.completed;
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
                Ok(_) => restored.stored += 1,
                Err(_) => restored.refused += 1,
            }
        }
        if let Some(torrent) = found.and_then(|number| self.slab.get_mut(number)) {
            torrent.completed = torrent.completed.max(completed);
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
