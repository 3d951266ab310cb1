//! [`Transmit`] over send slots: what of a send is the same on every driver.

use super::send::is_socket_full;
use super::send_slots::SendSlots;
use super::{Dispatch, Failures, Forward, Now, ReplyPath, ServiceId};
use super::{SocketId, Transmit, TransmitError};
use crate::telemetry::{Counter, Counters, DropReason};

/// What a driver does with send slots that are filled. It is a [`Transmit`] by that.
pub(crate) trait SlotSender {
    /// The slots.
    fn slots(&mut self) -> &mut SendSlots;

    /// The worker's counters.
    fn counters(&self) -> &Counters;

    /// The service of a socket; `None` when none is registered under this ID.
    fn service_of(&self, socket: SocketId) -> Option<ServiceId>;

    /// Called before a slot is filled, for a driver that can free slots by sending early.
    fn make_room(&mut self) {}

    /// Sends, or queues, the message of a slot. One that is refused has its slot released.
    fn send(&mut self, socket: SocketId, slot: u16, message: Message) -> Result<(), TransmitError>;
}

/// How much of a slot's message there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// One vector and an address, without control messages.
    Plain,
    /// Anything.
    Full,
}

impl<S: SlotSender> Transmit for S {
    #[inline]
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        self.make_room();
        let local = path.local();
        let message = if local.is_none() { Message::Plain } else { Message::Full };
        let sent = match self.slots().fill_reply(path.client(), local, write) {
            Some(slot) => self.send(path.socket(), slot, message),
            None => Err(TransmitError::Full),
        };
        if sent.is_err() {
            self.counters().dropped(DropReason::SendSlotsFull);
        }
        sent
    }

    #[inline]
    fn send_segments(
        &mut self,
        path: ReplyPath,
        segment_bytes: u16,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        self.make_room();
        let slot = self.slots().fill_segments(path.client(), segment_bytes, write);
        self.send(path.socket(), slot.ok_or(TransmitError::Full)?, Message::Full)
    }

    #[inline]
    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitError> {
        let service = self.service_of(forward.socket).ok_or(TransmitError::NoSocket)?;
        self.make_room();
        let slot = self.slots().fill_forward(&forward, service).ok_or(TransmitError::Full)?;
        self.send(forward.socket, slot, Message::Full)
    }
}

/// Takes a slot back whose send was no forward, and counts how that ended: with the bytes sent, or
/// an error number below zero.
pub(crate) fn end_reply(
    slots: &mut SendSlots,
    slot: u16,
    result: i32,
    failures: &mut Failures,
    counters: &Counters,
) {
    slots.release(slot);
    failures.note(result);
    match result {
        0.. => {
            counters.count(Counter::PacketsSent);
            counters.add(Counter::BytesSent, result as u64);
        }
        _ if is_socket_full(-result) => counters.dropped(DropReason::SocketFull),
        _ => counters.dropped(DropReason::SendError),
    }
}

/// Tells its service how the forward in `slot` ended, by the same kind of result, and takes the
/// slot back.
pub(crate) fn end_forward(
    tx: &mut impl SlotSender,
    slot: u16,
    result: i32,
    services: &mut impl Dispatch,
    now: Now,
) {
    let Some(send) = tx.slots().take_forward(slot) else { return };
    if let Some(service) = send.service {
        services.on_forwarded(service, now, &send.completion(result), tx);
    }
    // Only now: what the service forwarded again has a slot of its own.
    tx.slots().release_forward(slot, send);
}
