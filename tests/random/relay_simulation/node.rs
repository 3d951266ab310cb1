//! One relay, with the buffers, slots and turns that an engine gives it.

use std::collections::VecDeque;
use std::sync::Arc;

use fastrand::Rng;
use ringtide::io::{
    BufferSlice, FORWARD_SLICES_MAX, Forward, Frame, FrameService, Now, ReceivePool, ReplyPath,
    SendCompletion, SendOptions, Transmit, TransmitError,
};
use ringtide::relay::coalesce::BATCH_BYTES_MAX;
use ringtide::relay::handler::Relay;
use ringtide::relay::table::SharedTable;
use ringtide::relay::{Offload, count_datagrams};

use super::coverage::Seen;
use super::frames::{Made, Truth};
use super::model::{Due, Model};
use super::rules::{INPUT, Rules};

/// As an engine's: a virtio header, an Ethernet header and the largest IP packet fit.
const BUFFER_BYTES: usize = 65_600;

/// Bits of a tag that are the relay's own.
const TAG: u32 = u32::MAX >> 1;

/// What one worker has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    pub(crate) buffers: u16,
    pub(crate) slots: usize,
    /// Frames that the packet socket holds.
    pub(crate) queue_max: usize,
    /// The longest that a send takes.
    pub(crate) send_ms_max: u64,
    /// Whether sends end in the order they began.
    pub(crate) in_order: bool,
}

pub(crate) struct Node {
    relay: Option<Relay>,
    shared: Arc<SharedTable>,
    pool: ReceivePool,
    queue: VecDeque<Made>,
    means: Means,
    /// Published, perhaps not yet applied.
    pub(crate) rules: Rules,
    pub(crate) side: Side,
    /// Frames for which the packet socket had no room.
    pub(crate) overflown: u64,
    pub(crate) turn_due: bool,
}

/// The transmit side, next to the model that judges it.
pub(crate) struct Side {
    pub(crate) model: Model,
    now_ms: u64,
    rng: Rng,
    free: usize,
    in_flight: VecDeque<InFlight>,
    send_ms_max: u64,
    /// Whether a send may find no slot: more than an engine promised is being sent.
    may_be_refused: bool,
}

/// A send in flight.
pub(crate) struct InFlight {
    pub(crate) tag: u32,
    retried: bool,
    slices: Vec<BufferSlice>,
    pub(crate) options: SendOptions,
    pub(crate) dues: Vec<Due>,
    ends_ms: u64,
}

impl Node {
    pub(crate) fn new(rules: Rules, means: Means, seed: u64) -> Self {
        let shared = Arc::<SharedTable>::default();
        shared.publish(rules.table());
        let side = Side {
            model: Model::new(rules.clone()),
            now_ms: 0,
            rng: Rng::with_seed(seed),
            free: means.slots,
            in_flight: VecDeque::new(),
            send_ms_max: means.send_ms_max,
            may_be_refused: false,
        };
        Self {
            relay: Some(Relay::new(Arc::clone(&shared))),
            shared,
            pool: ReceivePool::new(means.buffers, BUFFER_BYTES),
            queue: VecDeque::new(),
            means,
            rules,
            side,
            overflown: 0,
            turn_due: false,
        }
    }

    /// A frame reaches the packet socket.
    pub(crate) fn arrive(&mut self, made: Made) {
        if self.queue.len() >= self.means.queue_max {
            self.overflown += 1;
            return self.side.model.seen.note(Seen::QueueFull);
        }
        self.queue.push_back(made);
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.side.in_flight.is_empty()
    }

    /// One turn of the loop: sends end, frames are handled, batches are closed. What left goes to
    /// `sent`; `fate` says how a send ends.
    pub(crate) fn turn(
        &mut self,
        now: Now,
        mut fate: impl FnMut(&Rules, &InFlight, &mut Rng) -> Option<i32>,
        mut sent: impl FnMut(&Rules, &InFlight),
    ) {
        self.side.now_ms = now.since_epoch().as_millis() as u64;
        let mut relay = self.relay.take().unwrap();
        loop {
            let ended = self.end_one(&mut relay, now, &mut fate, &mut sent);
            let taken = self.side.rng.bool() && self.take_one(&mut relay, now);
            if !ended && !taken && !self.take_one(&mut relay, now) {
                break;
            }
        }
        self.flush(&mut relay, now);
        self.relay = Some(relay);
        self.side.model.check(&self.shared);
    }

