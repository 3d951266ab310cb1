//! Sockets, addresses, receive buffers and BPF programs: what touches the operating system
//! outside the ring itself.

pub mod address;
pub mod bpf;
pub mod buffers;
pub mod descriptors;
pub mod egress;
pub mod feed;
pub mod files;
pub mod filter;
pub mod handed;
pub mod interface;
pub mod lent;
pub mod link_watch;
pub mod membership;
mod netlink;
mod options;
pub mod packet_socket;
pub mod passing;
pub(crate) mod region;
pub(crate) mod slots;
pub mod socket;
pub mod steering;
