//! Bytes and structs: one file for each format.

pub mod bep15;
mod bytes;
pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod udp;
pub mod virtio;
