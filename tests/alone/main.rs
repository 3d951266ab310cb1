//! Runs that need the processor time of the whole machine: several programs, from end to end.
//! Cargo runs one test program after the other, so nothing else runs beside these.
#![allow(clippy::unwrap_used)]

#[path = "../common/engine.rs"]
mod engine;
mod pipeline;
mod real_clients;

use std::sync::RwLock;

/// The pipeline, whose packets have to arrive in time, writes; clients that exchange files read.
static MACHINE: RwLock<()> = RwLock::new(());
