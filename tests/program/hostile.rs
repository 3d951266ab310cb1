//! What a stranger can do to the tracker, and what not: reflection, forged and stale connection
//! IDs, info hashes that are chosen, floods of announces.

mod chosen_hashes;
mod connection_ids;
mod expiry;
mod flood;
mod reflection;
