//! Coalescing: consecutive datagrams of one flow, gathered for one trip into the kernel.
//!
//! With `UDP_SEGMENT` (udp(7)) one send carries many datagrams: the kernel cuts the bytes it is
//! given into equal pieces, of which only the last may be shorter. A [`Batch`] gathers what can
//! leave in such a send, and a [`Split`] takes it apart again where it cannot.

use std::ops::Range;

use crate::io::{BufferSlice, FORWARD_SLICES_MAX, SendOptions};

/// The most datagrams in one send: as many as every kernel with `UDP_SEGMENT` takes.
pub const BATCH_DATAGRAMS_MAX: usize = FORWARD_SLICES_MAX;

/// The most bytes in one send of several datagrams. Headers still fit below the 65,535 bytes
/// that an IP packet can have.
pub const BATCH_BYTES_MAX: usize = 65_000;

/// The open batch of one flow.
///
/// What it gives out obeys [`BATCH_DATAGRAMS_MAX`] and [`BATCH_BYTES_MAX`], has datagrams of one
/// size, the last one possibly shorter, and one TTL and type of service. Everything leaves in
/// the order it came in. Its storage is allocated once.
///
/// Empty datagrams, which the kernel could not tell apart, and those larger than the batch's
/// `segment_max` always go alone.
#[derive(Debug)]
pub struct Batch {
    /// Never more than [`BATCH_DATAGRAMS_MAX`]: the capacity it starts with.
    slices: Vec<BufferSlice>,
    segment_max: usize,
    /// The size of the first datagram, and of all but the last.
    segment: usize,
    datagrams: usize,
    bytes: usize,
    ttl: Option<u8>,
    tos: Option<u8>,
    /// Whether nothing can join any more.
    full: bool,
}

/// What became of a slice.
#[must_use = "a refused slice is lost unless it is pushed again"]
#[derive(Debug)]
pub enum Pushed {
    /// It is in the batch, and more may join.
    Open,
    /// It is in the batch, and nothing more can join: the batch may as well be closed.
    Full,
    /// This is not in the batch: all of the slice, or of a super-packet what is left of it. Close
    /// the batch and push it again: an empty batch takes at least one datagram of anything.
    Refused(BufferSlice),
}

impl Batch {
    /// An empty batch. Datagrams of up to `segment_max` bytes are gathered: the egress MTU less
    /// the IP and UDP headers. With 0 every datagram goes singly, those of super-packets too.
    pub fn new(segment_max: u16) -> Self {
        Self {
            slices: Vec::with_capacity(BATCH_DATAGRAMS_MAX),
            segment_max: usize::from(segment_max),
            segment: 0,
            datagrams: 0,
            bytes: 0,
            ttl: None,
            tos: None,
            full: false,
        }
    }

    /// Whether there is nothing to close.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Whether datagrams of this size are gathered.
    #[inline]
    pub fn gathers(&self, datagram_bytes: u16) -> bool {
        usize::from(datagram_bytes) <= self.segment_max
    }

    /// Changes the largest datagram that is gathered, from the next batch on.
    pub fn set_segment_max(&mut self, segment_max: u16) {
        self.segment_max = usize::from(segment_max);
        self.full = true;
    }

    /// Adds a datagram, or the datagrams of a super-packet when `options` have a segment size.
    ///
    /// TTL and type of service are those to send with, where an output keeps them; datagrams that
    /// differ in them do not share a batch.
    #[inline]
    pub fn push(&mut self, slice: BufferSlice, options: SendOptions) -> Pushed {
        let SendOptions { segment_bytes, ttl, tos } = options;
        let bytes = slice.range.len();
        let (segment, datagrams) = match segment_bytes.map(usize::from) {
            Some(size) if size > 0 && size < bytes => (size, bytes.div_ceil(size)),
            _ => (bytes, 1),
        };
        if self.slices.is_empty() {
            (self.ttl, self.tos) = (ttl, tos);
            return self.begin(slice, segment, datagrams);
        }
        let fits = self.datagrams + datagrams <= BATCH_DATAGRAMS_MAX
            && self.bytes + bytes <= BATCH_BYTES_MAX;
        let alike = segment == self.segment || (datagrams == 1 && bytes < self.segment);
        let same_header = self.ttl == ttl && self.tos == tos;
        if self.full || bytes == 0 || !(fits && alike && same_header) {
            return Pushed::Refused(slice);
        }
        self.take(slice, datagrams)
    }

