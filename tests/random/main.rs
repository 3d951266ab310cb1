//! Random input, each run decided by its seed: simulations in virtual time checked against models,
//! the seeds of the fuzz targets, and the engines compared with each other.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod seen;

#[path = "../common/mod.rs"]
mod common;
mod engines;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod fuzz_corpus;
mod relay_simulation;
mod seeds;
mod tracker_simulation;
