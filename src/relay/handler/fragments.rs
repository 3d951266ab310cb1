//! How the relay handles IPv6 fragments: apart from the path of whole frames, which it costs
//! nothing.

use super::{DSCP_BITS, Relay};
use crate::io::{BufferSlice, Frame, Now, SendOptions, SocketId, Transmit};
use crate::relay::fragment::{Fragment, udp_in};
use crate::relay::reassembly::{Reassembly, Whole};
use crate::relay::sender::Sender;
use crate::relay::stats::RelayDrop;
use crate::relay::table::InputKey;

impl Relay {
    /// Makes as much room for fragments as the table says. This allocates, as a new table may.
    pub(super) fn resize_reassembly(&mut self) {
        let held_max = self.table.fragments_held_max;
        match &mut self.fragments {
            Some(fragments) if held_max > 0 => fragments.set_held_max(held_max),
            None if held_max > 0 => self.fragments = Some(Box::new(Reassembly::new(held_max))),
            _ => self.abandon_fragments(),
        }
    }

    /// Drops the fragments of datagrams that were not complete in time.
    pub(super) fn expire_fragments(&mut self, now: Now) {
        if let Some(fragments) = &mut self.fragments {
            fragments.expire(now, &self.shared.unmatched);
        }
    }

    pub(super) fn abandon_fragments(&mut self) {
        if let Some(mut fragments) = self.fragments.take() {
            fragments.abandon(&self.shared.unmatched);
        }
    }

    /// Takes a frame that holds a fragment; sends the datagram on when it was the last of it.
    #[cold]
    pub(super) fn relay_fragment<T: Transmit>(
        &mut self,
        now: Now,
        frame: &Frame<'_>,
        tx: &mut T,
    ) -> Result<(), RelayDrop> {
        let mut fragments = self.fragments.take().ok_or(RelayDrop::Fragment)?;
        let result = self.reassemble(&mut fragments, now, frame, tx);
        self.fragments = Some(fragments);
        result
    }

    fn reassemble<T: Transmit>(
        &mut self,
        fragments: &mut Reassembly,
        now: Now,
        frame: &Frame<'_>,
        tx: &mut T,
    ) -> Result<(), RelayDrop> {
        let fragment = Fragment::parse(frame.socket, frame.bytes, &frame.meta)?;
        if fragment.offset == 0
            && let Err(reason) = self.would_match(&fragment, frame)
        {
            fragments.refuse(now, fragment.id, reason, &self.shared.unmatched);
            return Err(reason);
        }
        let range = frame.start + fragment.bytes.start..frame.start + fragment.bytes.end;
        let slice = BufferSlice { buffer: frame.buffer.clone(), range };
        let shared = std::sync::Arc::clone(&self.shared);
        fragments.add(now, &fragment, slice, &shared.unmatched, |whole| {
            self.relay_whole(now, frame.socket, &whole, tx)
        })
    }

    /// Whether a rule takes what this first fragment is of: others are not worth the room.
    fn would_match(&mut self, fragment: &Fragment, frame: &Frame<'_>) -> Result<(), RelayDrop> {
        let bytes = &frame.bytes[fragment.bytes.clone()];
        let (udp, _) = udp_in(fragment.next_header, bytes)?;
        let (source, destination) = fragment.id.ends();
        let key = InputKey {
            socket: frame.socket,
            address: destination.into(),
            port: udp.destination_port,
        };
        self.matching(key, source.into()).map(drop)
    }

    /// Sends a whole datagram on by itself, behind what its rule has gathered.
    fn relay_whole<T: Transmit>(
        &mut self,
        now: Now,
        socket: SocketId,
        whole: &Whole<'_>,
        tx: &mut T,
    ) -> Result<(), RelayDrop> {
        let key = InputKey::new(socket, whole.destination);
        let index = self.matching(key, whole.source.ip())?;
        let counters = &self.table.rules[index].counters;
        counters.passed(1, whole.bytes as u64);
        counters.seen(now.seconds());
        let (table, latency) = (&*self.table, &mut self.latency);
        let mut sender = Sender { table, in_flight: &mut self.in_flight, latency, tx };
        self.batches[index].close(|slices, options| sender.send(index, slices, options));
        // The fragments came in at different times: this one is not timed.
        sender.latency.oldest_ns[index] = 0;
        let (ttl, tos) = (Some(whole.ttl), Some(whole.tos & DSCP_BITS));
        sender.send(index, whole.slices, SendOptions { segment_bytes: None, ttl, tos });
        Ok(())
    }
}

impl Drop for Relay {
    /// What is still incomplete when a worker ends is counted.
    fn drop(&mut self) {
        self.abandon_fragments();
    }
}