    /// Pushes a slice, closing the batch as often as that takes. `send` gets what is closed, as
    /// from [`Self::close`].
    #[inline]
    pub fn gather(
        &mut self,
        slice: BufferSlice,
        options: SendOptions,
        mut send: impl FnMut(&[BufferSlice], SendOptions),
    ) {
        let mut slice = slice;
        loop {
            match self.push(slice, options) {
                Pushed::Open => return,
                Pushed::Full => {
                    self.close(&mut send);
                    return;
                }
                Pushed::Refused(rest) => {
                    self.close(&mut send);
                    slice = rest;
                }
            }
        }
    }

    /// Hands what was gathered to `send`, as one send, and empties the batch; `None` when it is
    /// empty. No datagram lies across two slices; there is a segment size when there are two
    /// datagrams or more.
    #[inline]
    pub fn close<R>(&mut self, send: impl FnOnce(&[BufferSlice], SendOptions) -> R) -> Option<R> {
        if self.slices.is_empty() {
            return None;
        }
        // Only a datagram that goes alone can be too large for 16 bits.
        let segment = u16::try_from(self.segment).ok();
        let segment_bytes = segment.filter(|_| self.datagrams > 1);
        let options = SendOptions { segment_bytes, ttl: self.ttl, tos: self.tos };
        let sent = send(&self.slices, options);
        self.slices.clear();
        Some(sent)
    }

    /// Takes as much of a slice into an empty batch as one send may carry.
    #[inline]
    fn begin(&mut self, slice: BufferSlice, segment: usize, datagrams: usize) -> Pushed {
        (self.segment, self.datagrams, self.bytes) = (segment, 0, 0);
        self.full = segment == 0 || segment > self.segment_max;
        let datagrams_max =
            if self.full { 1 } else { (BATCH_BYTES_MAX / segment).clamp(1, BATCH_DATAGRAMS_MAX) };
        if datagrams <= datagrams_max {
            return self.take(slice, datagrams);
        }
        let Range { start, end } = slice.range;
        let cut = start + datagrams_max * segment;
        let _ = self
            .take(BufferSlice { buffer: slice.buffer.clone(), range: start..cut }, datagrams_max);
        Pushed::Refused(BufferSlice { buffer: slice.buffer, range: cut..end })
    }

    /// Adds a slice that fits.
    #[inline]
    fn take(&mut self, slice: BufferSlice, datagrams: usize) -> Pushed {
        let bytes = slice.range.len();
        self.slices.push(slice);
        self.datagrams += datagrams;
        self.bytes += bytes;
        self.full |= bytes < datagrams * self.segment
            || self.datagrams == BATCH_DATAGRAMS_MAX
            || self.bytes + self.segment > BATCH_BYTES_MAX;
        if self.full { Pushed::Full } else { Pushed::Open }
    }
}

/// Cuts a closed batch, a super-packet or the slices of a send that came back into single
/// datagrams: where the kernel refuses `UDP_SEGMENT`, or offload is off.
///
/// `slices` must be as [`Batch::close`] gives them: no datagram lies across two slices.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    slices: &'a [BufferSlice],
    /// Bytes of the first slice that are through.
    taken: usize,
    segment: usize,
}

impl<'a> Split<'a> {
    /// The datagrams of `slices`; without a size each slice is one.
    #[inline]
    pub fn new(slices: &'a [BufferSlice], segment_bytes: Option<u16>) -> Self {
        let segment = segment_bytes.filter(|size| *size > 0).map_or(usize::MAX, usize::from);
        Self { slices, taken: 0, segment }
    }
}

impl Iterator for Split<'_> {
    type Item = BufferSlice;

    /// The next datagram, which is one slice.
    #[inline]
    fn next(&mut self) -> Option<BufferSlice> {
        let (slice, rest) = self.slices.split_first()?;
        let start = slice.range.start + self.taken;
        let end = slice.range.end.min(start.saturating_add(self.segment));
        if end == slice.range.end {
            (self.slices, self.taken) = (rest, 0);
        } else {
            self.taken += self.segment;
        }
        Some(BufferSlice { buffer: slice.buffer.clone(), range: start..end })
    }
}

#[cfg(test)]
mod tests;
