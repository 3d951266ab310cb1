//! All that one worker serves: routes what its loop receives to the service it is for.

use std::sync::Arc;

use crate::io::mailbox::Mailbox;
use crate::io::{
    self, DatagramService, Frame, FrameService, MessageService, Now, Packet, SendCompletion,
    ServiceId, Transmit, Wakeup,
};
use crate::relay::handler::Relay;
use crate::tracker::core::TrackerMessage;
use crate::tracker::udp::handler::Tracker;

/// The services of one worker; `None` for one that is not configured, which has no sockets.
pub struct Services {
    /// Answers datagrams.
    pub tracker: Option<Tracker>,
    /// Forwards frames.
    pub relay: Option<Relay>,
    /// Where other threads send messages for either. It outlives the services, which are made again
    /// when the worker's loop is.
    pub mailbox: Arc<Mailbox<WorkerMessage>>,
}

/// A message to one worker, by the service that it is for.
#[derive(Debug)]
pub enum WorkerMessage {
    /// For the tracker.
    Tracker(TrackerMessage),
}

impl io::Dispatch for Services {
    #[inline]
    fn on_datagram<T: Transmit>(
        &mut self,
        service: ServiceId,
        now: Now,
        packet: &Packet<'_>,
        tx: &mut T,
    ) {
        match (service, &mut self.tracker) {
            (ServiceId::Tracker, Some(tracker)) => {
                DatagramService::on_datagram(tracker, now, packet, tx)
            }
            _ => debug_assert!(false, "{service:?} takes no datagrams here"),
        }
    }

    #[inline]
    fn on_frame<T: Transmit>(
        &mut self,
        service: ServiceId,
        now: Now,
        frame: &Frame<'_>,
        tx: &mut T,
    ) {
        match (service, &mut self.relay) {
            (ServiceId::Relay, Some(relay)) => relay.on_frame(now, frame, tx),
            _ => debug_assert!(false, "{service:?} takes no frames here"),
        }
    }

    #[inline]
    fn sends_per_frame_max(&self) -> usize {
        self.relay.as_ref().map_or(0, FrameService::sends_per_frame_max)
    }

    #[inline]
    fn on_forwarded<T: Transmit>(
        &mut self,
        service: ServiceId,
        now: Now,
        forwarded: &SendCompletion<'_>,
        tx: &mut T,
    ) {
        match (service, &mut self.relay) {
            (ServiceId::Relay, Some(relay)) => relay.on_forwarded(now, forwarded, tx),
            _ => debug_assert!(false, "{service:?} forwards nothing here"),
        }
    }

    #[inline]
    fn awaits_submission(&self) -> bool {
        self.relay.as_ref().is_some_and(FrameService::awaits_submission)
    }

    fn on_submitted(&mut self, wall_ns: u64) {
        if let Some(relay) = &mut self.relay {
            relay.on_submitted(wall_ns);
        }
    }

    #[inline]
    fn has_messages(&self) -> bool {
        self.mailbox.has_messages()
    }

    #[inline]
    fn deliver_messages<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        let Self { tracker, mailbox, .. } = self;
        mailbox.deliver(|message| match (message, &mut *tracker) {
            (WorkerMessage::Tracker(message), Some(tracker)) => {
                tracker.on_message(now, message, tx);
            }
            (message, _) => debug_assert!(false, "nothing here takes {message:?}"),
        });
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        if let Some(tracker) = &mut self.tracker {
            DatagramService::on_tick(tracker, now, tx);
        }
        if let Some(relay) = &mut self.relay {
            relay.on_tick(now, tx);
        }
    }

    #[inline]
    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        if let Some(tracker) = &mut self.tracker {
            DatagramService::on_flush(tracker, now, tx);
        }
        if let Some(relay) = &mut self.relay {
            relay.on_flush(now, tx);
        }
    }

    #[inline]
    fn wakeup(&self) -> Wakeup {
        self.tracker.as_ref().map_or_else(Wakeup::default, DatagramService::wakeup)
    }
}
