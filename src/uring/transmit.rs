//! The ring's way of sending: a `sendmsg` for each slot, or a `send` where that does.

use io_uring::squeue::Entry;
use io_uring::{SubmissionQueue, Submitter, opcode, types};

use super::ring::push;
use super::sockets::Sockets;
use super::token::Token;
use crate::io::send_slots::SendSlots;
use crate::io::transmit::{Message, SlotSender};
use crate::io::{RingFeature, RingFeatures, ServiceId, SocketId, TransmitError};
use crate::telemetry::Counters;

/// The ring's side of [`Transmit`](crate::io::Transmit), alive for one iteration.
pub(super) struct RingTransmit<'a, 'r> {
    pub(super) slots: &'a mut SendSlots,
    pub(super) sockets: &'a Sockets,
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

    /// The send of a plain message. It spares the kernel the copies of a message header and a
    /// vector.
    fn datagram(&self, socket: SocketId, slot: u16) -> Entry {
        let file = types::Fixed(u32::from(socket.0));
        // SAFETY: a filled slot is written by nobody, the kernel included, until its release; the
        // one vector of a plain message is in the slot too.
        let (message, vector) = unsafe {
            let message = &*self.slots.message(slot);
            (message, &*message.msg_iov)
        };
        opcode::Send::new(file, vector.iov_base.cast_const().cast(), vector.iov_len as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(message.msg_name.cast_const().cast())
            .dest_addr_len(message.msg_namelen)
            .build()
    }
}

impl SlotSender for RingTransmit<'_, '_> {
    #[inline]
    fn slots(&mut self) -> &mut SendSlots {
        self.slots
    }

    #[inline]
    fn counters(&self) -> &Counters {
        self.counters
    }

    #[inline]
    fn service_of(&self, socket: SocketId) -> Option<ServiceId> {
        self.sockets.get(socket.0).map(|(_, service)| service)
    }

    fn send(&mut self, socket: SocketId, slot: u16, message: Message) -> Result<(), TransmitError> {
        let entry = match message {
            Message::Plain if self.features.has(RingFeature::SendTo) => self.datagram(socket, slot),
            _ => self.message(socket, slot),
        };
        let entry = entry.user_data(Token::Send(slot).encode());
        // SAFETY: the entry points into the slot and what it holds, which never move and stay
        // taken until the completion (or the leak that replaces an impossible drain).
        if unsafe { push(self.submissions, self.submitter, &entry) } {
            return Ok(());
        }
        self.slots.release(slot);
        Err(TransmitError::Full)
    }
}
