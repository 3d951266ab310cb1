//! Everything that runs, put together: sockets, shards, policy, workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::broker::{Broker, BrokerError, Opener};
use crate::clock::Clock;
use crate::config::{AccessConfig, Settings, TrackerConfig};
use crate::confinement;
use crate::control::relay::{RelayControl, RelayError, RelayWorker};
use crate::control::report::Holdings;
use crate::engine::{Engine, LoopSizes, WorkerControl, WorkerPlan};
use crate::jobs::Jobs;
use crate::net::lent::{Lend, SocketTable};
use crate::net::socket::{BindError, BoundSocket, SocketGroup, SocketOptions, bind_group};
use crate::net::steering::{SteeringConstants, SteeringProgram};
use crate::privileges::{Confinement, PrivilegeError};
use crate::relay::RelaySettings;
use crate::relay::handler::Relay;
use crate::relay::table::SharedTable;
use crate::telemetry::{Counters, Snapshot};
use crate::tracker::access_list::{AccessList, AccessListError};
use crate::tracker::connection_id::ConnectionIds;
use crate::tracker::connection_key::{KeyFileError, RandomKeyError, key_from_file, random_key};
use crate::tracker::handler::{Tracker, TrackerParts};
use crate::tracker::policy::{Policy, SharedPolicy};
use crate::tracker::store::{Secrets, Shards};
use crate::worker::{StartError, Workers, choose_engine};

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
    /// The relay cannot start.
    #[error("cannot start the relay")]
    Relay(#[from] RelayError),
}

/// The running tracker.
pub struct Process {
    /// `None` once stopped.
    workers: Option<Workers>,
    counters: Vec<Arc<Counters>>,
    sockets: Vec<Arc<BoundSocket>>,
    shards: Arc<Shards>,
    policy: SharedPolicy,
    relay: Option<RelayControl>,
    addresses: Vec<SocketAddr>,
    steered: bool,
    engine: Engine,
    confinement: Confinement,
    controls: Vec<Arc<WorkerControl>>,
}

impl Process {
    /// Binds, loads and starts everything: one worker for each entry of `cores`. When it returns,
    /// requests are answered.
    pub fn start(settings: &Settings, cores: &[usize]) -> Result<Self, ProcessError> {
        Self::open(settings, cores, Opener::default(), |_| Ok(Confinement::of_this_thread()))
    }

    /// As [`Self::start`], and gives up what the settings say once everything is open. To be
    /// called while there is no other thread.
    ///
    /// # Errors
    /// As for [`Self::start`], and when privileges cannot be given up.
    pub fn start_confined(settings: &Settings, cores: &[usize]) -> Result<Self, ProcessError> {
        let opener = confinement::opener(settings)?;
        Self::open(settings, cores, opener, |broker| confinement::give_up(settings, broker))
    }

