//! Token buckets in a table of fixed size.
//!
//! A bucket is one number, the time at which it will be full again (the theoretical arrival time
//! of the generic cell rate algorithm, ITU-T I.371): each request moves it on by the interval
//! between two, and one that would move it further than a burst ahead of now is refused. A bucket
//! that is full is as good as none, so a place is free again as soon as its time has passed.
//!
//! Such a time and a tag of its source share one atomic word. Eight words are a set, one cache
//! line. A source belongs to one set, by a keyed hash, and looks nowhere else.

use std::fmt;
use std::sync::atomic::Ordering;

use siphasher::sip::SipHasher13;

use super::limit::{Decision, RateLimit};
use crate::io::Now;
use crate::sync::{AtomicU64, AtomicUsize};
use crate::tracker::core::source::Source;

/// One limit's buckets.
pub(super) struct Buckets {
    sets: Box<[Set]>,
    /// Keyed, so that nobody can choose sources that crowd, or one that shares another's place.
    hasher: SipHasher13,
    /// Between two requests at the full rate, in ticks.
    interval: u64,
    /// How far ahead of now a bucket may be for another request to be accepted, in ticks.
    ahead_max: u64,
    /// The set that is swept next.
    to_sweep: AtomicUsize,
}

/// A tag in the high bits, a time in the low ones; 0 is a free place.
#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU64; SET_WORDS]);

/// Where a source's bucket is, or is to be.
struct Place<'a> {
    word: &'a AtomicU64,
    /// What the word was.
    found: u64,
    /// How far the source's bucket is ahead of now, in ticks.
    ahead: u64,
    /// Whether it is the place of another source, which is not full yet.
    of_another: bool,
}

impl Buckets {
    /// Full buckets for `sources` sources, rounded up to a power of two.
    pub(super) fn new(limit: RateLimit, sources: u32, key: [u64; 2]) -> Self {
        let sets = (sources as usize).div_ceil(SET_WORDS).next_power_of_two();
        // Rounded up: never more than the limit.
        let interval = TICKS_PER_S.div_ceil(u64::from(limit.per_s.max(1)));
        let burst = u64::from(limit.burst.clamp(1, RateLimit::BURST_MAX));
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            hasher: SipHasher13::new_with_keys(key[0], key[1]),
            interval,
            ahead_max: (burst - 1) * interval,
            to_sweep: AtomicUsize::new(0),
        }
    }

    /// Takes a token from the bucket of `source`, if there is one.
    ///
    /// Where all eight places are of others, the bucket that is nearest to full makes room: what
    /// is forgotten with it is the least there is. So nobody is refused for want of a place, and
    /// whoever is at its limit is forgotten last.
    pub(super) fn take(&self, now: Now, source: Source) -> Decision {
        let hash = self.hasher.hash(&source.bytes());
        let set = &self.sets[hash as usize & (self.sets.len() - 1)];
        let tag = (hash >> TIME_BITS).max(1);
        let now = ticks(now);
        for _ in 0..ATTEMPTS_MAX {
            let place = set.place_of(tag, now);
            if place.ahead > self.ahead_max {
                return Decision::Refused;
            }
            let full_at = (now + place.ahead + self.interval) & TIME_MASK;
            let filled = tag << TIME_BITS | full_at;
            if exchange(place.word, place.found, filled) {
                return match place.of_another {
                    false => Decision::Accepted,
                    true => Decision::AcceptedWithEviction,
                };
            }
        }
        // Other workers took tokens each time, most likely of this source.
        Decision::Refused
    }

    /// Frees the places of full buckets in some sets, long before their times can be taken for
    /// later ones.
    pub(super) fn sweep(&self, now: Now) {
        let now = ticks(now);
        let first = self.to_sweep.fetch_add(SWEEP_SETS, Ordering::Relaxed);
        for index in first..first + SWEEP_SETS.min(self.sets.len()) {
            for word in &self.sets[index & (self.sets.len() - 1)].0 {
                let found = word.load(Ordering::Relaxed);
                if found != 0 && ahead(found, now) == 0 {
                    // If it has changed meanwhile, it is in use.
                    exchange(word, found, 0);
                }
            }
        }
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        let words = self.sets.iter().flat_map(|set| &set.0);
        words.filter(|word| word.load(Ordering::Relaxed) != 0).count()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.sets.len() * SET_WORDS
    }
}

impl Set {
    /// The place of the source with this tag; if it has none, the one it may take: a free one, or
    /// that of the bucket that is nearest to full.
    fn place_of(&self, tag: u64, now: u64) -> Place<'_> {
        let [first, ..] = &self.0;
        let mut room = (u64::MAX, first, 0);
        for word in &self.0 {
            let found = word.load(Ordering::Relaxed);
            let ahead = ahead(found, now);
            if found >> TIME_BITS == tag {
                return Place { word, found, ahead, of_another: false };
            }
            if ahead < room.0 {
                room = (ahead, word, found);
            }
        }
        let (ahead, word, found) = room;
        Place { word, found, ahead: 0, of_another: ahead > 0 }
    }
}

/// The words are on their own: nothing else is published with them.
fn exchange(word: &AtomicU64, found: u64, next: u64) -> bool {
    word.compare_exchange(found, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// How far a word's time is ahead of now; 0 when it has passed.
fn ahead(word: u64, now: u64) -> u64 {
    let ahead = word.wrapping_sub(now) & TIME_MASK;
    if word != 0 && ahead < 1 << (TIME_BITS - 1) { ahead } else { 0 }
}

/// Time as the words have it.
fn ticks(now: Now) -> u64 {
    let since_epoch = now.since_epoch();
    let part = u64::from(since_epoch.subsec_nanos()) * TICKS_PER_S / 1_000_000_000;
    (since_epoch.as_secs().wrapping_mul(TICKS_PER_S) + part) & TIME_MASK
}

/// The key stays out of logs.
impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("interval", &self.interval)
            .field("ahead_max", &self.ahead_max)
            .finish_non_exhaustive()
    }
}

/// A power of two that leaves a rate of 10,000 a second true to 0.1 %.
const TICKS_PER_S: u64 = 1 << 20;

/// Twelve days of ticks, of which the later half is ahead. The other 24 bits are the tag: two
/// sources of a set are taken for one with a chance of one in 16 million.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The longest that a bucket takes to fill must stay ahead.
const _: () = assert!((RateLimit::BURST_MAX as u64 + 1) * TICKS_PER_S < 1 << (TIME_BITS - 1));

/// Places of a set: what fits a cache line.
const SET_WORDS: usize = 8;

/// How often a word may change under a worker's hands before it gives up.
const ATTEMPTS_MAX: usize = 16;

/// Sets that a tick sweeps: the largest table takes fourteen minutes, the default one 3 s.
const SWEEP_SETS: usize = 256;
