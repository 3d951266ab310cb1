//! What the runs went through, to show that the generators reach all of it.

seen! {
    Lost,
    Repeated,
    Overtaken,
    Spoiled,
    /// A frame found a packet socket's buffer full.
    QueueFull,
    /// A frame waited because too few send slots were free.
    FrameWaited,
    /// A frame waited because no receive buffer was free.
    NoReceiveBuffer,
    /// A send found no slot.
    NoSlot,
    Single,
    SuperPacket,
    /// More datagrams than one send carries.
    LongSuperPacket,
    /// The first datagrams that came together and must leave one by one.
    CutOnArrival,
    Fragmented,
    /// A datagram became whole of fragments and was sent on.
    Reassembled,
    FragmentsTimedOut,
    /// Fragments had to go because others came.
    FragmentsCrowdedOut,
    /// The first fragment was of no rule's datagram.
    FragmentsRefused,
    Empty,
    WithoutChecksum,
    Vouched,
    Pending,
    /// Several datagrams in one send.
    Batched,
    /// Of a batch that one output took whole, another took each datagram by itself.
    SentSingly,
    FannedOut,
    OnlyCounted,
    CrossedFamilies,
    TtlKept,
    DscpKept,
    /// The second relay of a chain got what the first sent on.
    SecondHop,
    ThirdHop,
    SegmentsRefused,
    /// The error of an earlier datagram is reported instead, and it is sent again.
    Refused,
    RefusedTwice,
    /// The rules changed while sends were on their way.
    ChangedInFlight,
    /// The output was gone when its send ended.
    EndedWithoutOutput,
    RuleGone,
    RuleBack,
    OutputGone,
    OutputNew,
    OutputDown,
    OutputUp,
    SourcesListed,
    OffloadOff,
    Narrowed,
}
