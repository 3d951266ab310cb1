//! The process's one clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Now;

/// Tells the time as [`Now`]: taken from the wall clock once, monotonic from then on.
///
/// All workers share one, so that ages and connection IDs mean the same everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_unix: Duration,
}

/// The wall clock, in nanoseconds since the Unix epoch, to compare with the kernel's time stamps.
/// Unlike [`Now`] it may jump.
pub fn wall_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock {
    /// Starts the clock at the wall clock's present time.
    pub fn start() -> Self {
        // A wall clock before 1970 makes no sense; zero works all the same.
        let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix }
    }

    /// The present time.
    pub fn now(&self) -> Now {
        Now::from_unix(self.started_unix + self.started.elapsed())
    }
}
