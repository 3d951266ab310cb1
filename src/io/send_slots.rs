//! The transmit side of a loop: a slab of fixed slots, each the message of one `sendmsg`.

use std::net::SocketAddr;
use std::ptr::NonNull;

use super::send::{FORWARD_SLICES_MAX, Forward, InFlightSend, REPLY_BYTES_MAX, SEGMENTS_BYTES_MAX};
use super::socket_table::ServiceId;
use crate::sys::address::{
    ADDRESS_BYTES, CONTROL_BYTES, PacketInfo, SendOptions, write_address, write_local,
    write_send_options,
};
use crate::sys::memory::{MapError, Region};

/// Everything that the kernel reads while a send is in flight. Never moves.
#[repr(C, align(64))]
struct Slot {
    message: libc::msghdr,
    reply_vector: libc::iovec,
    control: Control,
    address: [u8; ADDRESS_BYTES],
    bytes: [u8; REPLY_BYTES_MAX],
}

/// What a slot has for forwards, beside the memory of every slot.
struct ForwardSlot {
    send: InFlightSend,
    vectors: Box<[libc::iovec]>,
}

impl ForwardSlot {
    fn new() -> Self {
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let slices = Vec::with_capacity(FORWARD_SLICES_MAX);
        Self {
            send: InFlightSend { slices, ..InFlightSend::default() },
            vectors: vec![none; FORWARD_SLICES_MAX].into_boxed_slice(),
        }
    }
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// The slots of one worker. From its filling to its release a slot may be the kernel's.
pub(crate) struct SendSlots {
    region: Region,
    free: Vec<u16>,
    /// Per slot, room for several datagrams at once; `None` when the handler sends no segments.
    areas: Option<Region>,
    /// Per slot; empty when the handler forwards nothing.
    forwards: Vec<ForwardSlot>,
    count: usize,
}

impl SendSlots {
    /// Allocates `count` slots; their pages are touched on first use. `forwards` reserves the
    /// lists that hold receive buffers, `segments` the areas for several datagrams at once.
    pub(crate) fn new(count: u16, forwards: bool, segments: bool) -> Result<Self, MapError> {
        assert!(count > 0, "a worker that cannot send has no use");
        let region = Region::map(usize::from(count) * size_of::<Slot>())?;
        let areas = || Region::map(usize::from(count) * SEGMENTS_BYTES_MAX);
        let forward_slots = if forwards { count } else { 0 };
        Ok(Self {
            region,
            free: (0..count).rev().collect(),
            areas: segments.then(areas).transpose()?,
            forwards: (0..forward_slots).map(|_| ForwardSlot::new()).collect(),
            count: usize::from(count),
        })
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.count - self.free.len()
    }

    /// Takes a slot back after its send, and lets go of the buffers it read from.
    pub(crate) fn release(&mut self, slot: u16) {
        if let Some(forward) = self.forwards.get_mut(usize::from(slot)) {
            forward.send.slices.clear();
            forward.send.service = None;
        }
        assert!(self.free.len() < self.count, "a slot was completed twice");
        self.free.push(slot);
    }

    fn slot(&self, index: u16) -> NonNull<Slot> {
        assert!(usize::from(index) < self.count);
        // SAFETY: the index is inside the region, which `new` sized for `count` slots.
        unsafe { self.region.base().cast::<Slot>().add(usize::from(index)) }
    }

    /// The message in a slot that was filled. It stays valid, and in place, until the release.
    pub(crate) fn message(&self, slot: u16) -> *const libc::msghdr {
        // SAFETY: the pointer is inside the region; no reference is made.
        unsafe { &raw const (*self.slot(slot).as_ptr()).message }
    }

    /// Whether sends of up to `count` messages fit, or as many as ever will.
    pub(crate) fn have_room_for(&self, count: usize) -> bool {
        self.in_flight() == 0 || self.free() >= count
    }

    /// Fills a free slot with one datagram that `write` puts in place; `None` without one. The
    /// caller sends the message and releases the slot afterwards.
    pub(crate) fn fill_reply(
        &mut self,
        to: SocketAddr,
        from: Option<PacketInfo>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<u16> {
        // It leaves the list of free slots when it is filled: a panic in `write` costs no slot.
        let index = *self.free.last()?;
        // SAFETY: the slot is free, so the kernel does not know it and no other reference to it
        // exists; zeroed memory is a valid Slot (integers and null pointers only).
        let slot = unsafe { self.slot(index).as_mut() };
        let length = write(&mut slot.bytes);
        assert!(length <= REPLY_BYTES_MAX, "a reply is written inside its slot");
        slot.reply_vector =
            libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: length };
        let control_bytes = from.map_or(0, |from| write_local(from, &mut slot.control.0));
        let vector = (&raw mut slot.reply_vector, 1);
        slot.complete(Some(to), vector, control_bytes);
        self.free.pop();
        Some(index)
    }

