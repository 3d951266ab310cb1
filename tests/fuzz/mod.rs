//! What the fuzz targets do with their input. `fuzz/` gives them to libFuzzer, and the test
//! `fuzz_corpus` gives them every file of `fuzz/seeds/`.
//!
//! Each target is a function of bytes alone that panics when something is not as it must be.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod access_list;
pub mod config;
pub mod connection_id;
pub mod control;
pub mod description;
pub mod input;
pub mod relay;
pub mod swarm_file;
pub mod tracker;
pub mod transmit;

/// Panics when the input makes something go wrong.
pub type Target = fn(&[u8]);

/// The targets by their names.
pub const TARGETS: [(&str, Target); 7] = [
    ("tracker", tracker::run),
    ("connection_id", connection_id::run),
    ("access_list", access_list::run),
    ("config", config::run),
    ("relay", relay::run),
    ("swarm_file", swarm_file::run),
    ("control", control::run),
];
