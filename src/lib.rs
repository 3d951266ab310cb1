//! A BitTorrent UDP tracker and a multicast relay, driven by one io_uring or epoll loop per core.
//!
//! The library holds everything the `ringtide` binary does. Its layers point down only: the
//! worker runs a loop from [`uring`] or [`epoll`], the loop feeds a [`handler::Handler`], and
//! handlers such as the tracker are plain functions of bytes and time that never see the engine.

pub mod app;
pub mod aside;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confinement;
pub mod control;
pub mod ctl;
pub mod engine;
#[allow(unsafe_code)]
pub mod epoll;
pub mod error;
#[cfg(test)]
mod fault_tests;
pub mod handler;
#[cfg(all(test, ringtide_loom))]
mod interleavings;
pub mod jobs;
mod listening;
pub mod logging;
pub mod memory_limit;
#[allow(unsafe_code)]
pub mod net;
pub mod privileges;
pub mod process;
pub mod relay;
mod reload;
mod restart;
mod running;
pub mod state;
mod sync;
pub mod telemetry;
pub mod tools;
pub mod tracker;
#[allow(unsafe_code)]
pub mod uring;
pub mod worker;
