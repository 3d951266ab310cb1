//! Sockets, addresses, receive buffers and BPF programs: what touches the operating system
//! outside the ring itself.

pub mod buffers;
