//! Shards in shared memory: one for each worker, each behind its own lock.
//!
//! Steering lets a worker find its own shard's lock free; anybody else takes it when needed, so
//! nothing is wrong where steering does not work.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use fastrand::Rng;

use super::expiry::{Expired, Pace};
use super::memory::{MemoryShare, Usage, share_bytes};
use super::peer::{Ipv4, Ipv6};
use super::steering::Steering;
use super::torrents::{Limits, Torrents};
use crate::io::Now;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};
use crate::values::InfoHash;

/// One shard: a part of all torrents, in both address families.
pub struct Shard {
    /// IPv4 swarms.
    pub ipv4: Torrents<Ipv4>,
    /// IPv6 swarms.
    pub ipv6: Torrents<Ipv6>,
    /// Chooses peers; seeded once, so that a simulation can be repeated.
    pub rng: Rng,
    pace: Pace,
    /// The most memory that both families may take.
    memory_bytes_max: usize,
}

impl Shard {
    fn new(index_key: [u64; 2], seed: u64, memory_bytes_max: usize) -> Self {
        Self {
            ipv4: Torrents::new(index_key),
            ipv6: Torrents::new(index_key),
            rng: Rng::with_seed(seed),
            pace: Pace::default(),
            memory_bytes_max,
        }
    }

    /// `caps`, with the memory that there is for IPv4.
    #[inline]
    pub fn limits_ipv4(&self, caps: Limits) -> Limits {
        Limits { memory: self.memory_beside(self.ipv6.usage()), ..caps }
    }

    /// `caps`, with the memory that there is for IPv6.
    #[inline]
    pub fn limits_ipv6(&self, caps: Limits) -> Limits {
        Limits { memory: self.memory_beside(self.ipv4.usage()), ..caps }
    }

    #[inline]
    fn memory_beside(&self, other: Usage) -> MemoryShare {
        MemoryShare { bytes_max: self.memory_bytes_max, other }
    }

    /// Removes the expired peers that are due; to be called once a tick by the shard's owner, and
    /// after [`BACKLOG_INTERVAL`](crate::tracker::store::BACKLOG_INTERVAL) when it has a backlog.
    pub fn expire_due(&mut self, now: Now, timeout_s: u32) -> Expired {
        let (ipv4, ipv6) = (self.ipv4.sweep_visits(), self.ipv6.sweep_visits());
        let total = ipv4 + ipv6;
        let budget = self.pace.budget(now, timeout_s, total);
        let ipv4_budget = (budget * ipv4).div_ceil(total.max(1));
        let mut expired = self.ipv4.expire(now, timeout_s, ipv4_budget);
        expired += self.ipv6.expire(now, timeout_s, (budget - ipv4_budget).max(1));
        expired.backlog = self.pace.removed(expired.peers, budget);
        expired
    }

    /// Makes the shard consistent again after a panic in the midst of a change.
    fn recover(&mut self) {
        self.ipv4.recover(&mut self.rng);
        self.ipv6.recover(&mut self.rng);
    }
}

/// How much a shard holds, readable without its lock; at most one change behind.
#[derive(Debug, Default)]
pub struct Gauges {
    torrents_ipv4: AtomicUsize,
    torrents_ipv6: AtomicUsize,
    peers_ipv4: AtomicUsize,
    peers_ipv6: AtomicUsize,
    memory_bytes: AtomicUsize,
}

impl Gauges {
    /// Torrents with IPv4 peers.
    pub fn torrents_ipv4(&self) -> usize {
        self.torrents_ipv4.load(Ordering::Relaxed)
    }

    /// Torrents with IPv6 peers.
    pub fn torrents_ipv6(&self) -> usize {
        self.torrents_ipv6.load(Ordering::Relaxed)
    }

    /// IPv4 peers.
    pub fn peers_ipv4(&self) -> usize {
        self.peers_ipv4.load(Ordering::Relaxed)
    }

    /// IPv6 peers.
    pub fn peers_ipv6(&self) -> usize {
        self.peers_ipv6.load(Ordering::Relaxed)
    }

    /// Bytes accounted for both families' torrents and peers.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Torrents, each address family counted for itself.
    pub fn torrents(&self) -> usize {
        self.torrents_ipv4() + self.torrents_ipv6()
    }

    /// Peers of both address families.
    pub fn peers(&self) -> usize {
        self.peers_ipv4() + self.peers_ipv6()
    }

