//! Sockets, addresses, receive buffers and BPF programs: what touches the operating system
//! outside the ring itself.

pub mod address;
pub mod bpf;
pub mod egress;
pub mod fd_bundle;
pub mod fd_passing;
pub mod files;
pub mod filter;
pub mod interface;
pub mod link_watch;
pub mod membership;
pub(crate) mod memory;
mod netlink;
mod options;
pub mod packet_socket;
pub mod signals;
pub mod socket;
pub mod steering;
pub mod udp_receiver;
