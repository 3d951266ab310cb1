//! What a stranger can do to the tracker, and what not: reflection, forged and stale connection
//! IDs, info hashes that are chosen, floods of announces.
#![allow(clippy::unwrap_used)]

mod chosen_hashes;
#[path = "../common/mod.rs"]
mod common;
mod connection_ids;
mod expiry;
mod flood;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod reflection;