    fn store(&self, shard: &Shard) {
        self.torrents_ipv4.store(shard.ipv4.torrents(), Ordering::Relaxed);
        self.torrents_ipv6.store(shard.ipv6.torrents(), Ordering::Relaxed);
        self.peers_ipv4.store(shard.ipv4.peers(), Ordering::Relaxed);
        self.peers_ipv6.store(shard.ipv6.peers(), Ordering::Relaxed);
        let memory_bytes = shard.ipv4.usage().bytes() + shard.ipv6.usage().bytes();
        self.memory_bytes.store(memory_bytes, Ordering::Relaxed);
    }
}

/// Everything random that the storage is set up with.
pub struct Secrets {
    steering: Steering,
    index_key: [u64; 2],
    rng_seed: u64,
}

impl Secrets {
    /// Secrets from the kernel's random source.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut seed = [0; Self::SEED_BYTES];
        getrandom::fill(&mut seed)?;
        Ok(Self::from_seed(&seed))
    }

    /// Secrets that follow from `seed` alone, for simulations that can be repeated.
    pub fn from_seed(seed: &[u8; Self::SEED_BYTES]) -> Self {
        let mut steering = [0; Steering::SEED_BYTES];
        let (first, words) = seed.split_at(Steering::SEED_BYTES);
        steering.copy_from_slice(first);
        let mut words = words.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut word = || words.next().unwrap_or_default();
        Self {
            steering: Steering::from_seed(&steering),
            index_key: [word(), word()],
            rng_seed: word(),
        }
    }

    /// Bytes of seed.
    pub const SEED_BYTES: usize = Steering::SEED_BYTES + 3 * size_of::<u64>();
}

/// All shards.
pub struct Shards {
    cells: Box<[ShardCell]>,
    steering: Steering,
    memory_bytes_max: usize,
}

/// A shard with its lock and gauges, on cache lines of its own.
#[repr(align(128))]
struct ShardCell {
    shard: Mutex<Shard>,
    gauges: Gauges,
}

impl Shards {
    /// `count` shards, at least one, that may take any memory.
    pub fn new(count: usize, secrets: &Secrets) -> Self {
        Self::with_memory(count, secrets, usize::MAX)
    }

    /// `count` shards, at least one, with equal shares of `memory_bytes`.
    pub fn with_memory(count: usize, secrets: &Secrets, memory_bytes: usize) -> Self {
        let share_bytes = share_bytes(memory_bytes, count);
        let mut seeds = Rng::with_seed(secrets.rng_seed);
        let cell = |_| ShardCell {
            shard: Mutex::new(Shard::new(secrets.index_key, seeds.u64(..), share_bytes)),
            gauges: Gauges::default(),
        };
        let cells: Box<[ShardCell]> = (0..count.max(1)).map(cell).collect();
        let memory_bytes_max = share_bytes.saturating_mul(cells.len());
        Self { cells, steering: secrets.steering, memory_bytes_max }
    }

    /// What all shards together may take for torrents and peers.
    pub fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

    /// How many shards there are.
    #[allow(clippy::len_without_is_empty)] // There is always one.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// The shard that owns a torrent: the one whose worker the kernel steers its requests to.
    #[inline]
    pub fn owner(&self, info_hash: &InfoHash) -> usize {
        self.steering.owner(info_hash, self.cells.len())
    }

    /// The constants of [`Shards::owner`], for the kernel's program.
    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Locks one shard. If its last holder panicked, the shard is made consistent first.
    ///
    /// # Panics
    /// If `index` is not below [`Shards::len`].
    pub fn lock(&self, index: usize) -> ShardGuard<'_> {
        let ShardCell { shard, gauges } = &self.cells[index];
        let shard = shard.lock().unwrap_or_else(|poisoned| {
            let mut shard = poisoned.into_inner();
            shard.recover();
            self.cells[index].shard.clear_poison();
            shard
        });
        ShardGuard { shard, gauges }
    }

    /// How much each shard holds, in order.
    pub fn gauges(&self) -> impl Iterator<Item = &Gauges> {
        self.cells.iter().map(|cell| &cell.gauges)
    }
}

/// A locked shard; its gauges are brought up to date when it is released.
pub struct ShardGuard<'a> {
    shard: MutexGuard<'a, Shard>,
    gauges: &'a Gauges,
}

impl Deref for ShardGuard<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl DerefMut for ShardGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for ShardGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.gauges.store(&self.shard);
    }
}
