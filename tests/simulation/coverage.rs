//! What the runs went through, to show that the generators reach all of it.

/// Declares [`Seen`] together with the list of its variants.
macro_rules! seen {
    ($($(#[$doc:meta])* $variant:ident,)+) => {
        /// Something that a run can go through.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Seen { $($(#[$doc])* $variant,)+ }

        impl Seen {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];
        }
    };
}

seen! {
    Lost,
    Repeated,
    Reordered,
    Steered,
    NotSteered,
    MappedSource,
    /// The transmit side had no slot for a reply.
    NoSlot,
    Reloaded,
    Retransmitted,
    /// A client's connection ID ran out, and it asked for another.
    IdRenewed,
    /// Past its lifetime, but accepted.
    OldIdAccepted,
    /// Past its lifetime, and refused though it need not be.
    OldIdRefused,
    /// Twice its lifetime old: refused for certain.
    ExpiredId,
    ForgedId,
    /// Issued to somebody else.
    IdOfAnother,
    /// Issued to another address of the same IPv6 /64, and so as good as the client's own.
    IdOfTheSame64,
    DefaultNumwant,
    NumwantZero,
    NumwantOne,
    NumwantAboveMaximum,
    /// As many peers as one datagram holds.
    FullReplyIpv4,
    FullReplyIpv6,
    /// A seeder that was told of leechers while there were other seeders.
    SeederToldOfLeechers,
    /// A swarm of more peers than a flat one holds.
    LargeSwarm,
    /// The last peer left.
    TorrentGone,
    CompletedAgain,
    CompletedUnstored,
    SeederTurnedLeecher,
    LeecherTurnedSeeder,
    StoppedStored,
    StoppedUnknown,
    StoppedPortZero,
    CameBack,
    /// Announced after its timeout, and was no longer there.
    AnnouncedAfterExpiry,
    /// Updated while a cap kept others out.
    UpdatedAtCap,
    PausedEvent,
    UnknownEvent,
    Options,
    LongConnect,
    ScrapeOfMany,
    ScrapeBeyondMaximum,
    ScrapeWithRest,
    ScrapeDenied,
    ScrapeUnknown,
    LimitedIpv4,
    LimitedIpv6,
    ScrapeKnown,
    Vanished,
    GaveUp,
}

/// How often each [`Seen`] was.
#[derive(Clone)]
pub(crate) struct Coverage([u64; Seen::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Seen::ALL.len()])
    }
}

impl Coverage {
    pub(crate) fn note(&mut self, what: Seen) {
        self.0[what as usize] += 1;
    }

    pub(crate) fn note_if(&mut self, condition: bool, what: Seen) {
        self.0[what as usize] += u64::from(condition);
    }

    pub(crate) fn times(&self, what: Seen) -> u64 {
        self.0[what as usize]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, part)| *sum += part);
    }
}
