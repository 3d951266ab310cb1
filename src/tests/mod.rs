//! Tests that need private parts of several rooms: faults injected below the drivers, and the
//! orders in which threads can meet.

mod fault_injection;
#[cfg(ringtide_loom)]
pub(crate) mod interleavings;
#[cfg(not(ringtide_loom))]
mod mailbox;
