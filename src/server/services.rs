//! Both services behind one handler: datagrams are the tracker's, frames the relay's.

use crate::io::{Frame, Handler, Now, Packet, SendCompletion, Transmit};
use crate::relay::handler::Relay;
use crate::tracker::udp::handler::Tracker;

/// What one worker serves. A job that is not configured has no sockets, and so nothing to do.
pub struct Services {
    /// Answers datagrams.
    pub tracker: Tracker,
    /// Forwards frames.
    pub relay: Relay,
}

impl Handler for Services {
    fn on_packet<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
        self.tracker.on_packet(now, packet, tx);
    }

    fn on_frame<T: Transmit>(&mut self, now: Now, frame: &Frame<'_>, tx: &mut T) {
        self.relay.on_frame(now, frame, tx);
    }

    fn on_forwarded<T: Transmit>(&mut self, now: Now, forwarded: &SendCompletion<'_>, tx: &mut T) {
        self.relay.on_forwarded(now, forwarded, tx);
    }

    fn awaits_departure(&self) -> bool {
        self.relay.awaits_departure()
    }

    fn on_departed(&mut self, wall_ns: u64) {
        self.relay.on_departed(wall_ns);
    }

    fn sends_per_frame_max(&self) -> usize {
        self.relay.sends_per_frame_max()
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        self.tracker.on_flush(now, tx);
        self.relay.on_flush(now, tx);
    }

    fn next_deadline(&self) -> Option<Now> {
        self.tracker.next_deadline()
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        self.tracker.on_tick(now, tx);
        self.relay.on_tick(now, tx);
    }
}