    fn flush(&mut self, relay: &mut Relay, now: Now) {
        relay.on_flush(now, &mut self.side);
        assert_eq!(self.side.model.in_line(), 0, "a flush sends everything");
        self.side.may_be_refused = false;
    }

    /// Ends a send whose time has come.
    fn end_one(
        &mut self,
        relay: &mut Relay,
        now: Now,
        fate: &mut impl FnMut(&Rules, &InFlight, &mut Rng) -> Option<i32>,
        sent: &mut impl FnMut(&Rules, &InFlight),
    ) -> bool {
        let side = &mut self.side;
        let over = |flight: &InFlight| flight.ends_ms <= side.now_ms;
        let first = if self.means.in_order { 0 } else { side.rng.usize(..=side.in_flight.len()) };
        let later = (first..side.in_flight.len()).find(|at| over(&side.in_flight[*at]));
        let Some(at) = later.or_else(|| side.in_flight.iter().position(over)) else { return false };
        let flight = side.in_flight.remove(at).unwrap();
        let error = fate(&side.model.rules, &flight, &mut side.rng);
        assert_eq!(
            cut(&flight.slices, flight.options.segment_bytes),
            flight.dues.iter().map(|due| due.payload.to_vec()).collect::<Vec<_>>(),
            "a buffer was written to while it was sent from"
        );
        let in_line = side.model.in_line();
        let segmented = flight.options.segment_bytes.is_some();
        side.model.ended(flight.tag, &flight.dues, segmented, flight.retried, error);
        let was_refusable = std::mem::replace(&mut side.may_be_refused, true);
        let bytes = flight.slices.iter().map(|slice| slice.range.len()).sum();
        let forwarded = SendCompletion {
            tag: flight.tag | if flight.retried { !TAG } else { 0 },
            result: error.map_or(Ok(bytes), Err),
            slices: &flight.slices,
            options: flight.options,
        };
        relay.on_forwarded(now, &forwarded, side);
        assert_eq!(side.model.in_line(), in_line, "what failed was sent again at once");
        // Batches that are open were promised room for one send where there may now be many.
        side.may_be_refused = was_refusable || (segmented && error.is_some());
        side.free += 1;
        if error.is_none() {
            sent(&side.model.rules, &flight);
        }
        true
    }

    /// Hands the next frame to the relay, if there is room for what may come of it.
    fn take_one(&mut self, relay: &mut Relay, now: Now) -> bool {
        let Some(made) = self.queue.front() else { return false };
        let side = &mut self.side;
        let needed = relay.sends_per_frame_max();
        if side.free < needed && side.free < self.means.slots {
            side.model.seen.note(Seen::FrameWaited);
            return false;
        }
        let Some(buffer) = self.pool.fill(&made.bytes) else {
            side.model.seen.note(Seen::NoReceiveBuffer);
            return false;
        };
        let long = made.truth.count() > FORWARD_SLICES_MAX as u64;
        side.model.seen.note_if(long, Seen::LongSuperPacket);
        let first_cut = side.model.is_first_cut(&made.truth);
        side.model.seen.note_if(first_cut, Seen::CutOnArrival);
        // Nothing that was promised holds for more than one send takes, for the first of what no
        // output takes together, or when there are fewer slots than a single frame can need.
        side.may_be_refused |= long || first_cut || side.free < needed;
        let made = self.queue.pop_front().unwrap();
        if let Truth::Datagrams(_, all) = &made.truth {
            side.model.seen.note(if all.len() > 1 { Seen::SuperPacket } else { Seen::Single });
        }
        side.model.arrive(now, &made.truth);
        let Made { auxiliary, outgoing, truncated, .. } = made;
        let range = 0..made.bytes.len();
        let frame = Frame::received(INPUT, &buffer, range, auxiliary, outgoing, truncated);
        relay.on_frame(now, &frame, side);
        true
    }

    pub(crate) fn publish(&mut self) {
        self.rules.generation += 1;
        self.shared.publish(self.rules.table());
    }

