//! The multicast relay as plain functions of frames and time: frames in, datagrams out.

pub mod coalesce;
pub mod control;
pub mod datagram;
pub mod fragment;
#[cfg(test)]
pub(crate) mod golden;
pub mod handler;
mod headers;
mod in_flight;
mod latency;
pub mod reassembly;
pub mod rule;
mod sender;
pub mod stats;
pub mod table;
pub mod validate;

pub use coalesce::{Batch, Pushed, Split};
pub use datagram::{Datagram, count_datagrams};
pub use rule::{
    Dscp, Input, OUTPUTS_MAX, Offload, Output, RULES_MAX, RelaySettings, Rule, SOURCES_MAX, Ttl,
};
