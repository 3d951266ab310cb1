//! Everything that runs, put together: sockets, shards, policy, workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::api::{Listeners, ServerError};
use super::bootstrap::{connection_key, keeps, offer, open_state};
use super::broker::{Broker, BrokerError, SocketFactory};
use super::config::{AccessConfig, Settings, TrackerConfig};
use super::confinement;
use super::listen_sockets::{adopt_or_bind, distribute, warn_of_small_buffers};
use super::memory_limit;
use super::persist::persister::{PersistConfig, Persister};
use super::persist::sizes::SharedSizes;
use super::persist::swarms::load_or_set_aside;
use super::persist::takeover::{HandedOver, Offer};
use super::persist::{StateDirectory, StateError};
use super::report::Holdings;
use super::sandbox::{Confinement, FutureUser, PrivilegeError};
use super::services::Services;
use super::view::{TrackerView, View, WorkerView};
use crate::io::clock::Clock;
use crate::io::socket_table::{LoopSocket, SocketTable};
use crate::io::{Engine, LoopSizes, RingFeature, RingFeatures, WorkerControl, WorkerPlan};
use crate::relay::RelaySettings;
use crate::relay::control::{RelayControl, RelayError, RelayWorker};
use crate::relay::handler::Relay;
use crate::relay::table::SharedTable;
use crate::sys::fd_bundle::Inherited;
use crate::sys::socket::{BindError, BoundSocket, SocketGroup};
use crate::telemetry::{Counters, Snapshot};
use crate::tracker::core::access_list::{AccessList, AccessListError};
use crate::tracker::core::policy::{InForce, Policy, SharedPolicy};
use crate::tracker::store::{Secrets, Shards};
use crate::tracker::udp::connection_id::ConnectionIds;
use crate::tracker::udp::connection_key::{KeyFileError, RandomKeyError};
use crate::tracker::udp::handler::{Tracker, TrackerParts};
use crate::workers::{StartError, Workers};

mod succession;

