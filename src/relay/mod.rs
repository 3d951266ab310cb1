//! The multicast relay as plain functions of frames and time: frames in, datagrams out.

pub mod checksum;
pub mod coalesce;
pub mod datagram;
pub mod endpoint;
pub mod ethernet;
mod flights;
pub mod fragment;
#[cfg(test)]
pub(crate) mod golden;
pub mod handler;
pub mod ipv4;
pub mod ipv6;
mod latency;
pub mod reassembly;
pub mod rule;
pub mod stats;
pub mod table;
pub mod udp;
pub mod validate;
pub mod virtio;
mod wire;

pub use coalesce::{Batch, Bundle, Pushed, Split};
pub use datagram::{Datagram, count_datagrams};
pub use endpoint::{Endpoint, EndpointError};
pub use rule::{Dscp, Input, Offload, Output, RelaySettings, Rule, Ttl};
