//! Going over all shards while workers serve: a slice under the lock, then a pause.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::tracker::store::{Ipv4, Ipv6, Shard, Shards, Torrents, WALK_VISITS, Walk};

/// How a walk treats those who wait for the locks, and what ends it early.
#[derive(Clone, Copy, Debug)]
pub struct WalkOptions<'a> {
    /// Between two slices of a shard, without its lock.
    pub pause: Duration,
    /// Set to give up.
    pub stop: Option<&'a AtomicBool>,
}

impl WalkOptions<'static> {
    /// For when no worker runs.
    pub const ALONE: Self = WalkOptions { pause: Duration::ZERO, stop: None };
}

impl<'a> WalkOptions<'a> {
    /// Beside workers, until `stop` is set.
    pub fn beside_workers(stop: &'a AtomicBool) -> Self {
        Self { pause: SLICE_PAUSE, stop: Some(stop) }
    }
}

/// What is done with a slice of one family's torrents, and then without the lock.
pub(super) trait Slices {
    /// Called under the lock; returns whether the walk came to the end.
    fn ipv4(&mut self, torrents: &Torrents<Ipv4>, walk: &mut Walk, budget: usize) -> bool;
    /// As [`Slices::ipv4`].
    fn ipv6(&mut self, torrents: &Torrents<Ipv6>, walk: &mut Walk, budget: usize) -> bool;
    /// Called after each slice, without the lock.
    fn write(&mut self) -> io::Result<()>;
}

/// Goes over all torrents of all shards, IPv4 before IPv6 in each.
pub(super) fn over(
    shards: &Shards,
    manner: WalkOptions<'_>,
    to: &mut impl Slices,
) -> io::Result<()> {
    for index in 0..shards.len() {
        each(shards, index, manner, to, |to, shard, walk| to.ipv4(&shard.ipv4, walk, WALK_VISITS))?;
        each(shards, index, manner, to, |to, shard, walk| to.ipv6(&shard.ipv6, walk, WALK_VISITS))?;
    }
    Ok(())
}

fn each<S: Slices>(
    shards: &Shards,
    index: usize,
    manner: WalkOptions<'_>,
    to: &mut S,
    slice: impl Fn(&mut S, &Shard, &mut Walk) -> bool,
) -> io::Result<()> {
    let mut walk = Walk::default();
    loop {
        if manner.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let finished = slice(to, &shards.lock(index), &mut walk);
        to.write()?;
        if finished {
            return Ok(());
        }
        if !manner.pause.is_zero() {
            std::thread::sleep(manner.pause);
        }
    }
}

/// About as long as a slice takes, so that the lock is free for half of the time at the least.
const SLICE_PAUSE: Duration = Duration::from_micros(200);
