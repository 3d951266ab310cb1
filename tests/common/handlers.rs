//! Small handlers for tests of the loop alone.

use ringtide::handler::{Handler, Now, Packet, Part, Transmit};

/// Answers every datagram with a copy of itself.
pub struct Echo;

impl Handler for Echo {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |out| {
            out[..packet.payload.len()].copy_from_slice(packet.payload);
            packet.payload.len()
        });
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

/// Answers every datagram straight from its receive buffer.
pub struct Forward;

impl Handler for Forward {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let whole = packet.buffer.bytes();
        let start = packet.payload.as_ptr() as usize - whole.as_ptr() as usize;
        let range = start..start + packet.payload.len();
        let part = Part { buffer: packet.buffer.clone(), range };
        let _ = tx.forward(packet.path, &[part], None);
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}
