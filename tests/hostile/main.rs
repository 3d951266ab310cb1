//! What a stranger can do to the tracker, and what not: reflection, forged and stale connection
//! IDs, info hashes that are chosen.
#![allow(clippy::unwrap_used)]

mod chosen_hashes;
mod connection_ids;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod reflection;
