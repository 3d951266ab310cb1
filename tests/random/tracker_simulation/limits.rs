//! What each source has left of its limits: token buckets in the plainest way.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringtide::tracker::core::{RateLimit, SourceLimitSettings};
use ringtide::wire::bep15::Family;

use super::issued::bound;

/// The two kinds of requests that are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Connect,
    /// Or a scrape.
    Announce,
}

#[derive(Default)]
pub(crate) struct Buckets(BTreeMap<(Kind, Family, u64), Bucket>);

/// So much credit, in ticks, as there was at a time, in ticks.
struct Bucket {
    credit: u64,
    at: u64,
}

impl Buckets {
    /// Whether the request is within the limit; it is used then.
    pub(crate) fn take(
        &mut self,
        settings: &SourceLimitSettings,
        kind: Kind,
        now_ms: u64,
        from: SocketAddr,
    ) -> bool {
        let RateLimit { per_s, burst } = match kind {
            Kind::Connect => settings.connects,
            Kind::Announce => settings.announces,
        };
        if per_s == 0 {
            return true;
        }
        let now = now_ms * TICKS_PER_S / 1000;
        let price = TICKS_PER_S.div_ceil(per_s.into());
        let full = price * u64::from(burst);
        let (family, source) = bound(from);
        let bucket =
            self.0.entry((kind, family, source)).or_insert(Bucket { credit: full, at: now });
        bucket.credit = full.min(bucket.credit + now - bucket.at);
        bucket.at = now;
        let enough = bucket.credit >= price;
        bucket.credit -= if enough { price } else { 0 };
        enough
    }
}

/// As fine as the tracker's own, so that both agree to the millisecond.
const TICKS_PER_S: u64 = 1 << 20;
