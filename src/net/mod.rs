//! Sockets, addresses, receive buffers and BPF programs: what touches the operating system
//! outside the ring itself.

pub mod address;
pub mod buffers;
pub mod lent;
pub(crate) mod region;
pub mod socket;
pub mod steering;
