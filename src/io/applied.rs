//! A version that a worker has applied, and a way to wait for it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, Condvar, Mutex};

/// The last version of something shared that one worker has applied. The worker raises it; any
/// other thread reads it or sleeps until it is reached.
#[derive(Debug, Default)]
pub struct AppliedVersion {
    version: AtomicU64,
    /// Held while the version changes, so that nobody falls asleep between a look and a change.
    change: Mutex<()>,
    changed: Condvar,
}

impl AppliedVersion {
    /// The version that is applied.
    pub fn get(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes that `version` is applied and wakes who waits for it. To be called when something
    /// changed, not with each packet.
    pub(crate) fn set(&self, version: u64) {
        // Nothing is guarded that a panic could leave half-done.
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.version.store(version, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits until `version` or a later one is applied, at most for `timeout`. Returns whether it
    /// is.
    pub fn wait(&self, version: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        while self.get() < version {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(change, left);
            change = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(all(test, not(ringtide_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_wait_ends_with_the_version_or_with_its_time() {
        let applied = Arc::new(AppliedVersion::default());
        assert!(applied.wait(0, Duration::ZERO));
        assert!(!applied.wait(1, Duration::from_millis(1)));
        let worker = {
            let applied = Arc::clone(&applied);
            std::thread::spawn(move || (1..=3).for_each(|version| applied.set(version)))
        };
        assert!(applied.wait(3, Duration::from_secs(60)));
        assert!(applied.wait(2, Duration::ZERO), "an earlier one is applied, too");
        assert_eq!(applied.get(), 3);
        worker.join().unwrap();
    }
}
