//! The one seam between a loop and what it serves.
//!
//! A loop receives datagrams, reads the clock once for the whole batch, and calls a [`Handler`];
//! the handler answers through [`Transmit`]. Neither side knows the other: the same handler runs
//! on the ring and, in tests, against a plain [`RecordedTransmit`].

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

pub use crate::net::buffers::{Buffer, ReceivePool};

/// The largest datagram [`Transmit::reply`] can write: the UDP payload of an unfragmented IPv4
/// datagram on Ethernet (1,500 bytes less 20 of IP and 8 of UDP header).
pub const REPLY_BYTES_MAX: usize = 1472;

/// A point in time, read once per batch of packets.
///
/// It counts from the Unix epoch, but only its starting point comes from the wall clock: while
/// the process runs it advances with the monotonic clock, so it never jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(Duration);

impl Now {
    /// The point `since_epoch` after the Unix epoch.
    pub const fn from_unix(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    /// Time since the Unix epoch.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }

    /// This point moved `by` later.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

/// Which of the worker's sockets a packet came in on or leaves by: an index into the list of
/// sockets that the worker was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u16);

/// The local address that a datagram was sent to, learned from `IP_PKTINFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The address the client asked, and must be answered from.
    pub address: IpAddr,
    /// The interface it came in on; needed to answer IPv6 link-local addresses.
    pub interface: u32,
}

/// Where a reply goes and which address it leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyPath {
    /// The socket that the request came in on.
    pub socket: SocketId,
    /// The client.
    pub to: SocketAddr,
    /// The address to answer from; `None` when the socket is bound to one address anyway.
    pub from: Option<Local>,
}

/// One received datagram, borrowed from the receive buffer that holds it.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The socket it came in on, who sent it, and the address it was sent to.
    pub path: ReplyPath,
    /// The datagram's payload: a part of `buffer`.
    pub payload: &'a [u8],
    /// The buffer behind `payload`. A handler that forwards the bytes without a copy clones it;
    /// the buffer returns to the kernel when its last clone is dropped.
    pub buffer: &'a Buffer,
}

/// A stretch of a receive buffer, for [`Transmit::forward`].
#[derive(Clone, Debug)]
pub struct Part {
    /// The buffer, kept alive until the kernel has sent it.
    pub buffer: Buffer,
    /// The bytes of it to send.
    pub range: Range<usize>,
}

/// The transmit side had no free slot; the datagram was counted as dropped by the transmit side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no free transmit slot")]
pub struct TransmitFull;

/// What a handler sends through.
///
/// Nothing blocks and nothing allocates. When no slot is free the datagram is dropped, the
/// implementation counts it, and [`TransmitFull`] tells the handler.
pub trait Transmit {
    /// Queues one datagram that `write` puts in place.
    ///
    /// `write` gets a zeroed or stale area of [`REPLY_BYTES_MAX`] bytes and returns how many of
    /// them to send. It is not called when no slot is free.
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitFull>;

    /// Queues one datagram, or several equal ones in one trip, straight from receive buffers.
    ///
    /// With `segment_bytes` the parts together are cut by the kernel (`UDP_SEGMENT`) into
    /// datagrams of that size, the last one possibly shorter. `path.to` is ignored by connected
    /// sockets. At most [`FORWARD_PARTS_MAX`] parts.
    fn forward(
        &mut self,
        path: ReplyPath,
        parts: &[Part],
        segment_bytes: Option<u16>,
    ) -> Result<(), TransmitFull>;
}

/// The most parts one [`Transmit::forward`] takes: the kernel's limit on UDP segments in a send.
pub const FORWARD_PARTS_MAX: usize = 64;

/// What a loop serves. All calls come from the one thread of the worker that owns it.
pub trait Handler {
    /// Handles one datagram. It never reads a clock, makes a system call or allocates.
    fn on_packet<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T);

    /// Called at most once per tick interval for bounded housekeeping such as expiry.
    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T);

    /// Called at the end of every iteration that delivered packets, before anything is
    /// submitted: close the batches held open.
    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let _ = (now, tx);
    }
}

/// One datagram recorded by [`RecordedTransmit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where it would have gone.
    pub path: ReplyPath,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The segment size it was forwarded with, if any.
    pub segment_bytes: Option<u16>,
}

/// A [`Transmit`] that keeps what it is given, for tests and simulation.
#[derive(Debug, Default)]
pub struct RecordedTransmit {
    /// Everything sent so far, oldest first.
    pub sent: Vec<Sent>,
}

impl Transmit for RecordedTransmit {
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitFull> {
        let mut bytes = vec![0; REPLY_BYTES_MAX];
        let length = write(&mut bytes);
        bytes.truncate(length);
        self.sent.push(Sent { path, bytes, segment_bytes: None });
        Ok(())
    }

    fn forward(
        &mut self,
        path: ReplyPath,
        parts: &[Part],
        segment_bytes: Option<u16>,
    ) -> Result<(), TransmitFull> {
        let bytes = parts
            .iter()
            .flat_map(|part| part.buffer.bytes()[part.range.clone()].iter().copied())
            .collect();
        self.sent.push(Sent { path, bytes, segment_bytes });
        Ok(())
    }
}
