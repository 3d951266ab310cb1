//! The multicast relay as plain functions of frames and time: frames in, datagrams out.

pub mod checksum;
pub mod coalesce;
pub mod datagram;
pub mod ethernet;
#[cfg(test)]
mod golden;
pub mod ipv4;
pub mod ipv6;
pub mod rule;
pub mod stats;
pub mod udp;
pub mod virtio;
mod wire;

pub use coalesce::{Batch, Bundle, Pushed, Split};
pub use datagram::{Datagram, count_datagrams};
pub use rule::{Dscp, Endpoint, Input, Offload, Output, RelaySettings, Rule, Ttl};
