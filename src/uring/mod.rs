//! The io_uring engine: one ring, one loop, one worker thread.
//!
//! Four invariants carry the unsafe code here. Slot memory never moves. A slot is the kernel's
//! from push to completion. A receive buffer is ours from its completion to the last guard's
//! drop. Shutdown cancels and drains before anything is freed, and leaks what it cannot drain.

mod buffer_ring;
mod event_loop;
mod faults;
mod frame_queue;
mod open;
mod receive;
mod ring;
mod shutdown;
mod sockets;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod transmit;

pub use event_loop::{Ring, RingLoop, probe};
pub use ring::{MemoryLimit, RingError};
