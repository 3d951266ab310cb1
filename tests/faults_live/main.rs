//! Faults around a living process: the program itself in network namespaces, with traffic all the
//! time. After each fault traffic flows again without a restart, nothing leaks, and the log says
//! once what happened.
//!
//! With `-- --nocapture` each fault prints a row: `| fault | recovered in X ms |`. These tests need
//! root. Without it they fail and say so, unless RINGTIDE_SKIP_NAMESPACES=1.
#![allow(clippy::unwrap_used)]

#[path = "../control/asking.rs"]
#[allow(dead_code)]
mod asking;
mod bed;
mod clients;
mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod disk;
#[path = "../relay/hop.rs"]
#[allow(dead_code)]
mod hop;
#[path = "../relay/line.rs"]
mod line;
mod links;
#[path = "../relay/numbered.rs"]
#[allow(dead_code)]
mod numbered;
mod output;
#[path = "../relay/ports.rs"]
#[allow(dead_code)]
mod ports;
mod pulse;
mod routes;
mod steadfast;
mod stopped;
mod takeover;
#[path = "../relay/traffic.rs"]
#[allow(dead_code)]
mod traffic;
