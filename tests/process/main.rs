//! The `ringtide` process: signals, logs, what it says when it cannot start, what it costs idle.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod handover;
mod logs;
mod notify;
mod privileges;
mod reload;
mod shutdown;
mod start;
mod state;
