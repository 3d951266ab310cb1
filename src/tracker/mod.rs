//! The BitTorrent UDP tracker (BEP 15) as plain functions of bytes and time.

pub mod access_list;
pub mod connection_id;
pub mod connection_key;
#[cfg(test)]
pub(crate) mod golden;
pub mod handler;
pub mod info_hash;
pub mod policy;
pub mod request;
pub mod request_write;
pub mod response;
pub mod response_parse;
mod settings;
pub mod source;
pub mod source_limits;
pub mod steering;
pub mod store;
pub mod swarm_file;
pub mod wire;

pub use info_hash::InfoHash;
pub use settings::TrackerSettings;
pub use source_limits::{RateLimit, SourceLimitSettings};