    /// Opens everything, calls `give_up` with the broker's process ID, and starts the workers.
    fn open(
        settings: &Settings,
        cores: &[usize],
        opener: Opener,
        give_up: impl FnOnce(Option<u32>) -> Result<Confinement, PrivilegeError>,
    ) -> Result<Self, ProcessError> {
        let broker = opener.broker().map(Broker::pid);
        // Without a tracker there is nothing to listen on.
        let none = || TrackerConfig { listen: Vec::new(), ..TrackerConfig::default() };
        let tracker = &settings.tracker.clone().unwrap_or_else(none);
        let policy = Policy {
            settings: tracker.settings.clone(),
            access: load_access(tracker.access.as_ref())?,
        };
        let ids =
            ConnectionIds::new(connection_key(tracker)?, tracker.settings.connection_lifetime_s);
        let secrets = Secrets::random().map_err(ProcessError::Secrets)?;
        let shards = Arc::new(Shards::new(cores.len(), &secrets));
        let groups = bind(tracker, &shards)?;
        warn_of_small_buffers(&groups, tracker);
        let addresses = groups.iter().map(|group| group.sockets[0].address()).collect();
        let steered = groups.iter().all(|group| group.steered);
        let policy = SharedPolicy::new(policy);
        let hands = deal(groups, cores.len());
        let sockets = hands.iter().flatten().cloned().collect();
        let sizes = settings.relay.as_ref().map_or(LoopSizes::TRACKER, relay_sizes);
        let engine = choose_engine(settings.engine, sizes);
        let plans = plan_workers(settings, engine, sizes, cores.iter().zip(hands))?;
        let tables: Vec<Arc<SharedTable>> = plans.iter().map(|_| Arc::default()).collect();
        let relay =
            settings.relay.as_ref().map(|relay| start_relay(relay, &plans, &tables, opener));
        let relay = relay.transpose()?;
        let counters: Vec<_> = plans.iter().map(|plan| Arc::clone(&plan.counters)).collect();
        let make_jobs = {
            let (counters, shards, policy) =
                (counters.clone(), Arc::clone(&shards), policy.clone());
            move |worker: usize| Jobs {
                tracker: Tracker::new(TrackerParts {
                    worker,
                    shards: Arc::clone(&shards),
                    policy: policy.clone(),
                    ids: ids.clone(),
                    counters: Arc::clone(&counters[worker]),
                }),
                relay: Relay::new(Arc::clone(&tables[worker])),
            }
        };
        let controls = plans.iter().map(|plan| Arc::clone(&plan.control)).collect();
        let confinement = give_up(broker)?;
        let workers = Some(Workers::start(plans, Clock::start(), make_jobs)?);
        Ok(Self {
            workers,
            counters,
            sockets,
            shards,
            policy,
            relay,
            addresses,
            steered,
            engine,
            confinement,
            controls,
        })
    }

    /// The bound addresses, with the ports that were chosen where 0 was asked for.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied()
    }

    /// Whether the kernel steers every request to the worker that owns its torrent.
    pub fn is_steered(&self) -> bool {
        self.steered
    }

    /// What drives the workers' loops.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// When each worker's loop last ticked, in seconds since the Unix epoch.
    pub fn heartbeats(&self) -> impl Iterator<Item = u64> {
        self.controls.iter().map(|control| control.heartbeat_s())
    }

    /// What was given up at the start.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// What all workers counted so far.
    pub fn counted(&self) -> Snapshot {
        Snapshot::total(self.counters.iter().map(|counters| &**counters))
    }

    /// What each worker counted so far.
    pub fn counted_by_worker(&self) -> impl Iterator<Item = Snapshot> {
        self.counters.iter().map(|counters| counters.snapshot())
    }

    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub fn kernel_drops(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.kernel_drops()).sum()
    }

    /// What the tracker holds.
    pub fn holdings(&self) -> Holdings {
        self.shards.gauges().fold(Holdings::default(), |sum, shard| Holdings {
            torrents: sum.torrents + (shard.torrents_ipv4() + shard.torrents_ipv6()) as u64,
            peers: sum.peers + (shard.peers_ipv4() + shard.peers_ipv6()) as u64,
        })
    }

    /// Reads the access list again and puts it in force. Returns how many hashes it has; on an
    /// error the list in force stays.
    pub fn reload(&self, settings: &Settings) -> Result<usize, AccessListError> {
        let access =
            load_access(settings.tracker.as_ref().and_then(|tracker| tracker.access.as_ref()))?;
        let hashes = access.len();
        let settings = self.policy.current().settings.clone();
        let earlier = self.policy.replace(Policy { settings, access });
        let deadline = Instant::now() + POLICY_WAIT;
        while Arc::strong_count(&earlier) > 1 && Instant::now() < deadline {
            std::thread::sleep(POLICY_WAIT_STEP);
        }
        Ok(hashes)
    }

    /// The relay's control side, when there is a relay.
    pub fn relay(&self) -> Option<&RelayControl> {
        self.relay.as_ref()
    }

    /// As [`Self::relay`], for changes.
    pub fn relay_mut(&mut self) -> Option<&mut RelayControl> {
        self.relay.as_mut()
    }

    /// Stops the workers in good order. What they counted and held stays readable.
    pub fn stop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }
}

fn load_access(access: Option<&AccessConfig>) -> Result<AccessList, AccessListError> {
    match access {
        None => Ok(AccessList::default()),
        Some(AccessConfig { mode, file }) => AccessList::load(file, *mode),
    }
}

