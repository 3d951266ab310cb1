//! The third stage: the workers serve.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::api::view::View;
use super::config::Settings;
use super::confine::Confined;
use super::error::StartupError;
use super::open::Opened;
use super::open_tracker::{OpenTracker, load_access};
use super::persist::StateDirectory;
use super::persist::persister::Persister;
use super::persist::takeover::Offer;
use super::sandbox::FutureUser;
use super::services::{Services, WorkerMessage};
use super::state::offer;
use crate::io::clock::Clock;
use crate::io::mailbox::{Mailbox, MailboxSender, acknowledgement};
use crate::io::{EngineChoice, RingFeature, RingFeatures, WorkerPlan};
use crate::relay::control::RelayControl;
use crate::relay::handler::Relay;
use crate::relay::table::SharedTable;
use crate::tracker::core::TrackerMessage;
use crate::tracker::core::access_list::{AccessList, AccessListError};
use crate::tracker::core::policy::{InForce, Policy};
use crate::tracker::udp::handler::{Tracker, TrackerParts};
use crate::workers::{StartError, Workers};

/// The workers serve, and everything else that runs beside them does.
pub struct Serving {
    pub(super) workers: Workers,
    /// Where another process asks to take over; `None` where none can.
    pub(super) offer: Option<Offer>,
    pub(super) process: Process,
}

/// What stays when the workers stop, so that they can be started again.
pub(super) struct Process {
    pub(super) view: Arc<View>,
    /// The relay, if there is one.
    pub(super) relay: Option<RelayControl>,
    /// Saves and exports what the tracker holds, if there is one.
    pub(super) persister: Option<Persister>,
    pub(super) start_workers: StartWorkers,
    /// Into each worker.
    pub(super) mailboxes: Vec<MailboxSender<WorkerMessage>>,
    /// Locked until everything is saved.
    pub(super) _state: Option<StateDirectory>,
}

/// Starts all workers, each time it is called. The engine is chosen each time, among what is
/// permitted then.
pub(super) type StartWorkers = Box<dyn Fn() -> Result<Workers, StartError> + Send + Sync>;

impl Confined {
    /// Starts the workers and the threads beside them. When it returns, requests are answered.
    ///
    /// # Errors
    /// When a thread cannot be started, or no process could take over although the settings say
    /// so.
    pub fn serve(self, settings: &Settings) -> Result<Serving, StartupError> {
        let Self { opened, confinement } = self;
        // Threads inherit what was given up, so the first of them starts here.
        let offer = offer(settings, opened.plans.len(), opened.state.as_ref())?;
        let worker_views = opened.worker_views();
        let Opened { plans, clock, tracker, relay, broker_health, state, .. } = opened;
        let (relay, tables) = match relay {
            Some(relay) => (Some(relay.control), relay.tables),
            None => (None, Vec::new()),
        };
        let tracker_view = tracker.as_ref().map(OpenTracker::view);
        let persist = tracker.as_ref().map(|tracker| tracker.persist.clone());
        let mailbox = |plan: &WorkerPlan| {
            let (mailbox, sender) = Mailbox::new(MESSAGES_MAX, Arc::clone(&plan.control));
            (Arc::new(mailbox), sender)
        };
        let (receiving, mailboxes) = plans.iter().map(mailbox).unzip();
        let start_workers =
            worker_starter(settings.engine, plans, clock, tracker, tables, receiving);
        let workers = start_workers()?;
        log_missing_features(&workers, settings.io_uring_without);
        let view = View {
            clock,
            started: Instant::now(),
            engine: workers.engine(),
            features: workers.features(),
            privileges: confinement,
            broker: broker_health,
            workers: worker_views,
            tracker: tracker_view,
            relay: relay.as_ref().map(RelayControl::view),
            draining: AtomicBool::new(false),
        };
        let start_persister = |(config, shards)| {
            Persister::start(config, shards, clock).map_err(StartupError::Persister)
        };
        let shards = view.tracker.as_ref().map(|tracker| Arc::clone(&tracker.shards));
        let persister = persist.zip(shards).map(start_persister).transpose()?;
        let view = Arc::new(view);
        let process = Process { view, relay, persister, start_workers, mailboxes, _state: state };
        Ok(Serving { workers, offer, process })
    }
}

impl Serving {
    /// Opens everything and serves, with one worker on each of `cores`, and keeps all privileges.
    ///
    /// # Errors
    /// When something cannot be opened or started.
    pub fn start(settings: &Settings, cores: &[usize]) -> Result<Self, StartupError> {
        Opened::open(settings, cores, None, &FutureUser::default())?.unconfined().serve(settings)
    }

