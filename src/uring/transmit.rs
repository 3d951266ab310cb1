//! The ring's way of sending: a `sendmsg` for each slot, or a `send` where that does.

use io_uring::squeue::Entry;
use io_uring::{SubmissionQueue, Submitter, opcode, types};

use super::ring::push;
use super::token::Token;
use crate::io::send_slots::{DatagramInSlot, SendSlots};
use crate::io::{Forward, ReplyPath, SocketId, Transmit, TransmitFull};
use crate::io::{RingFeature, RingFeatures, message_of};
use crate::telemetry::{Counters, DropReason};

/// The ring's side of [`Transmit`], alive for one iteration.
pub(super) struct RingTransmit<'a, 'r> {
    pub(super) slots: &'a mut SendSlots,
    pub(super) submissions: &'a mut SubmissionQueue<'r>,
    pub(super) submitter: &'a Submitter<'r>,
    /// What the ring has.
    pub(super) features: RingFeatures,
    pub(super) counters: &'a Counters,
}

impl RingTransmit<'_, '_> {
    /// The send of a slot's whole message.
    fn message(&self, socket: SocketId, slot: u16) -> Entry {
        let file = types::Fixed(u32::from(socket.0));
        opcode::SendMsg::new(file, self.slots.message(slot))
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
    }

    /// The send of a reply without control message. It spares the kernel the copies of a message
    /// header and a vector.
    fn datagram(&self, socket: SocketId, slot: u16) -> Entry {
        let file = types::Fixed(u32::from(socket.0));
        let DatagramInSlot { bytes, length, address, address_bytes } = self.slots.datagram(slot);
        opcode::Send::new(file, bytes, length)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(address)
            .dest_addr_len(address_bytes)
            .build()
    }

    fn submit(&mut self, slot: u16, entry: Entry) -> Result<(), TransmitFull> {
        let entry = entry.user_data(Token::Send(slot).encode());
        // SAFETY: the entry points into the slot and what it holds, which never move and stay
        // taken until the completion (or the leak that replaces an impossible drain).
        if unsafe { push(self.submissions, self.submitter, &entry) } {
            return Ok(());
        }
        self.slots.release(slot);
        Err(TransmitFull)
    }
}

impl Transmit for RingTransmit<'_, '_> {
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitFull> {
        let slot = self.slots.fill_reply(path.client(), path.local(), write);
        let submitted = slot.ok_or(TransmitFull).and_then(|slot| {
            let entry = if path.local().is_none() && self.features.has(RingFeature::SendTo) {
                self.datagram(path.socket(), slot)
            } else {
                self.message(path.socket(), slot)
            };
            self.submit(slot, entry)
        });
        if submitted.is_err() {
            self.counters.dropped(DropReason::SendSlotsFull);
        }
        submitted
    }

    fn send_segments(
        &mut self,
        path: ReplyPath,
        segment_bytes: u16,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitFull> {
        let slot =
            self.slots.fill_segments(path.client(), segment_bytes, write).ok_or(TransmitFull)?;
        self.submit(slot, self.message(path.socket(), slot))
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitFull> {
        let slot = self.slots.fill_forward(&message_of(&forward)).ok_or(TransmitFull)?;
        self.submit(slot, self.message(forward.socket, slot))
    }
}
