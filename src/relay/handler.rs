//! The relay as a [`Handler`]: frames in, forwards or counted drops out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::coalesce::{Batch, Closed};
use super::datagram::Datagram;
use super::rule::Offload;
use super::stats::{FlowCounters, RelayDrop};
use super::table::{InputKey, RelayTable, SharedTable, TableOutput, TableRule};
use crate::handler::{
    Forward, Forwarded, Frame, Handler, Now, Packet, Part, Transmit, TransmitFull,
};

/// One worker's relay.
pub struct Relay {
    shared: Arc<SharedTable>,
    table: Arc<RelayTable>,
    /// The open batch of each rule, by its place in the table.
    batches: Vec<Batch>,
    /// Rules whose batch is open, in the order they were opened.
    open: Vec<usize>,
    /// Receive buffers in flight, by output tag.
    held: Vec<usize>,
    /// The input that the last frame matched: frames of a flow come together.
    last: Option<(InputKey, usize)>,
}

impl Relay {
    /// A relay that goes by what `shared` publishes.
    pub fn new(shared: Arc<SharedTable>) -> Self {
        let mut relay = Self {
            shared,
            table: Arc::default(),
            batches: Vec::new(),
            open: Vec::new(),
            held: Vec::new(),
            last: None,
        };
        relay.take_up();
        relay
    }

    /// Goes by the published table from now on. No batch may be open.
    fn take_up(&mut self) {
        assert!(self.open.is_empty(), "a table changes between iterations");
        self.table = self.shared.current();
        self.batches.resize_with(self.table.rules.len(), Batch::new);
        self.open.reserve(self.table.rules.len());
        self.held.resize(self.table.tags.max(self.held.len()), 0);
        self.last = None;
        self.shared.set_seen(self.table.generation);
    }

    fn relay<T: Transmit>(
        &mut self,
        now: Now,
        frame: &Frame<'_>,
        datagram: &Datagram,
        tx: &mut T,
    ) -> Result<(), RelayDrop> {
        let key = InputKey { socket: frame.socket, destination: datagram.destination };
        let index = self.matching(key).ok_or(RelayDrop::NoRule)?;
        let rule = &self.table.rules[index];
        if !accepts(rule, datagram.source.ip()) {
            rule.counters.dropped(RelayDrop::Source, datagram.count());
            return Ok(());
        }
        rule.counters.passed(datagram.count(), datagram.payload.len() as u64);
        rule.counters.seen(now.seconds());
        if rule.outputs.is_empty() {
            return Ok(());
        }
        let range = frame.start + datagram.payload.start..frame.start + datagram.payload.end;
        let part = Part { buffer: frame.buffer.clone(), range };
        let (ttl, tos) = if rule.keeps { (datagram.ttl, datagram.tos) } else { (0, 0) };
        let batch = &mut self.batches[index];
        if batch.is_empty() {
            self.open.push(index);
        }
        let mut sender = Sender { table: &self.table, held: &mut self.held, tx };
        batch.push(part, datagram.segment_bytes, ttl, tos, |closed| sender.send(index, closed));
        if self.table.offload == Offload::Off {
            batch.close(|closed| sender.send(index, closed));
        }
        Ok(())
    }

    fn matching(&mut self, key: InputKey) -> Option<usize> {
        if let Some((last, index)) = self.last
            && last == key
        {
            return Some(index);
        }
        let index = *self.table.inputs.get(&key)?;
        self.last = Some((key, index));
        Some(index)
    }
}

impl Handler for Relay {
    /// The relay serves packet sockets only.
    fn on_packet<T: Transmit>(&mut self, _: Now, _: &Packet<'_>, _: &mut T) {}

    fn on_frame<T: Transmit>(&mut self, now: Now, frame: &Frame<'_>, tx: &mut T) {
        let relayed = Datagram::parse(frame)
            .and_then(|datagram| self.relay(now, frame, &datagram, tx));
        if let Err(reason) = relayed {
            self.shared.unmatched.dropped(reason, 1);
        }
    }

    fn on_forwarded<T: Transmit>(&mut self, now: Now, forwarded: &Forwarded<'_>, tx: &mut T) {
        let tag = forwarded.tag & !RETRY;
        if let Some(held) = self.held.get_mut(tag as usize) {
            *held = held.saturating_sub(forwarded.parts.len());
        }
        let Some((index, output)) = self.table.output(tag) else { return };
        let (datagrams, bytes) = amounts(forwarded.parts, forwarded.segment_bytes);
        let counters = &output.counters;
        let error = match forwarded.result {
            Ok(_) => {
                counters.passed(datagrams, bytes as u64);
                counters.sent();
                return counters.seen(now.seconds());
            }
            Err(error) => error,
        };
        let retried = forwarded.tag & RETRY != 0;
        let again = match error {
            // The device or the MTU does not allow it: from now on datagrams go singly here.
            libc::EINVAL | libc::EIO | libc::EMSGSIZE if forwarded.segment_bytes.is_some() => {
                output.refuses_segments.store(true, Ordering::Relaxed);
                true
            }
            // News of an earlier datagram; this one was not sent because of it.
            libc::ECONNREFUSED | libc::EHOSTUNREACH => !retried,
            _ => false,
        };
        if again {
            let closed = Closed::of(forwarded);
            let mut sender = Sender { table: &self.table, held: &mut self.held, tx };
            sender.send_singly(&self.table.rules[index].outputs[output.place], &closed, RETRY);
        } else {
            counters.dropped(reason_for(error), datagrams);
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {
        if self.shared.is_newer_than(self.table.generation) {
            self.take_up();
        }
    }

    fn on_flush<T: Transmit>(&mut self, _: Now, tx: &mut T) {
        let mut sender = Sender { table: &self.table, held: &mut self.held, tx };
        for index in self.open.drain(..) {
            self.batches[index].close(|closed| sender.send(index, closed));
        }
    }
}