    /// What other threads may read.
    pub fn view(&self) -> &Arc<View> {
        &self.process.view
    }

    /// The control side of the relay, when there is one.
    pub fn relay(&self) -> Option<&RelayControl> {
        self.process.relay.as_ref()
    }

    /// As [`Self::relay`], for changes.
    pub fn relay_mut(&mut self) -> Option<&mut RelayControl> {
        self.process.relay.as_mut()
    }

    /// The tracker's current limits, intervals and access list, when there is a tracker.
    pub fn policy(&self) -> Option<Arc<InForce>> {
        self.process.view.tracker.as_ref().map(|tracker| tracker.policy.current())
    }

    /// Reads the access list again and makes it the current one. Returns how many hashes it has;
    /// on an error the current list stays.
    pub fn reload(&self, settings: &Settings) -> Result<usize, AccessListError> {
        let config = settings.tracker.as_ref();
        let access = load_access(config.and_then(|tracker| tracker.access.as_ref()))?;
        let hashes = access.len();
        self.replace_access(access);
        Ok(hashes)
    }

    /// Gives the tracker, if there is one, another access list. Limits and intervals stay.
    pub fn replace_access(&self, access: AccessList) {
        if let Some(current) = self.policy() {
            self.replace_policy(Policy { settings: current.settings.clone(), access });
        }
    }

    /// Gives the tracker, if there is one, other limits, intervals and another access list.
    ///
    /// The earlier ones are freed here, once no worker uses them any more.
    pub fn replace_policy(&self, policy: Policy) {
        let Some(tracker) = &self.process.view.tracker else { return };
        let earlier = tracker.policy.replace(policy);
        let (acknowledgement, acknowledged) = acknowledgement();
        for (worker, mailbox) in self.process.mailboxes.iter().enumerate() {
            let replaced = TrackerMessage::PolicyReplaced(acknowledgement.clone());
            if let Err(error) = mailbox.try_send(WorkerMessage::Tracker(replaced)) {
                warn!(worker, "{error}; the change takes effect with its next tick");
            }
        }
        drop(acknowledgement);
        acknowledged.wait(POLICY_WAIT);
        drop(earlier);
    }
}

/// Makes the services of each worker each time its loop starts.
fn worker_starter(
    choice: EngineChoice,
    plans: Vec<WorkerPlan>,
    clock: Clock,
    tracker: Option<OpenTracker>,
    tables: Vec<Arc<SharedTable>>,
    mailboxes: Vec<Arc<Mailbox<WorkerMessage>>>,
) -> StartWorkers {
    let counters: Vec<_> = plans.iter().map(|plan| Arc::clone(&plan.counters)).collect();
    let make_services = move |worker: usize| Services {
        tracker: tracker.as_ref().map(|tracker| {
            Tracker::new(TrackerParts {
                worker,
                shards: Arc::clone(&tracker.shards),
                policy: tracker.policy.clone(),
                ids: tracker.ids.clone(),
                counters: Arc::clone(&counters[worker]),
            })
        }),
        relay: tables.get(worker).map(|table| Relay::new(Arc::clone(table))),
        mailbox: Arc::clone(&mailboxes[worker]),
    };
    let make_services = Arc::new(make_services);
    Box::new(move || {
        let make_services = Arc::clone(&make_services);
        let make_services = move |worker| make_services(worker);
        Workers::start(choice, plans.clone(), clock, make_services)
    })
}

/// Logs once which features the workers' rings do without, and why.
fn log_missing_features(workers: &Workers, switched_off: RingFeatures) {
    let missing = workers.missing();
    // DeferTaskrun needs SingleIssuer.
    let switched_off = match switched_off.has(RingFeature::SingleIssuer) {
        true => switched_off.with(RingFeature::DeferTaskrun),
        false => switched_off,
    };
    let unknown = missing.but(switched_off);
    if unknown != RingFeatures::NONE {
        info!("this kernel's io_uring is used without {unknown}: later ones have it");
    }
    let off = missing.but(unknown);
    if off != RingFeatures::NONE {
        info!("io_uring is used without {off}, as io_uring_without says");
    }
}

/// A worker that runs acknowledges within an iteration; one that rests before a restart takes up
/// to a second.
const POLICY_WAIT: Duration = Duration::from_secs(1);

/// The most messages that wait in a worker's mailbox.
const MESSAGES_MAX: usize = 256;
