//! The transmit side: a slab of fixed slots, each one `sendmsg` in flight.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use io_uring::squeue::Entry;
use io_uring::{SubmissionQueue, Submitter, opcode, types};

use super::ring::push;
use super::token::Token;
use crate::handler::{
    Buffer, FORWARD_PARTS_MAX, Part, REPLY_BYTES_MAX, ReplyPath, Transmit, TransmitFull,
};
use crate::net::address::{
    ADDRESS_BYTES, CONTROL_BYTES, write_address, write_local, write_segment_size,
};
use crate::telemetry::{Counter, Counters, DropReason};

/// Everything that the kernel reads while a send is in flight. Never moves.
#[repr(C, align(64))]
struct Slot {
    message: libc::msghdr,
    reply_vector: libc::iovec,
    control: Control,
    address: [u8; ADDRESS_BYTES],
    bytes: [u8; REPLY_BYTES_MAX],
    forward_vectors: [libc::iovec; FORWARD_PARTS_MAX],
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// The slots of one worker. A slot is the kernel's from push to completion.
pub(super) struct TransmitSlots {
    memory: NonNull<Slot>,
    layout: Layout,
    free: Vec<u16>,
    /// The receive buffers that a forward in flight reads from.
    held: Vec<Vec<Buffer>>,
    count: usize,
}

impl TransmitSlots {
    /// Allocates `count` slots; their pages are touched on first use. `forwards` reserves the
    /// lists that hold receive buffers.
    pub(super) fn new(count: u16, forwards: bool) -> Self {
        assert!(count > 0, "a worker that cannot send has no use");
        let layout = Layout::array::<Slot>(usize::from(count))
            .expect("65,535 slots of under 4 KiB fit the address space");
        // SAFETY: `count` is not zero and neither is a slot's size.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let parts = if forwards { FORWARD_PARTS_MAX } else { 0 };
        Self {
            memory: memory.cast(),
            layout,
            free: (0..count).rev().collect(),
            held: (0..count).map(|_| Vec::with_capacity(parts)).collect(),
            count: usize::from(count),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.count - self.free.len()
    }

    /// Takes a slot back after its completion, and lets go of the buffers it read from.
    pub(super) fn release(&mut self, slot: u16) {
        self.held[usize::from(slot)].clear();
        assert!(self.free.len() < self.count, "a slot was completed twice");
        self.free.push(slot);
    }

    fn slot(&self, index: u16) -> NonNull<Slot> {
        assert!(usize::from(index) < self.count);
        // SAFETY: the index is inside the allocation of `count` slots.
        unsafe { self.memory.add(usize::from(index)) }
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
        let vector = &raw mut slot.reply_vector;
        Some((index, slot.address_and_submit(index, path, vector, 1, control_bytes)))
    }

    /// Fills a free slot with references to receive buffers.
    fn prepare_forward(
        &mut self,
        path: ReplyPath,
        parts: &[Part],
        segment_bytes: Option<u16>,
    ) -> Option<(u16, Entry)> {
        assert!(parts.len() <= FORWARD_PARTS_MAX, "more parts than the kernel takes segments");
        let index = self.free.pop()?;
        // SAFETY: as in `prepare_reply`: a free slot is ours alone.
        let slot = unsafe { self.slot(index).as_mut() };
        for (vector, part) in slot.forward_vectors.iter_mut().zip(parts) {
            let bytes = &part.buffer.bytes()[part.range.clone()];
            // The clone in `held` keeps these bytes unwritten until the completion.
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            self.held[usize::from(index)].push(part.buffer.clone());
        }
        let control_bytes = match (segment_bytes, path.from) {
            (Some(size), _) => write_segment_size(size, &mut slot.control.0),
            (None, Some(from)) => write_local(from, &mut slot.control.0),
            (None, None) => 0,
        };
        let vectors = slot.forward_vectors.as_mut_ptr();
        let entry = slot.address_and_submit(index, path, vectors, parts.len(), control_bytes);
        Some((index, entry))
    }
}

impl Slot {
    /// Completes the message header and makes the submission that sends it.
    fn address_and_submit(
        &mut self,
        index: u16,
        path: ReplyPath,
        vectors: *mut libc::iovec,
        vector_count: usize,
        control_bytes: usize,
    ) -> Entry {
        let address_bytes = write_address(path.to, &mut self.address);
        self.message.msg_name = self.address.as_mut_ptr().cast();
        self.message.msg_namelen = address_bytes as libc::socklen_t;
        self.message.msg_iov = vectors;
        self.message.msg_iovlen = vector_count;
        self.message.msg_control = self.control.0.as_mut_ptr().cast();
        self.message.msg_controllen = control_bytes;
        opcode::SendMsg::new(types::Fixed(u32::from(path.socket.0)), &raw const self.message)
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
            .user_data(Token::Send(index).encode())
    }
}

impl Drop for TransmitSlots {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. The event loop drains every send before it
        // drops the slots, and leaks them when it cannot.
        unsafe { dealloc(self.memory.as_ptr().cast(), self.layout) }
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
        let Some((slot, entry)) = prepared else {
            self.counters.dropped(DropReason::SendSlotsFull);
            return Err(TransmitFull);
        };
        // SAFETY: the entry points into the slot, which never moves and stays taken until the
        // completion (or the leak that replaces an impossible drain).
        if unsafe { push(self.submissions, self.submitter, &entry) } {
            return Ok(());
        }
        self.slots.release(slot);
        self.counters.dropped(DropReason::SendSlotsFull);
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
        self.submit(prepared)
    }

    fn forward(
        &mut self,
        path: ReplyPath,
        parts: &[Part],
        segment_bytes: Option<u16>,
    ) -> Result<(), TransmitFull> {
        let prepared = self.slots.prepare_forward(path, parts, segment_bytes);
        self.submit(prepared)
    }
}

/// Counts how a send ended.
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
