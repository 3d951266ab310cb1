//! A transmit side with a bounded number of slots that checks what it is given.

use std::collections::VecDeque;

use ringtide::io::{
    BufferSlice, FORWARD_SLICES_MAX, Forward, FrameService, Now, REPLY_BYTES_MAX, ReplyPath,
    SendCompletion, SendOptions, Sent, Transmit, TransmitError,
};
use ringtide::relay::coalesce::BATCH_BYTES_MAX;
use ringtide::relay::count_datagrams;

/// The longest payload of a datagram that IP can carry, over IPv6 without options.
const PAYLOAD_BYTES_MAX: usize = 65_527;

/// Sends that are kept, as an engine keeps them, until they are said to have ended.
#[derive(Default)]
pub struct Slots {
    pub free: usize,
    pub replies: Vec<Sent>,
    pub in_flight: VecDeque<InFlight>,
    /// Sends that found no slot.
    pub refused: usize,
}

/// A forward in flight; it holds its receive buffers.
pub struct InFlight {
    pub tag: u32,
    pub slices: Vec<BufferSlice>,
    pub options: SendOptions,
}

impl Slots {
    pub fn new(free: usize) -> Self {
        Self { free, ..Self::default() }
    }

    /// Ends the oldest forward with this error, or well.
    pub fn end_one<H: FrameService>(&mut self, handler: &mut H, now: Now, error: Option<i32>) {
        let Some(InFlight { tag, slices, options }) = self.in_flight.pop_front() else {
            return;
        };
        self.free += 1;
        let bytes = slices.iter().map(|slice| slice.bytes().len()).sum();
        let result = error.map_or(Ok(bytes), Err);
        let forwarded = SendCompletion { tag, result, slices: &slices, options };
        handler.on_forwarded(now, &forwarded, self);
    }

    /// Ends all forwards well, those included that come of it.
    pub fn end_all<H: FrameService>(&mut self, handler: &mut H, now: Now) {
        while !self.in_flight.is_empty() {
            self.end_one(handler, now, None);
        }
    }

    fn take_slot(&mut self) -> Result<(), TransmitError> {
        let Some(free) = self.free.checked_sub(1) else {
            self.refused += 1;
            return Err(TransmitError::Full);
        };
        self.free = free;
        Ok(())
    }
}

impl Transmit for Slots {
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        self.take_slot()?;
        let mut bytes = vec![STALE; REPLY_BYTES_MAX];
        let length = write(&mut bytes);
        assert!(length <= REPLY_BYTES_MAX, "a reply of {length} bytes");
        bytes.truncate(length);
        self.replies.push(Sent { path, bytes });
        Ok(())
    }

    fn send_segments(
        &mut self,
        _: ReplyPath,
        _: u16,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        unreachable!("neither the tracker nor the relay writes segments")
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitError> {
        let Forward { slices, options, tag, .. } = forward;
        let bytes = slices.iter().map(|slice| slice.bytes().len()).sum();
        assert!((1..=FORWARD_SLICES_MAX).contains(&slices.len()), "{} slices", slices.len());
        match options.segment_bytes {
            None => assert!(bytes <= PAYLOAD_BYTES_MAX, "a datagram of {bytes} bytes"),
            Some(size) => {
                assert!(size > 0 && bytes <= BATCH_BYTES_MAX, "{bytes} bytes cut at {size}");
                let datagrams = count_datagrams(bytes, options.segment_bytes);
                assert!(datagrams <= FORWARD_SLICES_MAX, "{datagrams} datagrams in a send");
            }
        }
        self.take_slot()?;
        self.in_flight.push_back(InFlight { tag, slices: slices.to_vec(), options });
        Ok(())
    }
}

/// What a slot holds before a reply is written: the rest of another, as far as anybody knows.
const STALE: u8 = 0xa5;
