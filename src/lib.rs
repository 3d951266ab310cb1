//! A BitTorrent tracker and a multicast relay, driven by one io_uring or epoll loop per core.
//!
//! The library holds everything the `ringtide` binary does. `developer_docs/architecture.md` shows
//! its rooms and which of them may know which.

pub mod cli;
#[allow(unsafe_code)]
pub mod epoll;
pub mod error;
#[allow(unsafe_code)]
pub mod io;
pub mod relay;
pub mod server;
mod sync;
#[allow(unsafe_code)]
pub mod sys;
pub mod telemetry;
#[cfg(test)]
mod tests;
pub mod tools;
pub mod tracker;
#[allow(unsafe_code)]
pub mod uring;
pub mod values;
pub mod wire;
pub mod workers;
