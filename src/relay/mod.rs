
pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod rule;
pub mod stats;
pub mod udp;
pub mod virtio;
mod wire;

pub use rule::{Dscp, Endpoint, Input, Offload, Output, RelaySettings, Rule, Ttl};
