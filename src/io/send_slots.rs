//! The transmit side of a loop: a slab of fixed slots, each the message of one `sendmsg`.

use std::net::SocketAddr;
use std::ptr::NonNull;

use super::buffers::BufferSlice;
use crate::sys::address::{
    ADDRESS_BYTES, CONTROL_BYTES, PacketInfo, SendOptions, write_address, write_local,
    write_send_options,
};
use crate::sys::memory::{MapError, Region};

/// The largest datagram that a slot holds: the UDP payload of an unfragmented IPv4 datagram on
/// Ethernet (1,500 bytes less 20 of IP and 8 of UDP header).
pub const REPLY_BYTES_MAX: usize = 1472;

/// The most slices that one send takes: the kernel's limit on UDP segments in a send.
pub const FORWARD_SLICES_MAX: usize = 64;

/// The most bytes that one slot holds for several datagrams in one send: 64 announces (BEP 15)
/// and their like.
pub const SEGMENTS_BYTES_MAX: usize = 64 * 98;

/// Everything that the kernel reads while a send is in flight. Never moves.
#[repr(C, align(64))]
struct Slot {
    message: libc::msghdr,
    reply_vector: libc::iovec,
    control: Control,
    address: [u8; ADDRESS_BYTES],
    bytes: [u8; REPLY_BYTES_MAX],
}

/// What a slot holds beside its memory while a forward is in flight.
struct InFlightSend {
    /// Stretches of the receive buffers that the kernel reads from.
    slices: Vec<BufferSlice>,
    vectors: Box<[libc::iovec]>,
    /// Whether the slot's send is a forward.
    forwarding: bool,
    tag: u32,
    options: SendOptions,
}

impl InFlightSend {
    fn with_room_for(slices: usize) -> Self {
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            slices: Vec::with_capacity(slices),
            vectors: vec![none; slices].into_boxed_slice(),
            forwarding: false,
            tag: 0,
            options: SendOptions::default(),
        }
    }
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// A send straight from receive buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardMessage<'a> {
    /// Where to, for a socket that is not connected.
    pub(crate) to: Option<SocketAddr>,
    /// Whether it is an IPv6 socket.
    pub(crate) ipv6: bool,
    /// What to send, in order.
    pub(crate) slices: &'a [BufferSlice],
    pub(crate) options: SendOptions,
    /// Comes back with [`SendSlots::take_forward`].
    pub(crate) tag: u32,
}

/// Where a reply and its destination lie in a slot.
pub(crate) struct DatagramInSlot {
    pub(crate) bytes: *const u8,
    pub(crate) length: u32,
    pub(crate) address: *const libc::sockaddr,
    pub(crate) address_bytes: libc::socklen_t,
}

/// The slots of one worker. From its filling to its release a slot may be the kernel's.
pub(crate) struct SendSlots {
    region: Region,
    free: Vec<u16>,
    /// Per slot, room for several datagrams at once; `None` when the handler sends no segments.
    areas: Option<Region>,
    /// Per slot, for forwards; empty when the handler forwards nothing.
    held: Vec<InFlightSend>,
    count: usize,
}

impl SendSlots {
    /// Allocates `count` slots; their pages are touched on first use. `forwards` reserves the
    /// lists that hold receive buffers, `segments` the areas for several datagrams at once.
    pub(crate) fn new(count: u16, forwards: bool, segments: bool) -> Result<Self, MapError> {
        assert!(count > 0, "a worker that cannot send has no use");
        let region = Region::map(usize::from(count) * size_of::<Slot>())?;
        let areas = || Region::map(usize::from(count) * SEGMENTS_BYTES_MAX);
        let held = if forwards { count } else { 0 };
        Ok(Self {
            region,
            free: (0..count).rev().collect(),
            areas: segments.then(areas).transpose()?,
            held: (0..held).map(|_| InFlightSend::with_room_for(FORWARD_SLICES_MAX)).collect(),
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
        if let Some(held) = self.held.get_mut(usize::from(slot)) {
            held.slices.clear();
            held.forwarding = false;
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

    /// The reply in a slot that was filled with one, as `send` wants it. Valid as the message is.
    pub(crate) fn datagram(&self, slot: u16) -> DatagramInSlot {
        // SAFETY: a filled slot is written by nobody, the kernel included, until its release.
        let slot = unsafe { self.slot(slot).as_ref() };
        DatagramInSlot {
            bytes: slot.reply_vector.iov_base.cast_const().cast(),
            length: slot.reply_vector.iov_len as u32,
            address: slot.message.msg_name.cast_const().cast(),
            address_bytes: slot.message.msg_namelen,
        }
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

    /// Fills a free slot with references to receive buffers; `None` without one, or when the
    /// slots were not made for that.
    pub(crate) fn fill_forward(&mut self, forward: &ForwardMessage<'_>) -> Option<u16> {
        let count = forward.slices.len();
        assert!(count <= FORWARD_SLICES_MAX, "more slices than the kernel takes segments");
        if self.held.is_empty() {
            return None;
        }
        let index = *self.free.last()?;
        let held = &mut self.held[usize::from(index)];
        held.slices.clear();
        for (vector, slice) in held.vectors.iter_mut().zip(forward.slices) {
            let bytes = slice.bytes();
            // The clone in `held` keeps these bytes unwritten until the release.
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            held.slices.push(slice.clone());
        }
        (held.options, held.tag, held.forwarding) = (forward.options, forward.tag, true);
        self.free.pop();
        let vectors = held.vectors.as_mut_ptr();
        // SAFETY: as in `fill_reply`: a free slot is ours alone.
        let slot = unsafe { self.slot(index).as_mut() };
        let control_bytes = write_send_options(forward.options, forward.ipv6, &mut slot.control.0);
        slot.complete(forward.to, (vectors, count), control_bytes);
        Some(index)
    }

    /// What the completed send in `slot` was, if it was a forward. The slot stays taken until
    /// [`Self::release_forward`].
    pub(crate) fn take_forward(&mut self, slot: u16) -> Option<InFlightForward> {
        let held = self.held.get_mut(usize::from(slot)).filter(|held| held.forwarding)?;
        let slices = std::mem::take(&mut held.slices);
        Some(InFlightForward { slices, tag: held.tag, options: held.options })
    }

    /// Takes a slot back after [`Self::take_forward`], and the list of slices with it, so that its
    /// memory is used again.
    pub(crate) fn release_forward(&mut self, slot: u16, slices: Vec<BufferSlice>) {
        if let Some(held) = self.held.get_mut(usize::from(slot)) {
            held.slices = slices;
        }
        self.release(slot);
    }
}

/// A forward that the kernel is done with.
pub(crate) struct InFlightForward {
    pub(crate) slices: Vec<BufferSlice>,
    pub(crate) tag: u32,
    pub(crate) options: SendOptions,
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
