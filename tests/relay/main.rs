//! The relay through the binary: processes in network namespaces of their own, joined by veth
//! pairs, with plain sockets at the ends.
//!
//! These tests need root. Without it they fail and say so, unless RINGTIDE_SKIP_NAMESPACES=1.
#![allow(clippy::unwrap_used)]

mod chain;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod fan;
mod frames;
mod hop;
mod latency;
mod line;
mod links;
mod marks;
mod numbered;
mod overload;
mod ports;
mod privileges;
mod reload;
mod report;
mod sizes;
mod sources;
mod takeover;
mod traffic;
mod tunnel;
mod workers;
