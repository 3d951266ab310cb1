//! What threads share data through: locks, atomics, swapped pointers and wake-ups, by one name.
//!
//! They are those of the standard library, `arc-swap` and `nix`. A build of the unit tests with
//! `--cfg ringtide_loom` puts loom's in their place, which try every order that the memory model
//! permits: `scripts/interleavings.sh` runs those tests, which are in `src/tests/interleavings/`.

#[cfg(not(all(test, ringtide_loom)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) use arc_swap::ArcSwap;
    pub(crate) use nix::sys::eventfd::EventFd;
}

#[cfg(not(all(test, ringtide_loom)))]
pub(crate) use real::*;

#[cfg(all(test, ringtide_loom))]
pub(crate) use crate::tests::interleavings::stand_ins::*;
