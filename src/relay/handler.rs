//! The relay as a [`FrameService`]: frames in, forwards or counted drops out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::coalesce::{BATCH_DATAGRAMS_MAX, Batch};
use super::datagram::Datagram;
use super::in_flight::InFlight;
use super::latency::LatencySamples;
use super::reassembly::Reassembly;
use super::rule::Offload;
use super::sender::Sender;
use super::stats::RelayDrop;
use super::table::{InputKey, RelayTable, SharedTable, TableOutput, TableRule};
use crate::io::{BufferSlice, Frame, FrameService, Now, SendCompletion, SendOptions, Transmit};

/// One worker's relay.
pub struct Relay {
    shared: Arc<SharedTable>,
    table: Arc<RelayTable>,
    /// The open batch of each rule, by its index in the table.
    batches: Vec<Batch>,
    /// Rules with a datagram since the last flush, in the order of their first, each once: their
    /// batches may be open.
    open: Vec<usize>,
    /// Whether a rule is in `open`, by its index in the table.
    is_open: Vec<bool>,
    /// Whether super-packets reach a rule whose datagrams are longer than any of its outputs takes
    /// with others, by its index in the table.
    is_cut: Vec<bool>,
    /// The most sends that closing all open batches takes.
    open_sends: usize,
    /// The most sends that one frame can lead to, besides those.
    frame_sends_max: usize,
    in_flight: InFlight,
    /// The input that the last frame matched: frames of a flow come together.
    last: Option<(InputKey, usize)>,
    /// Sends that are timed when they were submitted.
    latency: LatencySamples,
    /// IPv6 datagrams in fragments; `None` where no rule takes any.
    fragments: Option<Box<Reassembly>>,
}

impl Relay {
    /// A relay that uses the tables that `shared` publishes.
    pub fn new(shared: Arc<SharedTable>) -> Self {
        let mut relay = Self {
            shared,
            table: Arc::default(),
            batches: Vec::new(),
            open: Vec::new(),
            is_open: Vec::new(),
            is_cut: Vec::new(),
            open_sends: 0,
            frame_sends_max: 0,
            in_flight: InFlight::default(),
            last: None,
            latency: LatencySamples::default(),
            fragments: None,
        };
        relay.apply_table();
        relay
    }

    /// Uses the published table from now on. No batch may be open. This allocates: tables change
    /// when rules or interfaces do, not with packets.
    fn apply_table(&mut self) {
        assert!(self.open.is_empty(), "a table changes between iterations");
        let earlier = std::mem::replace(&mut self.table, self.shared.current());
        let table = &self.table;
        self.batches.clear();
        let segment_max = |rule| match table.offload {
            Offload::Auto => u16::try_from(widest(rule)).unwrap_or(u16::MAX),
            Offload::Off => 0,
        };
        self.batches.extend(table.rules.iter().map(|rule| Batch::new(segment_max(rule))));
        self.open.reserve(table.rules.len());
        self.is_open = vec![false; table.rules.len()];
        self.is_cut = vec![false; table.rules.len()];
        self.frame_sends_max = sends_of_frame(table, &self.is_cut);
        self.in_flight.apply_table(&earlier, table);
        self.latency.apply_table(table);
        self.last = None;
        self.resize_reassembly();
        self.shared.set_seen(self.table.generation);
    }

    fn relay<T: Transmit>(
        &mut self,
        now: Now,
        frame: &Frame<'_>,
        tx: &mut T,
    ) -> Result<(), RelayDrop> {
        let parsed = Datagram::parse(frame.bytes, &frame.meta)?;
        let key = InputKey::new(frame.socket, parsed.destination);
        let index = self.matching(key, parsed.source.ip())?;
        let rule = &self.table.rules[index];
        rule.counters.passed(parsed.count() as u64, parsed.payload.len() as u64);
        rule.counters.seen(now.seconds());
        if rule.outputs.is_empty() {
            return Ok(());
        }
        let range = frame.start + parsed.payload.start..frame.start + parsed.payload.end;
        let slice = BufferSlice { buffer: frame.buffer.clone(), range };
        // What no output keeps must not keep datagrams apart.
        let options = SendOptions {
            segment_bytes: parsed.segment_bytes,
            ttl: rule.keeps_ttl.then_some(parsed.ttl),
            tos: rule.keeps_dscp.then_some(parsed.tos & DSCP_BITS),
        };
        let batch = &mut self.batches[index];
        if parsed.segment_bytes.is_some_and(|size| !batch.gathers(size)) && !self.is_cut[index] {
            // From now on frames wait until there is room for all that they are cut into.
            self.is_cut[index] = true;
            self.frame_sends_max = sends_of_frame(&self.table, &self.is_cut);
        }
        let received_ns = frame.meta.received_ns;
        if batch.is_empty() {
            self.latency.oldest_ns[index] = received_ns;
        }
        // A batch that was closed because it was full is empty, and its rule is still listed.
        if !std::mem::replace(&mut self.is_open[index], true) {
            self.open.push(index);
            self.open_sends += sends_of_batch(self.table.offload, rule, self.is_cut[index]);
        }
        let (latency, table) = (&mut self.latency, &*self.table);
        let mut sender = Sender { table, in_flight: &mut self.in_flight, latency, tx };
        batch.gather(slice, options, |slices, options| {
            sender.send(index, slices, options);
            // What is gathered next begins with this frame.
            sender.latency.oldest_ns[index] = received_ns;
        });
        Ok(())
    }

