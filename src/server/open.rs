//! The first stage: everything that needs rights, or that another process may still have, is open.

use std::sync::Arc;

use super::api::view::WorkerView;
use super::broker::{Broker, BrokerHealth};
use super::config::Settings;
use super::error::StartupError;
use super::open_tracker::{OpenTracker, TrackerContext, read_policy};
use super::sandbox::FutureUser;
use super::state::open_state;
use crate::io::clock::Clock;
use crate::io::socket_table::{LoopSocket, SocketTable};
use crate::io::{LoopSizes, RingFeatures, ServiceId, WorkerControl, WorkerPlan};
use crate::relay::RelaySettings;
use crate::relay::control::{OwnSockets, RelayControl, RelayError, RelayWorker, SocketFactory};
use crate::relay::table::SharedTable;
use crate::server::persist::StateDirectory;
use crate::sys::fd_bundle::Inherited;
use crate::sys::socket::BoundSocket;
use crate::telemetry::Counters;

/// Everything is open, and nothing runs yet but the thread `main`.
pub struct Opened {
    pub(super) plans: Vec<WorkerPlan>,
    pub(super) clock: Clock,
    /// The tracker, if there is one.
    pub(super) tracker: Option<OpenTracker>,
    /// The relay, if there is one.
    pub(super) relay: Option<OpenRelay>,
    /// How the process is that opens sockets, if one was started.
    pub(super) broker_health: Option<BrokerHealth>,
    /// That process's ID.
    pub(super) broker_pid: Option<u32>,
    /// Locked, where something is kept between runs.
    pub(super) state: Option<StateDirectory>,
}

/// The relay: its sockets and memberships, and the first table of each worker.
pub(super) struct OpenRelay {
    pub(super) control: RelayControl,
    /// By worker.
    pub(super) tables: Vec<Arc<SharedTable>>,
}

impl Opened {
    /// Binds and loads everything for one worker on each of `cores`. Takes over the sockets of
    /// the process that runs, where there is one and the settings ask for that.
    ///
    /// The relay opens its sockets through the `broker`, or without one itself. What is kept
    /// between runs is opened as `user`.
    ///
    /// # Errors
    /// When something cannot be opened or read. A wrong access list or key file is found before
    /// the other process stops.
    pub fn open(
        settings: &Settings,
        cores: &[usize],
        broker: Option<Broker>,
        user: &FutureUser,
    ) -> Result<Self, StartupError> {
        let broker_pid = broker.as_ref().map(Broker::pid);
        let broker_health = broker.as_ref().map(Broker::health);
        let policy = settings.tracker.as_ref().map(read_policy).transpose()?;
        let (state, mut inherited) = open_state(settings, cores.len(), user)?;
        let clock = Clock::start();
        let open_tracker = |(config, policy)| {
            let context = TrackerContext {
                settings,
                policy,
                state: state.as_ref(),
                user,
                inherited: inherited.as_mut(),
                clock,
                workers: cores.len(),
            };
            OpenTracker::open(config, context)
        };
        let tracker = settings.tracker.as_ref().zip(policy).map(open_tracker).transpose()?;
        let plans = plan_workers(settings, cores, tracker.as_ref())?;
        let factory: Box<dyn SocketFactory> = match broker {
            Some(broker) => Box::new(broker),
            None => Box::new(OwnSockets),
        };
        let open_relay = |relay| open_relay(relay, &plans, factory, inherited.unwrap_or_default());
        let relay = settings.relay.as_ref().map(open_relay).transpose()?;
        Ok(Self { plans, clock, tracker, relay, broker_health, broker_pid, state })
    }

    /// The workers as other threads see them.
    pub(super) fn worker_views(&self) -> Vec<WorkerView> {
        let view = |plan: &WorkerPlan| WorkerView {
            core: plan.core,
            counters: Arc::clone(&plan.counters),
            control: Arc::clone(&plan.control),
        };
        self.plans.iter().map(view).collect()
    }
}

fn open_relay(
    settings: &RelaySettings,
    plans: &[WorkerPlan],
    factory: Box<dyn SocketFactory>,
    inherited: Inherited,
) -> Result<OpenRelay, RelayError> {
    let tables: Vec<Arc<SharedTable>> = plans.iter().map(|_| Arc::default()).collect();
    let workers = plans.iter().zip(&tables).map(|(plan, shared)| RelayWorker {
        sockets: Arc::clone(&plan.table),
        control: Arc::clone(&plan.control),
        shared: Arc::clone(shared),
        counters: Arc::clone(&plan.counters),
    });
    let control = RelayControl::new(settings.clone(), workers.collect(), factory, inherited)?;
    Ok(OpenRelay { control, tables })
}

fn plan_workers(
    settings: &Settings,
    cores: &[usize],
    tracker: Option<&OpenTracker>,
) -> Result<Vec<WorkerPlan>, StartupError> {
    let sizes = settings.relay.as_ref().map_or(LoopSizes::TRACKER, relay_sizes);
    let plan = |(index, core): (usize, &usize)| {
        let control =
            WorkerControl::new(settings.shutdown_timeout).map_err(StartupError::Control)?;
        let sockets: &[Arc<BoundSocket>] =
            tracker.map_or(&[], |tracker| &tracker.sockets_by_worker[index]);
        let sockets = sockets.iter().map(|socket| Arc::clone(socket) as Arc<dyn LoopSocket>);
        Ok(WorkerPlan {
            index,
            core: Some(*core),
            table: Arc::new(SocketTable::new(ServiceId::Tracker, sockets)),
            counters: Arc::new(Counters::default()),
            control: Arc::new(control),
            features: RingFeatures::ALL.but(settings.io_uring_without),
            sizes,
        })
    };
    cores.iter().enumerate().map(plan).collect()
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

/// Enough for an iteration of single datagrams at the usual fan-out; what finds no slot waits for
/// the next.
const RELAY_SEND_SLOTS: u16 = 4096;
