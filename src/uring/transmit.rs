//! The ring's way of sending: a `sendmsg` for each slot.

use io_uring::{SubmissionQueue, Submitter, opcode, types};

use super::ring::push;
use super::token::Token;
use crate::engine::message_of;
use crate::handler::{Forward, ReplyPath, SocketId, Transmit, TransmitFull};
use crate::net::slots::SendSlots;
use crate::telemetry::{Counters, DropReason};

/// The ring's side of [`Transmit`], alive for one iteration.
pub(super) struct RingTransmit<'a, 'r> {
    pub(super) slots: &'a mut SendSlots,
    pub(super) submissions: &'a mut SubmissionQueue<'r>,
    pub(super) submitter: &'a Submitter<'r>,
    pub(super) counters: &'a Counters,
}

impl RingTransmit<'_, '_> {
    fn submit(&mut self, socket: SocketId, slot: Option<u16>) -> Result<(), TransmitFull> {
        let slot = slot.ok_or(TransmitFull)?;
        let file = types::Fixed(u32::from(socket.0));
        let entry = opcode::SendMsg::new(file, self.slots.message(slot))
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
            .user_data(Token::Send(slot).encode());
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
        let slot = self.slots.fill_reply(path.to, path.from, write);
        let submitted = self.submit(path.socket, slot);
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
        let slot = self.slots.fill_segments(path.to, segment_bytes, write);
        self.submit(path.socket, slot)
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitFull> {
        let slot = self.slots.fill_forward(&message_of(&forward));
        self.submit(forward.socket, slot)
    }
}
