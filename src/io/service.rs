//! The one seam between a loop and what it serves.
//!
//! A loop receives datagrams and frames, reads the clock once for the whole batch, and calls the
//! service that the socket was registered for: a [`DatagramService`] or a [`FrameService`], which
//! sends through [`Transmit`]. Neither side knows the other: the same service runs on every engine
//! and, in tests, against a plain [`RecordedTransmit`].

use std::net::SocketAddr;
use std::time::Duration;

pub use super::buffers::{Buffer, BufferSlice, ReceivePool};
pub use super::frame::{Frame, FrameMeta, Segmentation};
pub use super::send::{FORWARD_SLICES_MAX, REPLY_BYTES_MAX, SEGMENTS_BYTES_MAX};
pub use super::send::{Forward, SendCompletion, SendOptions, TransmitError};
pub use super::socket_table::{ServiceId, SocketId};
pub use crate::sys::address::{PacketAuxData, PacketInfo};

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

/// The way back to a client. Only drivers make it from what they received, and only they know all
/// that is in it: services pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyPath {
    socket: SocketId,
    client: SocketAddr,
    local: Option<PacketInfo>,
}

impl ReplyPath {
    /// The way to `client` by `socket`, from the address in `local`; `None` leaves that to the
    /// socket, which is bound to one address.
    pub const fn new(socket: SocketId, client: SocketAddr, local: Option<PacketInfo>) -> Self {
        Self { socket, client, local }
    }

    /// The client.
    pub const fn client(&self) -> SocketAddr {
        self.client
    }

    /// The socket that the request came in on.
    pub const fn socket(&self) -> SocketId {
        self.socket
    }

    /// The address to answer from.
    pub(crate) const fn local(&self) -> Option<PacketInfo> {
        self.local
    }
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

/// What a handler sends through.
///
/// Nothing blocks and nothing allocates. After an error nothing is sent: a reply was then counted
/// as dropped by the implementation; a forward is counted by its service, which knows its output.
pub trait Transmit {
    /// Queues one datagram that `write` puts in place.
    ///
    /// `write` gets a zeroed or stale area of [`REPLY_BYTES_MAX`] bytes and returns how many of
    /// them to send. It is not called when no slot is free.
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError>;

    /// Queues datagrams of `segment_bytes` each, the last possibly shorter, to one address in one
    /// trip (`UDP_SEGMENT`).
    ///
    /// `write` gets an area of [`SEGMENTS_BYTES_MAX`] bytes and returns how many of them to send:
    /// at most [`FORWARD_SLICES_MAX`] segments. It is not called when no slot is free, which is
    /// always so in a loop whose sizes do not provide for segments. They leave from the socket's
    /// own address: the one that the client asked is not looked at.
    fn send_segments(
        &mut self,
        path: ReplyPath,
        segment_bytes: u16,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError>;

    /// Queues one datagram, or several equal ones in one trip, straight from receive buffers.
    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitError>;
}

/// Answers datagrams. All calls come from the one thread of the worker that owns it.
pub trait DatagramService {
    /// Handles one datagram. It never reads a clock, makes a system call or allocates.
    fn on_datagram<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T);

    /// Called at most once per tick interval for bounded housekeeping such as expiry.
    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let _ = (now, tx);
    }

    /// Called at the end of every iteration, before anything is submitted.
    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let _ = (now, tx);
    }

    /// When it needs an iteration, apart from ticks and datagrams that arrive. Asked before each
    /// wait.
    fn wakeup(&self) -> Wakeup {
        Wakeup::default()
    }
}

/// Handles frames from packet sockets and forwards them straight from their receive buffers. All
/// calls come from the one thread of the worker that owns it.
pub trait FrameService {
    /// Handles one frame. It never reads a clock, makes a system call or allocates.
    fn on_frame<T: Transmit>(&mut self, now: Now, frame: &Frame<'_>, tx: &mut T);

    /// The most sends that the next frame can lead to, including those of the flush after it. The
    /// loop holds frames back while fewer slots are free.
    fn sends_per_frame_max(&self) -> usize;

    /// Reports how a forward ended. The service may forward its slices again.
    fn on_forwarded<T: Transmit>(&mut self, now: Now, forwarded: &SendCompletion<'_>, tx: &mut T);

    /// Called at most once per tick interval for bounded housekeeping.
    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T);

    /// Called at the end of every iteration, before anything is submitted: closes the batches that
    /// are open.
    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T);

    /// Whether [`Self::on_submitted`] is to be called in this iteration.
    fn awaits_submission(&self) -> bool {
        false
    }

    /// Everything sent so far has been submitted to the kernel, which carries sends out at once or
    /// refuses them. `wall_ns` is the wall clock then, in nanoseconds since the Unix epoch: the
    /// clock by which the kernel stamps frames.
    fn on_submitted(&mut self, wall_ns: u64) {
        let _ = wall_ns;
    }
}

/// Takes messages that other threads send to its worker, through the worker's
/// [`Mailbox`](super::mailbox::Mailbox). All calls come from the one thread of the worker.
pub trait MessageService {
    /// What it can be sent.
    type Message: Send;