fn connection_key(tracker: &TrackerConfig) -> Result<[u8; 16], ProcessError> {
    let Some(file) = &tracker.connection_key_file else { return Ok(random_key()?) };
    let key = key_from_file(file)?;
    if key.too_open {
        warn!(
            "{} can be read by others; whoever has it can forge connection IDs (chmod 600)",
            file.display()
        );
    }
    Ok(key.key)
}

fn bind(tracker: &TrackerConfig, shards: &Shards) -> Result<Vec<SocketGroup>, BindError> {
    let options = SocketOptions {
        receive_buffer_bytes: tracker.receive_buffer_bytes,
        send_buffer_bytes: tracker.send_buffer_bytes,
    };
    let steering = shards.steering();
    let constants =
        SteeringConstants { addend: steering.addend(), multipliers: steering.multipliers() };
    let program = SteeringProgram::new(constants, shards.len() as u32);
    let program = tracker.steering.then_some(&program);
    // Nobody asked for IPv6 by name where the addresses are the default ones.
    let optional = tracker.listen == TrackerConfig::default().listen;
    let mut groups = Vec::with_capacity(tracker.listen.len());
    for address in &tracker.listen {
        match bind_group(*address, shards.len(), options, program) {
            Ok(group) => groups.push(group),
            Err(error @ BindError::NoIpv6 { .. }) if optional && !groups.is_empty() => {
                warn!("serving IPv4 only: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(groups)
}

/// Deals each group's sockets out: one to each worker, in order.
fn deal(groups: Vec<SocketGroup>, workers: usize) -> Vec<Vec<Arc<BoundSocket>>> {
    let mut hands: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for group in groups {
        hands.iter_mut().zip(group.sockets).for_each(|(hand, socket)| hand.push(Arc::new(socket)));
    }
    hands
}

fn start_relay(
    settings: &RelaySettings,
    plans: &[WorkerPlan],
    tables: &[Arc<SharedTable>],
    opener: Opener,
) -> Result<RelayControl, RelayError> {
    let workers = plans.iter().zip(tables).map(|(plan, shared)| RelayWorker {
        sockets: Arc::clone(&plan.table),
        control: Arc::clone(&plan.control),
        shared: Arc::clone(shared),
        counters: Arc::clone(&plan.counters),
    });
    RelayControl::new(settings.clone(), workers.collect(), opener)
}

/// Pools for both jobs.
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
    engine: Engine,
    sizes: LoopSizes,
    workers: impl Iterator<Item = (&'a usize, Vec<Arc<BoundSocket>>)>,
) -> Result<Vec<WorkerPlan>, ProcessError> {
    let plan = |(index, (core, hand)): (usize, (&usize, Vec<Arc<BoundSocket>>))| {
        let control =
            WorkerControl::new(settings.shutdown_timeout).map_err(ProcessError::Control)?;
        let lent = hand.into_iter().map(|socket| socket as Arc<dyn Lend>);
        Ok(WorkerPlan {
            index,
            core: Some(*core),
            table: Arc::new(SocketTable::new(lent)),
            counters: Arc::new(Counters::default()),
            control: Arc::new(control),
            engine,
            sizes,
        })
    };
    workers.enumerate().map(plan).collect()
}

/// One warning for each kind of buffer, with the sysctl that allows more.
fn warn_of_small_buffers(groups: &[SocketGroup], tracker: &TrackerConfig) {
    let least = |short: fn(&SocketGroup) -> Option<usize>| groups.iter().filter_map(short).min();
    for (kind, granted, wanted, sysctl) in [
        (
            "receive",
            least(|group| group.receive_buffer_short),
            tracker.receive_buffer_bytes,
            "net.core.rmem_max",
        ),
        (
            "send",
            least(|group| group.send_buffer_short),
            tracker.send_buffer_bytes,
            "net.core.wmem_max",
        ),
    ] {
        if let Some(granted) = granted {
            warn!(
                "the kernel grants {kind} buffers of {granted} bytes instead of {wanted}; \
                 bursts may be lost; allow more with `sysctl -w {sysctl}={wanted}`"
            );
        }
    }
}
