//! What stands in for shared things while loom tries their orders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, LockResult};

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use loom::sync::{Condvar, MutexGuard};
use nix::sys::eventfd::EfdFlags;

/// Loom's lock, which knows no poison: a panic ends the model.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.0.lock()
    }

    pub(crate) fn clear_poison(&self) {}
}

/// A pointer that is swapped as a whole.
#[derive(Debug, Default)]
pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap())
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        *self.0.lock().unwrap() = value;
    }
}

/// A counter whose reader waits until it is not zero (eventfd(2)).
#[derive(Debug, Default)]
pub(crate) struct EventFd {
    count: loom::sync::Mutex<u64>,
    written: loom::sync::Condvar,
}

impl EventFd {
    pub(crate) fn from_value_and_flags(_: u32, _: EfdFlags) -> io::Result<Self> {
        Ok(Self::default())
    }

    pub(crate) fn write(&self, value: u64) -> io::Result<usize> {
        *self.count.lock().unwrap() += value;
        self.written.notify_one();
        Ok(size_of::<u64>())
    }

    pub(crate) fn read(&self) -> io::Result<u64> {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.written.wait(count).unwrap();
        }
        Ok(std::mem::take(&mut *count))
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("no engine runs in a model")
    }
}