    /// Handles one message, between two batches of packets.
    fn on_message<T: Transmit>(&mut self, now: Now, message: Self::Message, tx: &mut T);
}

/// When a service needs the next iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// The latest time for it, even if nothing arrives; `None` leaves it at the next tick.
    pub at: Option<Now>,
    /// How many datagrams are worth an iteration: a loop that supports it sleeps until that many
    /// have arrived, or until `at`. One that does not wakes for the first.
    pub packets: usize,
}

impl Default for Wakeup {
    fn default() -> Self {
        Self { at: None, packets: 1 }
    }
}

/// All that one loop serves: routes each event to the service that the socket was registered for.
///
/// Dispatch is static. A worker with a single [`DatagramService`] needs no router: that service is
/// one itself.
pub trait Dispatch {
    /// A datagram on a socket of `service`; see [`DatagramService::on_datagram`].
    fn on_datagram<T: Transmit>(
        &mut self,
        service: ServiceId,
        now: Now,
        packet: &Packet<'_>,
        tx: &mut T,
    ) {
        let _ = (service, now, packet, tx);
    }

    /// A frame on a socket of `service`; see [`FrameService::on_frame`].
    fn on_frame<T: Transmit>(
        &mut self,
        service: ServiceId,
        now: Now,
        frame: &Frame<'_>,
        tx: &mut T,
    ) {
        let _ = (service, now, frame, tx);
    }

    /// See [`FrameService::sends_per_frame_max`].
    fn sends_per_frame_max(&self) -> usize {
        0
    }

    /// A forward on a socket of `service` ended; see [`FrameService::on_forwarded`].
    fn on_forwarded<T: Transmit>(
        &mut self,
        service: ServiceId,
        now: Now,
        forwarded: &SendCompletion<'_>,
        tx: &mut T,
    ) {
        let _ = (service, now, forwarded, tx);
    }

    /// See [`FrameService::awaits_submission`].
    fn awaits_submission(&self) -> bool {
        false
    }

    /// See [`FrameService::on_submitted`].
    fn on_submitted(&mut self, wall_ns: u64) {
        let _ = wall_ns;
    }

    /// Whether messages wait for [`Self::deliver_messages`]: the loop does not sleep then.
    fn has_messages(&self) -> bool {
        false
    }

    /// Called in every iteration, when its packets were handled: hands what waits in the worker's
    /// mailbox, as far as the mailbox's bound allows, to the services that it is for; see
    /// [`MessageService`].
    fn deliver_messages<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let _ = (now, tx);
    }

    /// Called at most once per tick interval, for every service.
    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let _ = (now, tx);
    }

    /// Called at the end of every iteration, for every service.
    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let _ = (now, tx);
    }

    /// The earliest wake-up that a service needs.
    fn wakeup(&self) -> Wakeup {
        Wakeup::default()
    }
}

impl<S: DatagramService> Dispatch for S {
    #[inline]
    fn on_datagram<T: Transmit>(
        &mut self,
        _: ServiceId,
        now: Now,
        packet: &Packet<'_>,
        tx: &mut T,
    ) {
        DatagramService::on_datagram(self, now, packet, tx);
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        DatagramService::on_tick(self, now, tx);
    }

    #[inline]
    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        DatagramService::on_flush(self, now, tx);
    }

    #[inline]
    fn wakeup(&self) -> Wakeup {
        DatagramService::wakeup(self)
    }
}

/// One reply recorded by [`RecordedTransmit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where it would have gone.
    pub path: ReplyPath,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One forward recorded by [`RecordedTransmit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentForward {
    /// The socket it would have left by.
    pub socket: SocketId,
    /// The bytes of its slices, put together.
    pub bytes: Vec<u8>,
    /// How many slices there were.
    pub slices: usize,
    /// Segment size, TTL and type of service.
    pub options: SendOptions,
    /// The service's tag.
    pub tag: u32,
}

/// A [`Transmit`] that keeps what it is given, for tests and simulation.
#[derive(Debug, Default)]
pub struct RecordedTransmit {
    /// Every reply and every segment so far, oldest first.
    pub sent: Vec<Sent>,
    /// Every forward so far, oldest first.
    pub forwarded: Vec<SentForward>,
}

impl Transmit for RecordedTransmit {
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        let mut bytes = vec![0; REPLY_BYTES_MAX];
        let length = write(&mut bytes);
        bytes.truncate(length);
        self.sent.push(Sent { path, bytes });
        Ok(())
    }

    fn send_segments(
        &mut self,
        path: ReplyPath,
        segment_bytes: u16,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        let mut bytes = vec![0; SEGMENTS_BYTES_MAX];
        let length = write(&mut bytes);
        let segments = bytes[..length].chunks(usize::from(segment_bytes));
        self.sent.extend(segments.map(|segment| Sent { path, bytes: segment.to_vec() }));
        Ok(())
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitError> {
        let Forward { socket, slices, options, tag, .. } = forward;
        let bytes = slices.iter().flat_map(|slice| slice.bytes().iter().copied()).collect();
        let slices = slices.len();
        self.forwarded.push(SentForward { socket, bytes, slices, options, tag });
        Ok(())
    }
}
