//! From what the kernel received to what services get, and to a counted drop when the worker ends.

use std::ops::Range;

use super::{Buffer, Dispatch, Frame, Now, Packet, ReplyPath, ServiceId, SocketId, Transmit};
use crate::sys::address::{is_outgoing, read_address, read_auxiliary, read_local};
use crate::telemetry::{Counter, Counters, DropReason};

/// What the kernel said of one received message.
pub(crate) struct Arrival<'a> {
    pub(crate) socket: SocketId,
    /// The sender's address as it came.
    pub(crate) name: &'a [u8],
    /// The control messages.
    pub(crate) control: &'a [u8],
    /// Where the payload lies in its buffer.
    pub(crate) payload: Range<usize>,
    /// Whether the payload was longer than its place.
    pub(crate) truncated: bool,
}

impl Arrival<'_> {
    /// The datagram in `buffer`, counted; `None` when it was dropped, and counted as that.
    pub(crate) fn datagram<'b>(
        &self,
        buffer: &'b Buffer,
        counters: &Counters,
    ) -> Option<Packet<'b>> {
        let payload = &buffer.bytes()[self.payload.clone()];
        counters.count(Counter::PacketsReceived);
        counters.add(Counter::BytesReceived, payload.len() as u64);
        if self.truncated {
            counters.dropped(DropReason::Truncated);
            return None;
        }
        let Some(source) = read_address(self.name) else {
            counters.dropped(DropReason::BadSource);
            return None;
        };
        let from = read_local(self.control);
        let path = ReplyPath::new(self.socket, source, from);
        Some(Packet { path, payload, buffer })
    }

    /// The frame in `buffer`.
    pub(crate) fn frame<'b>(&self, buffer: &'b Buffer) -> Frame<'b> {
        let auxiliary = read_auxiliary(self.control);
        let outgoing = is_outgoing(self.name);
        let range = self.payload.clone();
        Frame::received(self.socket, buffer, range, auxiliary, outgoing, self.truncated)
    }
}

/// Takes the packets that were received before a worker ended and are not handled any more.
pub(crate) struct Discard<'a>(pub(crate) &'a Counters);

impl Dispatch for Discard<'_> {
    fn on_datagram<T: Transmit>(&mut self, _: ServiceId, _: Now, _: &Packet<'_>, _: &mut T) {
        self.0.dropped(DropReason::Shutdown);
    }

    fn on_frame<T: Transmit>(&mut self, _: ServiceId, _: Now, _: &Frame<'_>, _: &mut T) {
        self.0.count(Counter::FramesLostToShutdown);
    }
}
