//! The multicast relay as plain functions of frames and time: frames in, datagrams out.

pub mod endpoint;
pub mod rule;
pub mod stats;
pub mod validate;

pub use endpoint::{Endpoint, EndpointError};
pub use rule::{Dscp, Input, Offload, Output, RelaySettings, Rule, Ttl};