    /// The rule that takes what comes from `source` and goes to `key`.
    fn matching(&mut self, key: InputKey, source: IpAddr) -> Result<usize, RelayDrop> {
        if let Some((last, index)) = self.last
            && last == key
            && accepts(&self.table.rules[index], source)
        {
            return Ok(index);
        }
        let candidates = self.table.inputs.get(&key).ok_or(RelayDrop::NoRule)?;
        let index = candidates
            .iter()
            .find(|index| accepts(&self.table.rules[**index], source))
            .ok_or(RelayDrop::Source)?;
        self.last = Some((key, *index));
        Ok(*index)
    }
}

impl FrameService for Relay {
    fn on_frame<T: Transmit>(&mut self, now: Now, frame: &Frame<'_>, tx: &mut T) {
        let relayed = match self.relay(now, frame, tx) {
            Err(RelayDrop::Fragment) => self.relay_fragment(now, frame, tx),
            relayed => relayed,
        };
        if let Err(reason) = relayed {
            self.shared.unmatched.dropped(reason, 1);
        }
    }

    fn on_forwarded<T: Transmit>(&mut self, now: Now, forwarded: &SendCompletion<'_>, tx: &mut T) {
        let (table, latency) = (&*self.table, &mut self.latency);
        let mut sender = Sender { table, in_flight: &mut self.in_flight, latency, tx };
        if sender.completed(now, forwarded) {
            self.frame_sends_max = sends_of_frame(&self.table, &self.is_cut);
        }
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, _: &mut T) {
        self.expire_fragments(now);
        if self.shared.is_newer_than(self.table.generation) {
            self.apply_table();
        }
    }

    fn on_flush<T: Transmit>(&mut self, _: Now, tx: &mut T) {
        let (table, latency) = (&*self.table, &mut self.latency);
        let mut sender = Sender { table, in_flight: &mut self.in_flight, latency, tx };
        for index in self.open.drain(..) {
            self.is_open[index] = false;
            self.batches[index].close(|slices, options| sender.send(index, slices, options));
        }
        self.open_sends = 0;
    }

    fn sends_per_frame_max(&self) -> usize {
        self.open_sends + self.frame_sends_max
    }

    fn awaits_submission(&self) -> bool {
        self.latency.are_pending()
    }

    fn on_submitted(&mut self, wall_ns: u64) {
        self.latency.end(&self.table, wall_ns);
    }
}

/// The most sends that one frame can lead to, besides those of open batches.
fn sends_of_frame(table: &RelayTable, is_cut: &[bool]) -> usize {
    let rules = table.rules.iter().zip(is_cut);
    rules.map(|(rule, cut)| sends_of_batch(table.offload, rule, *cut)).max().unwrap_or(0)
}

/// The longest datagrams that are gathered: what does not fit the other outputs is cut there.
fn widest(rule: &TableRule) -> usize {
    rule.outputs.iter().map(|output| output.segment_max).max().unwrap_or(0)
}

/// The sends that closing a batch of this rule takes: one for each output that takes it whole, one
/// for each datagram and output where it must be cut, or may have to be.
fn sends_of_batch(offload: Offload, rule: &TableRule, cut: bool) -> usize {
    let widest = widest(rule);
    let cuts = |output: &TableOutput| {
        cut || offload == Offload::Off
            || output.segment_max < widest
            || output.state.refuses_segments.load(Ordering::Relaxed)
    };
    let sends = |output| if cuts(output) { BATCH_DATAGRAMS_MAX } else { 1 };
    rule.outputs.iter().map(sends).sum()
}

fn accepts(rule: &TableRule, source: IpAddr) -> bool {
    rule.sources.is_empty() || rule.sources.contains(&source)
}

/// The code point in a type of service; the other two bits are for congestion (RFC 3168), and an
/// output that keeps the code point has no business with them.
const DSCP_BITS: u8 = 0xfc;

mod fragments;

#[cfg(test)]
mod tests;
