//! A limit, and its decision on one request.

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many a second, in the long run, up to [`RateLimit::PER_S_MAX`]; 0 is without a limit.
    pub per_s: u32,
    /// So many at once, from 1 to [`RateLimit::BURST_MAX`], after a time without any.
    pub burst: u32,
}

impl RateLimit {
    /// Within this rates are kept to less than 1 %.
    pub const PER_S_MAX: u32 = 10_000;
    /// At one a second this is a day and four hours, which the table's clock holds.
    pub const BURST_MAX: u32 = 100_000;
}

/// What a limit says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is within the limit.
    Accepted,
    /// It is within the limit, and the account of another source was given up to keep this one's.
    AcceptedWithEviction,
    /// It is over the limit.
    Refused,
}
