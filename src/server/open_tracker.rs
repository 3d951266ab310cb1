//! The tracker's part of the first stage: swarms, policy and sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use super::api::view::TrackerView;
use super::config::{AccessConfig, Settings, TrackerConfig};
use super::error::StartupError;
use super::listen_sockets::{adopt_or_bind, distribute, warn_of_small_buffers};
use super::memory_limit;
use super::persist::StateDirectory;
use super::persist::persister::PersistConfig;
use super::persist::sizes::SharedSizes;
use super::persist::swarms::load_or_set_aside;
use super::sandbox::FutureUser;
use super::state::connection_key;
use crate::io::clock::Clock;
use crate::sys::fd_bundle::Inherited;
use crate::sys::socket::{BoundSocket, SocketGroup};
use crate::tracker::core::access_list::{AccessList, AccessListError};
use crate::tracker::core::policy::{Policy, SharedPolicy};
use crate::tracker::store::{Secrets, Shards};
use crate::tracker::udp::connection_id::ConnectionIds;

/// The tracker, ready to serve.
pub(super) struct OpenTracker {
    pub(super) shards: Arc<Shards>,
    pub(super) policy: SharedPolicy,
    pub(super) ids: ConnectionIds,
    /// The sockets of each worker, one for each address.
    pub(super) sockets_by_worker: Vec<Vec<Arc<BoundSocket>>>,
    /// What is saved and exported, and where.
    pub(super) persist: PersistConfig,
    addresses: Vec<SocketAddr>,
    steered: bool,
    steering: &'static str,
}

/// What the tracker is opened with, besides its settings.
pub(super) struct TrackerContext<'a> {
    pub(super) settings: &'a Settings,
    pub(super) policy: SharedPolicy,
    pub(super) state: Option<&'a StateDirectory>,
    pub(super) user: &'a FutureUser,
    pub(super) inherited: Option<&'a mut Inherited>,
    pub(super) clock: Clock,
    pub(super) workers: usize,
}

impl OpenTracker {
    /// Makes the shards and fills them with the swarms that were saved, and opens a socket for
    /// each address and worker, or takes those of the process before this one.
    pub(super) fn open(
        config: &TrackerConfig,
        context: TrackerContext<'_>,
    ) -> Result<Self, StartupError> {
        let TrackerContext { settings, policy, state, user, inherited, clock, workers } = context;
        let key = connection_key(config, state, user)?;
        let secrets = Secrets::random().map_err(StartupError::Secrets)?;
        let memory_bytes = memory_limit::of_swarms(config, workers);
        let shards = Arc::new(Shards::with_memory(workers, &secrets, memory_bytes));
        // What clients send from here on waits in the sockets.
        let groups = adopt_or_bind(config, &shards, inherited)?;
        let persist = persist_config(settings, config, state);
        if let Some(path) = &persist.swarms {
            user.act(|| load_or_set_aside(path, &shards, &config.settings, clock.now()))?;
        }
        warn_of_small_buffers(&groups, config);
        let steered = groups.iter().all(|group| group.steered);
        Ok(Self {
            shards,
            policy,
            ids: ConnectionIds::new(key, config.settings.connection_lifetime_s),
            addresses: groups.iter().map(address_of).collect(),
            sockets_by_worker: distribute(groups, workers),
            persist,
            steered,
            steering: steering_state(config, workers, steered),
        })
    }

    /// The tracker as other threads see it.
    pub(super) fn view(&self) -> TrackerView {
        TrackerView {
            addresses: self.addresses.clone(),
            steered: self.steered,
            steering: self.steering,
            sockets: self.sockets_by_worker.concat(),
            policy: self.policy.clone(),
            shards: Arc::clone(&self.shards),
            torrent_sizes: Arc::clone(&self.persist.sizes),
        }
    }
}

/// The bound address, with the port that was chosen where 0 was asked for.
fn address_of(group: &SocketGroup) -> SocketAddr {
    group.sockets[0].address()
}

fn steering_state(config: &TrackerConfig, workers: usize, steered: bool) -> &'static str {
    match (workers, config.steering, steered) {
        (1, _, _) => "not needed",
        (_, false, _) => "off",
        (_, true, true) => "on",
        (_, true, false) => "refused",
    }
}

/// What is saved and exported, and where.
fn persist_config(
    settings: &Settings,
    config: &TrackerConfig,
    state: Option<&StateDirectory>,
) -> PersistConfig {
    let state = state.filter(|_| settings.state.swarms);
    PersistConfig {
        swarms: state.map(StateDirectory::swarms),
        save_interval: settings.state.save_interval,
        export: settings.export.file.clone(),
        export_interval: settings.export.interval,
        sizes: SharedSizes::default(),
        sizes_interval: config.torrent_sizes_interval,
    }
}

/// The access list that is configured; an empty one that serves everything when none is.
pub(crate) fn load_access(access: Option<&AccessConfig>) -> Result<AccessList, AccessListError> {
    match access {
        None => Ok(AccessList::default()),
        Some(AccessConfig { mode, file }) => AccessList::load(file, *mode),
    }
}

/// The policy to start with, and a secret that places sources in the tables of its limits.
pub(super) fn read_policy(config: &TrackerConfig) -> Result<SharedPolicy, StartupError> {
    let access = load_access(config.access.as_ref())?;
    let random = || getrandom::u64().map_err(StartupError::Secrets);
    let limits_key = [random()?, random()?];
    Ok(SharedPolicy::new(Policy { settings: config.settings.clone(), access }, limits_key))
}
