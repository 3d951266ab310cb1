//! Limits on what one source may ask for: connects, and announces and scrapes together.
//!
//! Sources are addresses, and [`Source`] says which. Each limit is a token bucket for every
//! source, in a table that all workers share and that never grows. What a full table means, why
//! connects and announces have a table each, and why a limit on connects is two-edged is in
//! `developer_docs/decisions/0015-limits-per-source.md`.

mod buckets;
mod limit;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use self::buckets::Buckets;
pub use self::limit::{Decision, RateLimit};
use super::source::Source;
use crate::io::Now;

/// What one source may ask for, and how many sources are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLimitSettings {
    /// Connect requests. Without a limit by default.
    pub connects: RateLimit,
    /// Announces and scrapes with a valid connection ID. Without a limit by default.
    pub announces: RateLimit,
    /// How many sources each limit keeps an account of, up to
    /// [`SourceLimitSettings::TABLE_SOURCES_MAX`], 8 bytes each; rounded up to a power of two.
    /// Default 65,536.
    pub table_sources: u32,
}

impl SourceLimitSettings {
    /// 128 MiB for each limit.
    pub const TABLE_SOURCES_MAX: u32 = 1 << 24;
}

impl Default for SourceLimitSettings {
    fn default() -> Self {
        Self {
            connects: RateLimit { per_s: 0, burst: 500 },
            announces: RateLimit { per_s: 0, burst: 5000 },
            table_sources: 65_536,
        }
    }
}

/// The limits in force and what each source has used of them. A clone shares the accounts.
#[derive(Clone, Debug)]
pub struct SourceLimits {
    settings: SourceLimitSettings,
    key: [u64; 2],
    connects: Option<Arc<Buckets>>,
    announces: Option<Arc<Buckets>>,
}

impl SourceLimits {
    /// Limits as the settings say, nothing used yet. Allocates a table for each that is on. `key`
    /// is a secret: who knows it knows which sources share a place in the tables.
    pub fn new(settings: SourceLimitSettings, key: [u64; 2]) -> Self {
        let buckets = |limit: RateLimit| {
            (limit.per_s > 0).then(|| Arc::new(Buckets::new(limit, settings.table_sources, key)))
        };
        let (connects, announces) = (buckets(settings.connects), buckets(settings.announces));
        Self { settings, key, connects, announces }
    }

    /// Limits as `settings` say. What was used counts on if they are the same; if not, everybody
    /// begins anew.
    pub fn adapted(&self, settings: &SourceLimitSettings) -> Self {
        if self.settings == *settings {
            return self.clone();
        }
        Self::new(settings.clone(), self.key)
    }

    /// Whether a connect request from `address`, which may be forged, is within the limit.
    #[inline]
    pub fn connect(&self, now: Now, address: IpAddr) -> Decision {
        take(self.connects.as_deref(), now, address)
    }

    /// Whether an announce or a scrape from `address`, which proved to be its sender's, is within
    /// the limit.
    #[inline]
    pub fn announce(&self, now: Now, address: IpAddr) -> Decision {
        take(self.announces.as_deref(), now, address)
    }

    /// Empties a part of the places whose sources may use their whole burst again; to be called
    /// by one worker, once a tick.
    pub fn sweep(&self, now: Now) {
        for buckets in [&self.connects, &self.announces].into_iter().flatten() {
            buckets.sweep(now);
        }
    }
}

#[inline]
fn take(buckets: Option<&Buckets>, now: Now, address: IpAddr) -> Decision {
    buckets.map_or(Decision::Accepted, |buckets| buckets.take(now, Source::of(address)))
}