use succession::{StartWorkers, start_workers};

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A listen address cannot be bound.
    #[error("cannot listen")]
    Bind(#[from] BindError),
    /// A worker cannot start.
    #[error("cannot start the workers")]
    Start(#[from] StartError),
    /// The access list cannot be used.
    #[error("cannot use the access list")]
    Access(#[from] AccessListError),
    /// The connection-ID key cannot be used.
    #[error("cannot use the connection-ID key")]
    KeyFile(#[from] KeyFileError),
    /// The state directory, or what is in it, cannot be used.
    #[error("cannot keep state")]
    State(#[from] StateError),
    /// Nobody can take over from this process.
    #[error("cannot listen for a process that takes over")]
    Handover(#[source] io::Error),
    /// The thread that saves cannot be started.
    #[error("cannot start the thread that saves and exports")]
    Persister(#[source] io::Error),
    /// No random key.
    #[error("cannot draw a connection-ID key")]
    RandomKey(#[from] RandomKeyError),
    /// No random secrets.
    #[error("cannot draw secrets")]
    Secrets(#[source] getrandom::Error),
    /// No eventfd for a worker.
    #[error("cannot prepare a worker's wake-up")]
    Control(#[source] io::Error),
    /// The socket broker cannot start.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Privileges cannot be given up.
    #[error("cannot give up privileges")]
    Privileges(#[from] PrivilegeError),
    /// The control socket or the address for metrics cannot be had.
    #[error("cannot be controlled")]
    Server(#[from] ServerError),
    /// The relay cannot start.
    #[error("cannot start the relay")]
    Relay(#[from] RelayError),
}

/// The running tracker.
pub struct Process {
    /// `None` once stopped.
    workers: Option<Workers>,
    view: Arc<View>,
    policy: SharedPolicy,
    relay: Option<RelayControl>,
    /// `None` once stopped.
    persister: Option<Persister>,
    confinement: Confinement,
    /// `None` once stopped, and where nobody can take over.
    offer: Option<Offer>,
    /// Starts the workers, also when they were stopped for a successor that did not come.
    start: StartWorkers,
    keeps: PersistConfig,
    /// Locked until everything is saved.
    _state: Option<StateDirectory>,
    /// The last to go: a successor starts then.
    handed_over: Option<HandedOver>,
}

impl Process {
    /// Binds, loads and starts everything: one worker for each entry of `cores`. When it returns,
    /// requests are answered.
    pub fn start(settings: &Settings, cores: &[usize]) -> Result<Self, ProcessError> {
        let confined = |_| Ok(Confinement::of_this_thread());
        Self::open(settings, cores, SocketFactory::default(), &FutureUser::default(), confined)
    }

    /// As [`Self::start`], and gives up what the settings say once everything is open. To be
    /// called while there is no other thread. Returns what the control thread is to serve on.
    ///
    /// # Errors
    /// As for [`Self::start`], when there is nothing to serve control on, and when privileges
    /// cannot be given up.
    pub fn start_confined(
        settings: &Settings,
        cores: &[usize],
    ) -> Result<(Self, Option<Listeners>), ProcessError> {
        let user = FutureUser::find(&settings.privileges)?;
        // A process that runs is taken over from only once all of this is there.
        let mut listeners = Listeners::open(settings, user.owner())?;
        let factory = confinement::factory(settings)?;
        let process = Self::open(settings, cores, factory, &user, |broker| {
            listeners.iter_mut().for_each(Listeners::publish);
            Ok(confinement::give_up(settings, broker, &user)?)
        })?;
        Ok((process, listeners))
    }

    /// Opens everything, calls `give_up` with the broker's process ID, and starts the workers.
    /// What is kept between runs is opened as `user`.
    fn open(
        settings: &Settings,
        cores: &[usize],
        factory: SocketFactory,
        user: &FutureUser,
        give_up: impl FnOnce(Option<u32>) -> Result<Confinement, ProcessError>,
    ) -> Result<Self, ProcessError> {
        let broker = factory.broker().map(Broker::pid);
        let broker_health = factory.broker().map(Broker::health);
        let tracker = &settings.tracker_or_none();
        let policy = shared_policy(tracker)?;
        let (state, mut inherited) = open_state(settings, cores.len(), user)?;
        let key = connection_key(settings.tracker.as_ref(), state.as_ref(), user)?;
        let ids = ConnectionIds::new(key, tracker.settings.connection_lifetime_s);
        let shards = make_shards(settings, cores.len())?;
        let groups = adopt_or_bind(tracker, &shards, inherited.as_mut())?;
        // What clients send meanwhile waits in the sockets.
        let clock = Clock::start();
        let keeps = keeps(settings, state.as_ref());
        if let Some(path) = &keeps.swarms {
            user.act(|| load_or_set_aside(path, &shards, &tracker.settings, clock.now()))?;
        }
        warn_of_small_buffers(&groups, tracker);
        let (tracker_view, hands) =
            deal_and_view(tracker, cores.len(), groups, policy.clone(), &keeps);
        let sizes = settings.relay.as_ref().map_or(LoopSizes::TRACKER, relay_sizes);
        let plans = plan_workers(settings, sizes, cores.iter().zip(hands))?;
        let tables: Vec<Arc<SharedTable>> = plans.iter().map(|_| Arc::default()).collect();
        let start = |relay| start_relay(relay, &plans, &tables, factory, inherited);
        let relay = settings.relay.as_ref().map(start).transpose()?;
        let counters: Vec<_> = plans.iter().map(|plan| Arc::clone(&plan.counters)).collect();
        let views = plans.iter().map(worker_view).collect();
        let parts = tracker_parts(Arc::clone(&shards), policy.clone(), ids, counters);
        let make_jobs = move |worker: usize| Services {
            tracker: Tracker::new(parts(worker)),
            relay: Relay::new(Arc::clone(&tables[worker])),
        };
        let start = start_workers(settings.engine, plans, clock, make_jobs);
        let confinement = give_up(broker)?;
        // From here on threads may start: they inherit what was given up.
        let offer = offer(settings, cores.len(), state.as_ref())?;
        // The engine is chosen by what is permitted from here on, as restarted workers find it.
        let workers = start()?;
        tell_of_features(&workers, settings.io_uring_without);
        let view = View {
            clock,
            started: Instant::now(),
            engine: workers.engine(),
            features: workers.features(),
            privileges: confinement.clone(),
            broker: broker_health,
            workers: views,
            shards,
            tracker: settings.tracker.is_some().then_some(tracker_view),
            relay: relay.as_ref().map(RelayControl::view),
            draining: AtomicBool::new(false),
        };
        let persister = Persister::start(keeps.clone(), Arc::clone(&view.shards), clock)
            .map_err(ProcessError::Persister)?;
        Ok(Self {
            workers: Some(workers),
            view: Arc::new(view),
            policy,
            relay,
            persister: Some(persister),
            confinement,
            offer,
            start,
            keeps,
            _state: state,
            handed_over: None,
        })
    }

    /// What other threads may look at.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// The bound addresses, with the ports that were chosen where 0 was asked for.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.view.tracker.iter().flat_map(|tracker| tracker.addresses.iter().copied())
    }

    /// Whether the kernel steers every request to the worker that owns its torrent.
    pub fn is_steered(&self) -> bool {
        self.view.tracker.as_ref().is_none_or(|tracker| tracker.steered)
    }

    /// What drives the workers' loops.
    pub fn engine(&self) -> Engine {
        self.view.engine
    }

    /// When each worker's loop last ticked, in seconds since the Unix epoch.
    pub fn heartbeats(&self) -> impl Iterator<Item = u64> {
        self.view.workers.iter().map(|worker| worker.control.heartbeat_s())
    }

    /// What was given up at the start.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// What all workers counted so far.
    pub fn counted(&self) -> Snapshot {
        Snapshot::total(self.view.workers.iter().map(|worker| &*worker.counters))
    }

    /// What each worker counted so far.
    pub fn counted_by_worker(&self) -> impl Iterator<Item = Snapshot> {
        self.view.workers.iter().map(|worker| worker.counters.snapshot())
    }

    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub fn kernel_drops(&self) -> u64 {
        self.view.tracker.as_ref().map_or(0, TrackerView::kernel_drops)
    }

    /// What the tracker holds.
    pub fn holdings(&self) -> Holdings {
        self.view.shards.gauges().fold(Holdings::default(), |sum, shard| Holdings {
            torrents: sum.torrents + shard.torrents() as u64,
            peers: sum.peers + shard.peers() as u64,
        })
    }

    /// Reads the access list again and puts it in force. Returns how many hashes it has; on an
    /// error the list in force stays.
    pub fn reload(&self, settings: &Settings) -> Result<usize, AccessListError> {
        let access =
            load_access(settings.tracker.as_ref().and_then(|tracker| tracker.access.as_ref()))?;
        let hashes = access.len();
        self.replace_policy(Policy { settings: self.policy().settings.clone(), access });
        Ok(hashes)
    }

    /// The limits, intervals and access list in force.
    pub fn policy(&self) -> Arc<InForce> {
        self.policy.current()
    }

    /// Puts other limits, intervals and another access list in force.
    ///
    /// What is no longer in force is freed here, once the workers have let go of it.
    pub fn replace_policy(&self, policy: Policy) {
        let earlier = self.policy.replace(policy);
        let deadline = Instant::now() + POLICY_WAIT;
        while Arc::strong_count(&earlier) > 1 && Instant::now() < deadline {
            std::thread::sleep(POLICY_WAIT_STEP);
        }
    }

    /// The relay's control side, when there is a relay.
    pub fn relay(&self) -> Option<&RelayControl> {
        self.relay.as_ref()
    }

    /// As [`Self::relay`], for changes.
    pub fn relay_mut(&mut self) -> Option<&mut RelayControl> {
        self.relay.as_mut()
    }

    /// Stops the workers in good order and saves the swarms. What the workers counted and held
    /// stays readable.
    pub fn stop(&mut self) {
        self.stop_and_save();
        // One that asks only now is told, or sees the end and starts by itself.
        if let Some(offer) = self.offer.take() {
            if let Err(error) = self.give_sockets(&offer) {
                warn!("the sockets cannot be handed over: {error}");
            }
            self.handed_over = offer.finish();
        }
    }

    fn stop_and_save(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
        if let Some(persister) = self.persister.take() {
            persister.finish();
        }
    }
}

/// The list that is configured; an empty one that serves everything when none is.
pub(crate) fn load_access(access: Option<&AccessConfig>) -> Result<AccessList, AccessListError> {
    match access {
        None => Ok(AccessList::default()),
        Some(AccessConfig { mode, file }) => AccessList::load(file, *mode),
    }
}

/// The policy to start with, and a secret that places sources in the tables of its limits.
fn shared_policy(tracker: &TrackerConfig) -> Result<SharedPolicy, ProcessError> {
    let access = load_access(tracker.access.as_ref())?;
    let word = || getrandom::u64().map_err(ProcessError::Secrets);
    let limits_key = [word()?, word()?];
    Ok(SharedPolicy::new(Policy { settings: tracker.settings.clone(), access }, limits_key))
}

/// Says once what the workers' rings do without.
fn tell_of_features(workers: &Workers, switched_off: RingFeatures) {
    let missing = workers.missing();
    // Without the one there is no other.
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

fn worker_view(plan: &WorkerPlan) -> WorkerView {
    WorkerView {
        core: plan.core,
        counters: Arc::clone(&plan.counters),
        control: Arc::clone(&plan.control),
    }
}

/// What the tracker of each worker is made of, by the worker's index.
fn tracker_parts(
    shards: Arc<Shards>,
    policy: SharedPolicy,
    ids: ConnectionIds,
    counters: Vec<Arc<Counters>>,
) -> impl Fn(usize) -> TrackerParts {
    move |worker| TrackerParts {
        worker,
        shards: Arc::clone(&shards),
        policy: policy.clone(),
        ids: ids.clone(),
        counters: Arc::clone(&counters[worker]),
    }
}

/// Deals the sockets out to the workers, and makes the tracker's view.
fn deal_and_view(
    tracker: &TrackerConfig,
    workers: usize,
    groups: Vec<SocketGroup>,
    policy: SharedPolicy,
    keeps: &PersistConfig,
) -> (TrackerView, Vec<Vec<Arc<BoundSocket>>>) {
    let mut view = tracker_view(tracker, workers, &groups, policy, Arc::clone(&keeps.sizes));
    let hands = distribute(groups, workers);
    view.sockets.extend(hands.iter().flatten().cloned());
    (view, hands)
}

/// The tracker's view, without its sockets.
fn tracker_view(
    tracker: &TrackerConfig,
    workers: usize,
    groups: &[SocketGroup],
    policy: SharedPolicy,
    torrent_sizes: SharedSizes,
) -> TrackerView {
    let steered = groups.iter().all(|group| group.steered);
    TrackerView {
        addresses: groups.iter().map(|group| group.sockets[0].address()).collect(),
        steered,
        steering: steering_state(tracker, workers, steered),
        sockets: Vec::new(),
        policy,
        torrent_sizes,
    }
}

fn steering_state(tracker: &TrackerConfig, workers: usize, steered: bool) -> &'static str {
    match (workers, tracker.steering, steered) {
        (1, _, _) => "not needed",
        (_, false, _) => "off",
        (_, true, true) => "on",
        (_, true, false) => "refused",
    }
}

fn make_shards(settings: &Settings, workers: usize) -> Result<Arc<Shards>, ProcessError> {
    let secrets = Secrets::random().map_err(ProcessError::Secrets)?;
    let memory_bytes = memory_limit::of_swarms(settings.tracker.as_ref(), workers);
    Ok(Arc::new(Shards::with_memory(workers, &secrets, memory_bytes)))
}

fn start_relay(
    settings: &RelaySettings,
    plans: &[WorkerPlan],
    tables: &[Arc<SharedTable>],
    factory: SocketFactory,
    inherited: Option<Inherited>,
) -> Result<RelayControl, RelayError> {
    let workers = plans.iter().zip(tables).map(|(plan, shared)| RelayWorker {
        sockets: Arc::clone(&plan.table),
        control: Arc::clone(&plan.control),
        shared: Arc::clone(shared),
        counters: Arc::clone(&plan.counters),
    });
    let inherited = inherited.unwrap_or_default();
    RelayControl::new(settings.clone(), workers.collect(), factory, inherited)
}

/// Pools for both services.
fn relay_sizes(relay: &RelaySettings) -> LoopSizes {
    LoopSizes {
        frame_buffers: relay.frame_buffers_per_worker_max(),
        send_slots: RELAY_SEND_SLOTS,
        forwards: true,
        ..LoopSizes::TRACKER
    }
}

/// Workers look at the policy at every tick, ten times a second.
const POLICY_WAIT: Duration = Duration::from_secs(1);
const POLICY_WAIT_STEP: Duration = Duration::from_millis(10);

/// Enough for a turn of single datagrams at the usual fan-out; what finds no slot waits a turn.
const RELAY_SEND_SLOTS: u16 = 4096;

fn plan_workers<'a>(
    settings: &Settings,
    sizes: LoopSizes,
    workers: impl Iterator<Item = (&'a usize, Vec<Arc<BoundSocket>>)>,
) -> Result<Vec<WorkerPlan>, ProcessError> {
    let plan = |(index, (core, hand)): (usize, (&usize, Vec<Arc<BoundSocket>>))| {
        let control =
            WorkerControl::new(settings.shutdown_timeout).map_err(ProcessError::Control)?;
        let lent = hand.into_iter().map(|socket| socket as Arc<dyn LoopSocket>);
        Ok(WorkerPlan {
            index,
            core: Some(*core),
            table: Arc::new(SocketTable::new(lent)),
            counters: Arc::new(Counters::default()),
            control: Arc::new(control),
            // Chosen when the workers start.
            engine: Engine::Epoll,
            features: RingFeatures::ALL.but(settings.io_uring_without),
            sizes,
        })
    };
    workers.enumerate().map(plan).collect()
}
