//! What the tests on a real ring share.
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)]

pub mod asking;
mod binary;
mod browser;
mod client;
mod engine;
mod fleet;
mod handlers;
mod namespace;
mod running;
mod started;
mod wait;

pub use binary::{
    Binary, RINGTIDE, file, give_away, ringtide_of_nobody, ringtide_refused, skip, stop,
};
pub use browser::{browse, browser};
pub use client::{Announced, Ask, Client, hash};
pub use engine::{engine, features};
pub use fleet::{Fleet, Fragile, PANIC, PANIC_HOLDING_THE_SHARD};
pub use handlers::{Echo, Forward};
pub use namespace::{Cable, Namespace, connect, raw_socket, switched_off};
pub use running::Running;
pub use started::Started;
pub use wait::{DEADLINE, eventually, uninterrupted};
