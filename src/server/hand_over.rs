//! What happens when another process takes over, and when it goes away before it has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tracing::{error, warn};

use super::Process;
use crate::io::clock::Clock;
use crate::io::{EngineChoice, WorkerPlan};
use crate::server::persist::persister::Persister;
use crate::server::persist::takeover::{Offer, Presence};
use crate::server::services::Services;
use crate::sys::fd_bundle::{FdBundle, Purpose};
use crate::workers::{StartError, Workers};

impl Process {
    /// If another process asked to take over: stops the workers, which finish all that they took,
    /// saves the swarms and hands the sockets over. Returns whether this process goes on after all,
    /// because the other one went away before it had them.
    pub fn hand_over(&mut self) -> bool {
        let Some(presence) = self.offer.as_ref().and_then(Offer::successor) else { return false };
        if presence == Presence::Gone {
            return self.go_on();
        }
        self.stop_and_save();
        let taken = self.offer.as_ref().map(|offer| self.give_sockets(offer));
        match self.offer.take_if(|_| matches!(taken, Some(Ok(())))) {
            Some(offer) => {
                self.handed_over = offer.finish();
                false
            }
            None => self.go_on(),
        }
    }

    /// Gives all sockets that receive to the successor, if there is one.
    pub(crate) fn give_sockets(&self, offer: &Offer) -> io::Result<()> {
        offer.hand_over(&self.bundles())?;
        if let (Some(relay), Some(_)) = (&self.relay, offer.successor()) {
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

    /// Serves again after a successor went away. Returns whether it does.
    fn go_on(&mut self) -> bool {
        warn!("the process that was to take over is gone; this one goes on");
        match self.offer.take().map(Offer::renew).transpose() {
            Ok(offer) => self.offer = offer,
            Err(error) => error!("no other process can take over any more: {error}"),
        }
        if self.workers.is_some() {
            return true;
        }
        self.view.workers.iter().for_each(|worker| worker.control.start_over());
        let persister =
            Persister::start(self.keeps.clone(), Arc::clone(&self.view.shards), self.view.clock);
        match persister {
            Ok(persister) => self.persister = Some(persister),
            Err(error) => error!("swarms are not saved and torrents not exported: {error}"),
        }
        match (self.start)() {
            Ok(workers) => self.workers = Some(workers),
            Err(error) => error!("the workers cannot be started again: {error}"),
        }
        self.workers.is_some()
    }
}

/// Starts all workers, as often as it is called.
pub(crate) type StartWorkers = Box<dyn Fn() -> Result<Workers, StartError> + Send + Sync>;

/// `choice` is made anew each time, among what is permitted then.
pub(crate) fn start_workers(
    choice: EngineChoice,
    plans: Vec<WorkerPlan>,
    clock: Clock,
    make_jobs: impl Fn(usize) -> Services + Send + Sync + 'static,
) -> StartWorkers {
    let make_jobs = Arc::new(make_jobs);
    Box::new(move || {
        let make_jobs = Arc::clone(&make_jobs);
        Workers::start_by_choice(choice, plans.clone(), clock, move |worker| make_jobs(worker))
    })
}
