//! Sockets, addresses, receive buffers and BPF programs: what touches the operating system
//! outside the ring itself.

pub mod address;
pub mod buffers;
pub mod lent;
pub mod socket;
pub mod steering;
