//! Announce and scrape, policy, access and limits: no byte of any protocol.

pub mod access_list;
pub mod policy;
mod settings;
pub mod source;
pub mod source_limits;

pub use crate::values::InfoHash;
pub use settings::TrackerSettings;
pub use source_limits::{RateLimit, SourceLimitSettings};
