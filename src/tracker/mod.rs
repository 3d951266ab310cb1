//! The BitTorrent UDP tracker (BEP 15) as plain functions of bytes and time.

mod settings;

pub use settings::TrackerSettings;
