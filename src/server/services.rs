//! Both services behind one handler: datagrams are the tracker's, frames the relay's.

use crate::io::{Frame, Handler, Now, Packet, SendCompletion, Transmit};
use crate::relay::handler::Relay;
use crate::tracker::udp::handler::Tracker;

/// What one worker serves. A service that is not configured has no sockets, so nothing arrives for
/// it.
pub struct Services {
    /// Answers datagrams.
    pub tracker: Option<Tracker>,
    /// Forwards frames.
    pub relay: Option<Relay>,
}

impl Handler for Services {
    fn on_packet<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
        if let Some(tracker) = &mut self.tracker {
            tracker.on_packet(now, packet, tx);
        }
    }

    fn on_frame<T: Transmit>(&mut self, now: Now, frame: &Frame<'_>, tx: &mut T) {
        if let Some(relay) = &mut self.relay {
            relay.on_frame(now, frame, tx);
        }
    }

    fn on_forwarded<T: Transmit>(&mut self, now: Now, forwarded: &SendCompletion<'_>, tx: &mut T) {
        if let Some(relay) = &mut self.relay {
            relay.on_forwarded(now, forwarded, tx);
        }
    }

    fn awaits_departure(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::awaits_departure)
    }

    fn on_departed(&mut self, wall_ns: u64) {
        if let Some(relay) = &mut self.relay {
            relay.on_departed(wall_ns);
        }
    }

    fn sends_per_frame_max(&self) -> usize {
        self.relay.as_ref().map_or(0, Relay::sends_per_frame_max)
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        if let Some(tracker) = &mut self.tracker {
            tracker.on_flush(now, tx);
        }
        if let Some(relay) = &mut self.relay {
            relay.on_flush(now, tx);
        }
    }

    fn next_deadline(&self) -> Option<Now> {
        self.tracker.as_ref().and_then(Tracker::next_deadline)
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        if let Some(tracker) = &mut self.tracker {
            tracker.on_tick(now, tx);
        }
        if let Some(relay) = &mut self.relay {
            relay.on_tick(now, tx);
        }
    }
}