    /// Fills a free slot's area with datagrams of `segment_bytes` each; `None` without one, or when
    /// the slots were not made for that.
    pub(crate) fn fill_segments(
        &mut self,
        to: SocketAddr,
        segment_bytes: u16,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<u16> {
        let areas = self.areas.as_ref()?;
        let index = *self.free.last()?;
        assert!(usize::from(index) < self.count);
        let start = usize::from(index) * SEGMENTS_BYTES_MAX;
        // SAFETY: the area is inside the region, which `new` sized for `count` of them; the slot
        // is free, so the kernel does not read it and no other reference to it exists; bytes have
        // no invalid values.
        let area = unsafe {
            std::slice::from_raw_parts_mut(areas.base().as_ptr().add(start), SEGMENTS_BYTES_MAX)
        };
        let length = write(area);
        assert!(length <= SEGMENTS_BYTES_MAX, "segments are written inside their area");
        let base = area.as_mut_ptr().cast();
        // SAFETY: as in `fill_reply`: a free slot is ours alone.
        let slot = unsafe { self.slot(index).as_mut() };
        slot.reply_vector = libc::iovec { iov_base: base, iov_len: length };
        // A single datagram needs no cutting.
        let options = SendOptions {
            segment_bytes: (length > usize::from(segment_bytes)).then_some(segment_bytes),
            ..SendOptions::default()
        };
        let control_bytes = write_send_options(options, to.is_ipv6(), &mut slot.control.0);
        let vector = (&raw mut slot.reply_vector, 1);
        slot.complete(Some(to), vector, control_bytes);
        self.free.pop();
        Some(index)
    }

    /// Fills a free slot with references to receive buffers, for `service`; `None` without one, or
    /// when the slots were not made for that.
    pub(crate) fn fill_forward(
        &mut self,
        forward: &Forward<'_>,
        service: ServiceId,
    ) -> Option<u16> {
        let &Forward { to, ipv6, slices, options, tag, .. } = forward;
        assert!(slices.len() <= FORWARD_SLICES_MAX, "more slices than the kernel takes segments");
        if self.forwards.is_empty() {
            return None;
        }
        let index = *self.free.last()?;
        let ForwardSlot { send, vectors } = &mut self.forwards[usize::from(index)];
        send.slices.clear();
        for (vector, slice) in vectors.iter_mut().zip(slices) {
            let bytes = slice.bytes();
            // The clone in `send` keeps these bytes unwritten until the release.
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            send.slices.push(slice.clone());
        }
        (send.options, send.tag, send.service) = (options, tag, Some(service));
        self.free.pop();
        let vectors = vectors.as_mut_ptr();
        // SAFETY: as in `fill_reply`: a free slot is ours alone.
        let slot = unsafe { self.slot(index).as_mut() };
        let control_bytes = write_send_options(options, ipv6, &mut slot.control.0);
        slot.complete(to, (vectors, slices.len()), control_bytes);
        Some(index)
    }

    /// Whether the send in a slot that was filled is a forward.
    pub(crate) fn is_forward(&self, slot: u16) -> bool {
        let forward = self.forwards.get(usize::from(slot));
        forward.is_some_and(|forward| forward.send.service.is_some())
    }

    /// The forward in `slot`, which has ended. The slot stays taken until
    /// [`Self::release_forward`].
    pub(crate) fn take_forward(&mut self, slot: u16) -> Option<InFlightSend> {
        let forward = self.forwards.get_mut(usize::from(slot))?;
        Some(std::mem::take(&mut forward.send))
    }

    /// Takes a slot back after [`Self::take_forward`], and its list of slices, so that the memory
    /// of that is used again.
    pub(crate) fn release_forward(&mut self, slot: u16, send: InFlightSend) {
        if let Some(forward) = self.forwards.get_mut(usize::from(slot)) {
            forward.send = send;
        }
        self.release(slot);
    }
}

impl Slot {
    /// Completes the message header.
    fn complete(
        &mut self,
        to: Option<SocketAddr>,
        (vectors, vector_count): (*mut libc::iovec, usize),
        control_bytes: usize,
    ) {
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
    }
}
