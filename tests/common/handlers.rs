//! Small handlers for tests of the loop alone.

use std::sync::Arc;

use ringtide::io::{
    self, BufferSlice, DatagramService, Dispatch, Now, Packet, SendCompletion, ServiceId, Transmit,
};

use ringtide::telemetry::{Counter, Counters};

/// Answers every datagram with a copy of itself.
pub struct Echo;

impl DatagramService for Echo {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |out| {
            out[..packet.payload.len()].copy_from_slice(packet.payload);
            packet.payload.len()
        });
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

/// Answers every datagram straight from its receive buffer.
pub struct Forward(pub Arc<Counters>);

impl Dispatch for Forward {
    fn on_datagram<T: Transmit>(&mut self, _: ServiceId, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let whole = packet.buffer.bytes();
        let start = packet.payload.as_ptr() as usize - whole.as_ptr() as usize;
        let range = start..start + packet.payload.len();
        let slice = BufferSlice { buffer: packet.buffer.clone(), range };
        let _ = tx.forward(io::Forward {
            socket: packet.path.socket(),
            to: Some(packet.path.client()),
            ipv6: packet.path.client().is_ipv6(),
            slices: &[slice],
            options: io::SendOptions::default(),
            tag: 0,
        });
    }

    fn on_forwarded<T: Transmit>(
        &mut self,
        _: ServiceId,
        _: Now,
        forwarded: &SendCompletion<'_>,
        _: &mut T,
    ) {
        assert_eq!(forwarded.result, Ok(forwarded.slices[0].bytes().len()));
        self.0.count(Counter::PacketsSent);
    }
}
