//! Announce and scrape, policy, access and limits: no byte of any protocol.

pub mod access_list;
mod message;
pub mod policy;
mod settings;
pub mod source;
pub mod source_limits;
mod swarms;
#[cfg(test)]
mod tests;
mod upkeep;

pub use crate::tracker::store::Event;
pub use crate::values::InfoHash;
pub use message::TrackerMessage;
pub use settings::TrackerSettings;
pub use source_limits::{RateLimit, SourceLimitSettings};
pub use swarms::{
    Admission, AdmittedAnnounce, AdmittedScrape, Announce, AnnounceReply, Refusal, Swarms,
};
pub use upkeep::Upkeep;
