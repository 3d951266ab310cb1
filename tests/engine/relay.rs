//! The relay through the binary: processes in network namespaces of their own, joined by veth
//! pairs, with plain sockets at the ends.
//!
//! These tests need root. Without it they fail and say so, unless RINGTIDE_SKIP_NAMESPACES=1.

mod chain;
mod control;
mod fan;
mod frames;
mod hop;
mod latency;
pub(crate) mod line;
mod links;
mod marks;
pub(crate) mod numbered;
mod overload;
pub(crate) mod ports;
mod privileges;
mod reload;
mod report;
mod rules;
mod sizes;
mod sources;
mod takeover;
pub(crate) mod traffic;
mod tunnel;
mod workers;
