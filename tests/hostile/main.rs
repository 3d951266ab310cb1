//! What a stranger can do to the tracker, and what not: reflection, forged and stale connection
//! IDs, info hashes that are chosen, floods of announces.
#![allow(clippy::unwrap_used)]

mod chosen_hashes;
#[path = "../common/mod.rs"]
mod common;
mod connection_ids;
mod expiry;
mod flood;
mod reflection;

/// The tracker that the fuzz target has.
#[path = "../fuzz"]
#[allow(dead_code, unreachable_pub)]
mod fuzz {
    pub mod input;
    pub mod tracker;
    pub mod transmit;
}
