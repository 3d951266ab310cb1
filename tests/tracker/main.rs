//! The tracker on the real ring, as clients meet it: every rule of BEP 15 that can be seen from
//! outside.
#![allow(clippy::unwrap_used)]

mod access;
mod addresses;
mod announce;
#[path = "../common/mod.rs"]
mod common;
mod connection;
mod limits;
mod numwant;
mod scrape;
mod source_limits;
