//! The epoll engine, for where io_uring is forbidden or missing: readiness, `recvmmsg` and
//! `sendmmsg` behind the same seam, with the same buffers, slots and counters as the ring.
//!
//! The kernel reads and writes this engine's memory only during a call, so little carries the
//! unsafe code here: what a call is given lives in boxes and slots that do not move and that
//! nothing else refers to until it returns; and a receive buffer is written only between
//! `ReceivePool::provide` and the `complete` after the call that filled it.

mod event_loop;
mod receive;
mod sockets;
#[cfg(test)]
pub(crate) mod tests;
mod transmit;

pub use event_loop::EpollLoop;
