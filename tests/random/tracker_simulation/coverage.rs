//! What the runs went through, to show that the generators reach all of it.

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
