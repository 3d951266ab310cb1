//! The control socket, metrics and dashboard, each through its real interface.
#![allow(clippy::unwrap_used)]

mod asking;
#[path = "../common/mod.rs"]
mod common;
mod ctl;
mod limits;
mod page;
mod peers;
mod reading;
mod rules;
mod saving;
mod socket;
