//! The BitTorrent UDP tracker (BEP 15) as plain functions of bytes and time.

mod info_hash;
mod settings;
pub mod steering;
pub mod store;

pub use info_hash::InfoHash;
pub use settings::TrackerSettings;
