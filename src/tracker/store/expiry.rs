//! Removing peers that stopped announcing, a bounded slice at a time.
// Circle: the part of `Torrents` that expires peers, whose cursor `Torrents` holds.

use std::time::Duration;

use super::index::Named;
use super::peer::PeerFamily;
use super::swarm::Position;
use super::torrents::Torrents;
use crate::io::Now;

/// How far a sweep over all torrents has come.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    number: u32,
    /// Where in a large swarm; `None` at its beginning.
    position: Option<Position>,
}

/// What a slice of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Peers removed.
    pub peers: usize,
    /// Torrents removed, because no peer was left.
    pub torrents: usize,
    /// Whether the slice came to the end; the next begins from the start.
    pub finished: bool,
    /// Whether so much of it was removed that the next should not wait for its time.
    pub backlog: bool,
}

impl std::ops::AddAssign for Expired {
    fn add_assign(&mut self, other: Self) {
        self.peers += other.peers;
        self.torrents += other.torrents;
        self.finished |= other.finished;
        self.backlog |= other.backlog;
    }
}

impl<F: PeerFamily> Torrents<F> {
    /// How much a whole sweep visits: places of torrents and peers.
    pub fn sweep_visits(&self) -> usize {
        self.slab.numbers() as usize + self.peers
    }

    /// Goes on with the sweep: visits about `budget` places and removes peers whose last announce
    /// is more than `timeout_s` seconds ago, and torrents that have no peers left.
    ///
    /// The budget is exceeded by a flat swarm or by the rest of a cluster of a table, some
    /// hundred peers at most. Peers and torrents may come and go between slices: the sweep
    /// goes on where it was by hash, not by place.
    pub fn expire(&mut self, now: Now, timeout_s: u32, budget: usize) -> Expired {
        let mut expired = Expired::default();
        let mut visits = 0;
        self.index.shrink_one(&self.slab);
        while visits < budget {
            let number = self.slab.skip_vacant(self.sweep.number);
            if number != self.sweep.number {
                self.sweep = Cursor { number, position: None };
            }
            if number >= self.slab.numbers() {
                self.sweep = Cursor::default();
                expired.finished = true;
                break;
            }
            visits += 1;
            let Some(torrent) = self.slab.get_mut(number) else {
                self.sweep = Cursor { number: number + 1, position: None };
                continue;
            };
            let position = &mut self.sweep.position;
            let is_expired = |state: crate::tracker::store::State| state.expired(now, timeout_s);
            let before = torrent.swarm.heap_bytes();
            let (visited, removed) =
                torrent.swarm.expire(position, budget - visits + 1, is_expired);
            visits += visited;
            if removed > 0 {
                self.peers -= removed;
                self.peers_bytes = self.peers_bytes - before + torrent.swarm.heap_bytes();
            }
            expired.peers += removed;
            if torrent.swarm.len() == 0 {
                let digest = self.index.digest(torrent.info_hash());
                self.remove_torrent(digest, number);
                self.sweep.position = None;
                expired.torrents += 1;
                visits += REMOVAL_VISITS;
            }
            if self.sweep.position.is_none() {
                self.sweep.number = number + 1;
            }
        }
        expired
    }
}

/// How much of a sweep is due, so that one takes a quarter of the peer timeout.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Now>,
    backlog: bool,
}

impl Pace {
    /// The budget of the slice that is due `now`, of a sweep of `visits` in all: a small
    /// number at least, [`EXPIRY_VISITS_MAX`] at most. It is to be asked once a tick, or
    /// every [`BACKLOG_INTERVAL`] while there is a backlog.
    pub fn budget(&mut self, now: Now, timeout_s: u32, visits: usize) -> usize {
        let elapsed = match self.last.replace(now) {
            Some(last) => now.since_epoch().saturating_sub(last.since_epoch()),
            None => Duration::ZERO,
        };
        let sweep = (Duration::from_secs(timeout_s.into()) / 4).min(SWEEP_MAX);
        let share = elapsed.as_secs_f64() / sweep.as_secs_f64().max(SWEEP_S_MIN);
        let due = (visits as f64 * share).ceil();
        let least = if self.backlog { EXPIRY_VISITS_MAX } else { EXPIRY_VISITS_MIN };
        (due as usize).clamp(least, EXPIRY_VISITS_MAX)
    }

    /// Takes note of what a slice of `budget` removed. While that is much, slices are as large as
    /// they may be. Returns whether that is so.
    pub fn removed(&mut self, peers: usize, budget: usize) -> bool {
        self.backlog = peers * BACKLOG_SHARE >= budget;
        self.backlog
    }
}

/// The most that one slice visits: with every peer expiring, well under a millisecond of work.
pub const EXPIRY_VISITS_MAX: usize = 4096;
/// How soon the next slice follows while there is a backlog: a twentieth of the usual time.
pub const BACKLOG_INTERVAL: Duration = Duration::from_millis(5);
/// There is a backlog if one in so many places of a slice was removed. A torrent that goes with
/// its only peer counts for four.
const BACKLOG_SHARE: usize = 8;
/// What removing a torrent counts beside the visit: it has to be found in the index.
const REMOVAL_VISITS: usize = 2;
/// A slice below this costs nothing worth saving.
const EXPIRY_VISITS_MIN: usize = 256;
/// The longest that a sweep is meant to take.
const SWEEP_MAX: Duration = Duration::from_secs(15 * 60);
/// A timeout of zero asks for no faster sweep than this.
const SWEEP_S_MIN: f64 = 0.1;
