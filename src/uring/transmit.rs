//! The transmit side: a slab of fixed slots, each one `sendmsg` in flight.

use std::net::SocketAddr;
use std::ptr::NonNull;

use io_uring::squeue::Entry;
use io_uring::{SubmissionQueue, Submitter, opcode, types};

use super::ring::push;
use super::token::Token;
use crate::handler::{
    FORWARD_PARTS_MAX, Forward, Part, REPLY_BYTES_MAX, ReplyPath, SocketId, Transmit, TransmitFull,
};
use crate::net::address::{
    ADDRESS_BYTES, CONTROL_BYTES, SendOptions, write_address, write_local, write_send_options,
};
use crate::net::region::Region;
use crate::telemetry::{Counter, Counters, DropReason};

/// Everything that the kernel reads while a send is in flight. Never moves.
#[repr(C, align(64))]
struct Slot {
    message: libc::msghdr,
    reply_vector: libc::iovec,
    control: Control,
    address: [u8; ADDRESS_BYTES],
    bytes: [u8; REPLY_BYTES_MAX],
}

/// What a slot needs beside its memory while a forward is in flight.
struct Held {
    /// The receive buffers that the kernel reads from.
    parts: Vec<Part>,
    vectors: Box<[libc::iovec]>,
    tag: u32,
    options: SendOptions,
}

impl Held {
    fn with_room_for(parts: usize) -> Self {
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            parts: Vec::with_capacity(parts),
            vectors: vec![none; parts].into_boxed_slice(),
            tag: 0,
            options: SendOptions::default(),
        }
    }
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// The slots of one worker. A slot is the kernel's from push to completion.
pub(super) struct TransmitSlots {
    region: Region,
    free: Vec<u16>,
    /// Per slot, for forwards; empty when the handler forwards nothing.
    held: Vec<Held>,
    count: usize,
}

impl TransmitSlots {
    /// Allocates `count` slots; their pages are touched on first use. `forwards` reserves the
    /// lists that hold receive buffers.
    pub(super) fn new(count: u16, forwards: bool) -> Self {
        assert!(count > 0, "a worker that cannot send has no use");
        let region = Region::new(usize::from(count) * size_of::<Slot>());
        let held = if forwards { count } else { 0 };
        Self {
            region,
            free: (0..count).rev().collect(),
            held: (0..held).map(|_| Held::with_room_for(FORWARD_PARTS_MAX)).collect(),
            count: usize::from(count),
        }
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.count - self.free.len()
    }

    /// Takes a slot back after its completion, and lets go of the buffers it read from.
    pub(super) fn release(&mut self, slot: u16) {
        if let Some(held) = self.held.get_mut(usize::from(slot)) {
            held.parts.clear();
        }
        assert!(self.free.len() < self.count, "a slot was completed twice");
        self.free.push(slot);
    }

    fn slot(&self, index: u16) -> NonNull<Slot> {
        assert!(usize::from(index) < self.count);
        // SAFETY: the index is inside the region, which `new` sized for `count` slots.
        unsafe { self.region.base().cast::<Slot>().add(usize::from(index)) }
    }

