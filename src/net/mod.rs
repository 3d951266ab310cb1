//! Sockets, addresses, receive buffers and BPF programs: what touches the operating system
//! outside the ring itself.

pub mod address;
pub mod bpf;
pub mod buffers;
pub mod filter;
pub mod interface;
pub mod lent;
pub mod link_watch;
mod netlink;
mod options;
pub mod socket;
pub mod steering;
