//! How other threads reach a worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EfdFlags;

use super::Now;
use crate::sync::{AtomicBool, AtomicU64, Condvar, EventFd, Mutex};

/// How other threads reach a worker: flags, and an eventfd that its loop reads.
#[derive(Debug)]
pub struct WorkerControl {
    stop: AtomicBool,
    /// Held while `stop` is set, for [`Self::wait_for_stop`].
    stop_change: Mutex<()>,
    stopped: Condvar,
    wake: EventFd,
    shutdown_timeout: Duration,
    heartbeat_s: AtomicU64,
}

impl WorkerControl {
    /// `shutdown_timeout`: how long a stopping worker may finish what is in flight.
    pub fn new(shutdown_timeout: Duration) -> io::Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?;
        Ok(Self {
            stop: AtomicBool::new(false),
            stop_change: Mutex::new(()),
            stopped: Condvar::new(),
            wake,
            shutdown_timeout,
            heartbeat_s: AtomicU64::new(0),
        })
    }

    /// Asks the worker to stop and wakes it.
    pub fn stop(&self) {
        {
            // Nothing is guarded that a panic could leave half-done.
            let _change = self.stop_change.lock().unwrap_or_else(PoisonError::into_inner);
            self.stop.store(true, Ordering::Release);
            self.stopped.notify_all();
        }
        self.wake();
    }

    /// Sleeps for `timeout`, or until the worker is asked to stop.
    pub(crate) fn wait_for_stop(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut change = self.stop_change.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.should_stop() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.stopped.wait_timeout(change, left);
            change = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Withdraws the request to stop, once the worker has ended.
    pub(crate) fn start_over(&self) {
        self.stop.store(false, Ordering::Release);
    }

    /// Ends the worker's wait, whatever it waits for.
    pub fn wake(&self) {
        // A write fails only when the counter would overflow; then the worker wakes anyway.
        let _ = self.wake.write(1);
    }

    /// Whether the worker was asked to stop.
    pub fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The deadline for what is in flight, counted from the stop.
    pub fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout
    }

    /// When the worker's loop last ticked, in seconds since the Unix epoch; 0 before the first.
    pub fn heartbeat_s(&self) -> u64 {
        self.heartbeat_s.load(Ordering::Relaxed)
    }

    pub(crate) fn beat(&self, now: Now) {
        self.heartbeat_s.store(now.seconds(), Ordering::Relaxed);
    }

    /// Readable once somebody woke the worker.
    pub(crate) fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the descriptor unreadable until the next wake-up. Only for when it is readable:
    /// otherwise this waits.
    pub(crate) fn clear_wake(&self) {
        // Whatever goes wrong, the worker was woken, and that is all this is for.
        let _ = self.wake.read();
    }
}
