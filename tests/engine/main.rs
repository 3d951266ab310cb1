//! What a worker does on the engine that `RINGTIDE_TEST_ENGINE` names, io_uring without it:
//! `scripts/test.sh` runs this program on each.
//!
//! The modules are suites that run one after the other, since tests run in the order of their
//! names.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod event_loop;
mod faults_live;
mod load_test;
mod process;
mod relay;
mod relay_net;
mod storm;
mod tracker;
mod workers;
