//! What everything that opens sockets is given: the workers, and where sockets come from.

use std::sync::Arc;

use super::socket_factory::SocketFactory;
use crate::io::WorkerControl;
use crate::io::socket_table::SocketTable;
use crate::relay::RelaySettings;
use crate::relay::table::SharedTable;
use crate::sys::fd_bundle::Inherited;
use crate::sys::link_watch::LinkWatch;
use crate::telemetry::Counters;

/// How `main` reaches one worker's relay.
#[derive(Clone, Debug)]
pub struct RelayWorker {
    /// The sockets registered with its loop.
    pub sockets: Arc<SocketTable>,
    /// Wakes it.
    pub control: Arc<WorkerControl>,
    /// The current rules.
    pub shared: Arc<SharedTable>,
    /// What its loop counts.
    pub counters: Arc<Counters>,
}

/// What sockets are opened from.
pub(super) struct OpenContext<'a> {
    pub(super) watch: &'a LinkWatch,
    pub(super) settings: &'a RelaySettings,
    pub(super) workers: &'a [RelayWorker],
    pub(super) factory: &'a mut dyn SocketFactory,
    pub(super) inherited: &'a mut Inherited,
}
