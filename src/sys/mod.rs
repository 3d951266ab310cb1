//! System calls behind safe functions: sockets, netlink, BPF, descriptor passing, memory. Each file
//! says which interface of the system it wraps.

pub mod address;
pub mod bpf;
pub mod egress;
pub(crate) mod errno;
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
pub mod process;
pub mod signals;
pub mod socket;
pub mod steering;
pub mod udp_receiver;
