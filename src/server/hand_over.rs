//! The last stage: the workers have stopped, and another process has the sockets or nobody does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tracing::{error, warn};

use super::api::view::View;
use super::persist::takeover::{HandedOver, Offer, Presence};
use super::serve::{Process, Serving};
use crate::sys::fd_bundle::{FdBundle, Purpose};
use crate::workers::Workers;

/// The workers have stopped and the swarms are saved. What was counted and stored stays readable.
pub struct Ended {
    process: Process,
    /// The stream to the process that took over, if one did. It starts to serve when this is
    /// closed, so it is dropped last.
    _successor: Option<HandedOver>,
}

/// What became of a request to take over.
pub enum AfterHandOver {
    /// The other process went away, and this one serves on.
    Serving(Serving),
    /// The other process has everything, or this one could not start its workers again.
    Ended(Ended),
}

impl AfterHandOver {
    /// What other threads may read.
    pub fn view(&self) -> &Arc<View> {
        match self {
            Self::Serving(serving) => serving.view(),
            Self::Ended(ended) => ended.view(),
        }
    }
}

impl Serving {
    /// Whether another process asked to take over. [`Self::offer`] is readable then.
    pub fn is_asked_to_hand_over(&self) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.successor().is_some())
    }

    /// Becomes readable when another process asks to take over, where one can.
    pub fn offer(&self) -> Option<BorrowedFd<'_>> {
        self.offer.as_ref().map(AsFd::as_fd)
    }

    /// If another process asked to take over: stops the workers, which finish all that they took,
    /// saves the swarms and hands the sockets over. If it goes away before it has them, this
    /// process serves on.
    pub fn hand_over(mut self) -> AfterHandOver {
        let Some((presence, offer)) =
            self.offer.take().and_then(|offer| Some((offer.successor()?, offer)))
        else {
            return AfterHandOver::Serving(self);
        };
        if presence == Presence::Gone {
            self.offer = renew(offer);
            return AfterHandOver::Serving(self);
        }
        let Self { workers, mut process, .. } = self;
        process.stop(workers);
        match process.give_sockets(&offer) {
            Ok(()) => AfterHandOver::Ended(Ended { process, _successor: offer.finish() }),
            Err(_) => process.restart(renew(offer)),
        }
    }

    /// Stops the workers in good order and saves the swarms.
    pub fn stop(self) -> Ended {
        let Self { workers, offer, mut process } = self;
        process.stop(workers);
        process.end(offer)
    }
}

impl Ended {
    /// What was counted and stored.
    pub fn view(&self) -> &Arc<View> {
        &self.process.view
    }
}

impl Process {
    /// Stops the workers and saves the swarms.
    fn stop(&mut self, workers: Workers) {
        workers.stop();
        self.save();
    }

    fn save(&mut self) {
        if let Some(persister) = &mut self.persister {
            persister.finish();
        }
    }

    /// Serves again after a successor went away.
    fn restart(mut self, offer: Option<Offer>) -> AfterHandOver {
        self.view.workers.iter().for_each(|worker| worker.control.start_over());
        if let Some(Err(error)) = self.persister.as_mut().map(|persister| persister.restart()) {
            error!("swarms are not saved and torrents not exported: {error}");
        }
        match (self.start_workers)() {
            Ok(workers) => AfterHandOver::Serving(Serving { workers, offer, process: self }),
            Err(error) => {
                error!("the workers cannot be started again: {error}");
                self.save();
                AfterHandOver::Ended(self.end(offer))
            }
        }
    }

    /// Ends without the workers. A process that asks to take over only now gets the sockets, or
    /// sees the end and starts by itself.
    fn end(self, offer: Option<Offer>) -> Ended {
        let finish = |offer: Offer| {
            if let Err(error) = self.give_sockets(&offer) {
                warn!("the sockets cannot be handed over: {error}");
            }
            offer.finish()
        };
        let successor = offer.and_then(finish);
        Ended { process: self, _successor: successor }
    }

    /// Gives all sockets that receive to the successor, if there is one.
    fn give_sockets(&self, offer: &Offer) -> io::Result<()> {
        offer.hand_over(&self.bundles())?;
        if let Some(relay) = &self.relay
            && offer.successor().is_some()
        {
            relay.leave_to_successor();
        }
        Ok(())
    }

    fn bundles(&self) -> Vec<FdBundle<BorrowedFd<'_>>> {
        let tracker = self.view.tracker.iter();
        let sockets = tracker.flat_map(|tracker| &tracker.sockets).map(|socket| socket.as_fd());
        let listening = FdBundle { purpose: Purpose::Listening, sockets: sockets.collect() };
        let relay = self.relay.iter().flat_map(|relay| relay.bundles());
        std::iter::once(listening).chain(relay).collect()
    }
}

/// Waits for another successor, after one went away.
fn renew(offer: Offer) -> Option<Offer> {
    warn!("the process that was to take over is gone; this one goes on");
    offer
        .renew()
        .inspect_err(|error| error!("no other process can take over any more: {error}"))
        .ok()
}