    pub(crate) fn tick(&mut self, now: Now) {
        let side = &mut self.side;
        side.model.tick(now);
        if side.model.rules.generation != self.rules.generation {
            side.model.seen.note_if(!side.in_flight.is_empty(), Seen::ChangedInFlight);
            side.model.apply_rules(self.rules.clone());
        }
        self.relay.as_mut().unwrap().on_tick(now, side);
        assert_eq!(self.shared.seen(), self.rules.generation, "a tick takes up new rules");
        self.side.model.check(&self.shared);
    }

    /// The end, when nothing is on its way any more.
    pub(crate) fn finish(&mut self) {
        assert!(!self.is_busy() && self.side.free == self.means.slots, "a slot is missing");
        assert_eq!(self.pool.held(), self.side.model.reassembly.held(), "only fragments wait");
        self.side.model.end();
        self.relay = None;
        self.side.model.check(&self.shared);
        assert_eq!(self.pool.held(), 0, "a buffer is missing");
        assert_eq!(self.pool.free(), usize::from(self.means.buffers));
    }
}

impl Transmit for Side {
    fn reply(
        &mut self,
        _: ReplyPath,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        panic!("a relay answers nobody");
    }

    fn send_segments(
        &mut self,
        _: ReplyPath,
        _: u16,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        panic!("a relay writes no segments of its own");
    }

    fn forward(&mut self, forward: Forward<'_>) -> Result<(), TransmitError> {
        let tag = forward.tag & TAG;
        let dues = self.judge(&forward);
        let Some(free) = self.free.checked_sub(1) else {
            assert!(self.may_be_refused, "room was promised to be enough");
            self.model.seen.note(Seen::NoSlot);
            self.model.refused(tag, dues.len());
            return Err(TransmitError::Full);
        };
        self.free = free;
        let Forward { slices, options, .. } = forward;
        let retried = forward.tag != tag;
        let ends_ms = self.now_ms + self.rng.u64(..=self.send_ms_max);
        let slices = slices.to_vec();
        let flight = InFlight { tag, retried, slices, options, dues, ends_ms };
        self.in_flight.push_back(flight);
        Ok(())
    }
}

impl Side {
    /// What is sent is what must be sent next, and within its bounds.
    fn judge(&mut self, forward: &Forward<'_>) -> Vec<Due> {
        let tag = forward.tag & TAG;
        let offload = self.model.rules.offload;
        let output = self.model.rules.output(tag).cloned();
        let output = output.unwrap_or_else(|| panic!("output {tag} is not in the current table"));
        assert_eq!(Some(forward.socket), output.socket, "the output's own socket");
        assert_eq!((forward.to, forward.ipv6), (Some(output.to), output.to.is_ipv6()));
        let bytes: usize = forward.slices.iter().map(|slice| slice.range.len()).sum();
        assert!((1..=FORWARD_SLICES_MAX).contains(&forward.slices.len()));
        if let Some(size) = forward.options.segment_bytes {
            let datagrams = count_datagrams(bytes, forward.options.segment_bytes);
            assert!((2..=FORWARD_SLICES_MAX).contains(&datagrams) && bytes <= BATCH_BYTES_MAX);
            assert!(usize::from(size) <= output.segment_max, "cut to more than the MTU");
            assert!(!self.model.tally(tag).refuses_segments, "cut where that was refused");
            assert_eq!(offload, Offload::Auto, "cut with offload off");
            self.model.seen.note(Seen::Batched);
        } else {
            assert!(bytes <= output.payload_max, "longer than a datagram can be");
            let singly = self.model.tally(tag).line.len() > 1;
            self.model.seen.note_if(singly, Seen::SentSingly);
        }
        let sent = cut(forward.slices, forward.options.segment_bytes);
        let line = &mut self.model.tally(tag).line;
        let dues: Vec<Due> = line.drain(..sent.len().min(line.len())).collect();
        let right: Vec<Vec<u8>> = dues.iter().map(|due| due.payload.to_vec()).collect();
        assert_eq!(sent, right, "other payloads than came in, or in another order");
        for due in &dues {
            assert_eq!(
                (forward.options.ttl, forward.options.tos),
                (due.ttl, due.tos),
                "TTL, type of service"
            );
        }
        dues
    }
}

/// The datagrams that a kernel makes of a send.
fn cut(slices: &[BufferSlice], segment_bytes: Option<u16>) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.bytes().to_vec()).collect();
    match segment_bytes {
        None => vec![bytes],
        Some(size) => bytes.chunks(usize::from(size)).map(<[u8]>::to_vec).collect(),
    }
}