    /// Fills a free slot with a reply. The caller pushes the entry or releases the slot.
    fn prepare_reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<(u16, Entry)> {
        let index = self.free.pop()?;
        // SAFETY: the slot was free, so the kernel does not know it and no other reference to it
        // exists; zeroed memory is a valid Slot (integers and null pointers only).
        let slot = unsafe { self.slot(index).as_mut() };
        let length = write(&mut slot.bytes);
        assert!(length <= REPLY_BYTES_MAX, "a reply is written inside its slot");
        slot.reply_vector =
            libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: length };
        let control_bytes = path.from.map_or(0, |from| write_local(from, &mut slot.control.0));
        let vector = (&raw mut slot.reply_vector, 1);
        Some((index, slot.submit(index, path.socket, Some(path.to), vector, control_bytes)))
    }

    /// Fills a free slot with references to receive buffers.
    fn prepare_forward(&mut self, forward: &Forward<'_>) -> Option<(u16, Entry)> {
        let count = forward.parts.len();
        assert!(count <= FORWARD_PARTS_MAX, "more parts than the kernel takes segments");
        if self.held.is_empty() {
            return None;
        }
        let index = self.free.pop()?;
        let held = &mut self.held[usize::from(index)];
        for (vector, part) in held.vectors.iter_mut().zip(forward.parts) {
            let bytes = part.bytes();
            // The clone in `held` keeps these bytes unwritten until the completion.
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            held.parts.push(part.clone());
        }
        let Forward { segment_bytes, ttl, tos, tag, .. } = *forward;
        held.options = SendOptions { segment_bytes, ttl, tos };
        held.tag = tag;
        let (vectors, options) = (held.vectors.as_mut_ptr(), held.options);
        // SAFETY: as in `prepare_reply`: a free slot is ours alone.
        let slot = unsafe { self.slot(index).as_mut() };
        let control_bytes = write_send_options(options, forward.ipv6, &mut slot.control.0);
        Some((
            index,
            slot.submit(index, forward.socket, forward.to, (vectors, count), control_bytes),
        ))
    }

    /// What the completed send in `slot` was, if it was a forward. Give the slot back with
    /// [`Self::release`] and the parts with [`Forwarding::parts`] dropped.
    pub(super) fn take_forward(&mut self, slot: u16) -> Option<Forwarding> {
        let held = self.held.get_mut(usize::from(slot))?;
        if held.parts.is_empty() {
            return None;
        }
        let parts = std::mem::take(&mut held.parts);
        Some(Forwarding { parts, tag: held.tag, options: held.options })
    }

    /// Puts the emptied list of parts back, so that its memory is used again.
    pub(super) fn put_back(&mut self, slot: u16, mut parts: Vec<Part>) {
        parts.clear();
        if let Some(held) = self.held.get_mut(usize::from(slot)) {
            held.parts = parts;
        }
    }
}

/// A forward that the kernel is done with.
pub(super) struct Forwarding {
    pub(super) parts: Vec<Part>,
    pub(super) tag: u32,
    pub(super) options: SendOptions,
}

impl Slot {
    /// Completes the message header and makes the submission that sends it.
    fn submit(
        &mut self,
        index: u16,
        socket: SocketId,
        to: Option<SocketAddr>,
        (vectors, vector_count): (*mut libc::iovec, usize),
        control_bytes: usize,
    ) -> Entry {
        let address_bytes = to.map_or(0, |to| write_address(to, &mut self.address));
        // Without an address the socket is connected, and the name must be null.
        self.message.msg_name = match address_bytes {
            0 => std::ptr::null_mut(),
            _ => self.address.as_mut_ptr().cast(),
        };
        self.message.msg_namelen = address_bytes as libc::socklen_t;
        self.message.msg_iov = vectors;
        self.message.msg_iovlen = vector_count;
        self.message.msg_control = self.control.0.as_mut_ptr().cast();
        self.message.msg_controllen = control_bytes;
        opcode::SendMsg::new(types::Fixed(u32::from(socket.0)), &raw const self.message)
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
            .user_data(Token::Send(index).encode())
    }
}

/// The ring's side of [`Transmit`], alive for one iteration.
pub(super) struct RingTransmit<'a, 'r> {
    pub(super) slots: &'a mut TransmitSlots,
    pub(super) submissions: &'a mut SubmissionQueue<'r>,
    pub(super) submitter: &'a Submitter<'r>,
    pub(super) counters: &'a Counters,
}

impl RingTransmit<'_, '_> {
    fn submit(&mut self, prepared: Option<(u16, Entry)>) -> Result<(), TransmitFull> {
        let (slot, entry) = prepared.ok_or(TransmitFull)?;
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
        let prepared = self.slots.prepare_reply(path, write);
        let submitted = self.submit(prepared);
        if submitted.is_err() {
            self.counters.dropped(DropReason::SendSlotsFull);
        }
        submitted
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitFull> {
        let prepared = self.slots.prepare_forward(&forward);
        self.submit(prepared)
    }
}

/// Counts how a reply ended.
pub(super) fn count_sent(counters: &Counters, result: i32) {
    match result {
        0.. => {
            counters.count(Counter::PacketsSent);
            counters.add(Counter::BytesSent, result as u64);
        }
        _ if matches!(-result, libc::EAGAIN | libc::ENOBUFS) => {
            counters.dropped(DropReason::SocketFull);
        }
        _ => counters.dropped(DropReason::SendError),
    }
}
