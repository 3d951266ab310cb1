//! The multicast relay as plain functions of frames and time: frames in, datagrams out.

pub mod rule;
pub mod stats;

pub use rule::{Dscp, Endpoint, Input, Offload, Output, RelaySettings, Rule, Ttl};
