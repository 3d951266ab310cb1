//! The relay's control side: what the rules need is opened, registered with the workers, and
//! followed as interfaces and rules change.
//!
//! Everything is one reconciliation: its `refresh` compares what there should be with
//! what there is. A change goes through in an order that loses nothing of other flows: new
//! sockets are registered, the workers apply the table that names them, and only then are old
//! ones deregistered. What changed rules need is opened before any of that, on the side, so that
//! rules that cannot be served change nothing.

mod change;
mod context;
mod inputs;
mod outputs;
mod registration;
mod report;
mod socket_factory;
mod view;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};

pub use context::RelayWorker;
pub use report::{RelayFigures, RelayReporter, RuleFigures};
pub use socket_factory::{OwnSockets, SocketFactory};
pub use view::{OutputView, RelayView, RuleView};

use self::context::OpenContext;
use self::inputs::Inputs;
use self::outputs::OutputEntry;
use super::stats::FlowCounters;
use super::table::{RelayTable, TableRule};
use super::{Dscp, RelaySettings, Rule, Ttl};
use crate::io::SocketId;
use crate::sys::egress::EgressError;
use crate::sys::fd_bundle::{FdBundle, Inherited};
use crate::sys::link_watch::LinkWatch;
use crate::sys::packet_socket::PacketError;

/// Why the relay cannot start, or rules cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Interfaces cannot be followed.
    #[error("cannot follow network interfaces")]
    Watch(#[source] io::Error),
    /// This host has no packet sockets.
    #[error("cannot receive frames")]
    Packet(#[from] PacketError),
    /// An output cannot be opened, though its interface is there.
    #[error("cannot send")]
    Output(#[from] EgressError),
}

/// The relay as the control thread sees it.
pub struct RelayControl {
    settings: RelaySettings,
    workers: Vec<RelayWorker>,
    /// Frame buffers in use in each worker.
    frame_buffers: usize,
    watch: LinkWatch,
    factory: Box<dyn SocketFactory>,
    /// What the process before this one handed over, until the first table is out.
    inherited: Inherited,
    inputs: Inputs,
    rules: Vec<RuleEntry>,
    generation: u64,
    next_tag: u32,
    /// Whether the workers run and can be waited for.
    running: bool,
    /// Sockets that the next table does not name any more: worker and ID.
    retired: Vec<(usize, SocketId)>,
    view: Arc<ArcSwap<RelayView>>,
}

/// Whether a table is published when nothing was opened or closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Publish {
    Always,
    Changes,
}

/// A rule and what belongs to it.
struct RuleEntry {
    rule: Rule,
    /// Per worker.
    counters: Vec<Arc<FlowCounters>>,
    outputs: Vec<OutputEntry>,
}

impl RelayControl {
    /// Opens what the rules need, through `factory`, and publishes the first table, before the
    /// workers run. Packet sockets that are `inherited` are used where they fit; what is left of
    /// those is closed when everything is open and joined.
    ///
    /// # Errors
    /// When packet sockets are not permitted or interfaces cannot be followed. An interface that
    /// does not exist yet is a warning.
    pub fn new(
        settings: RelaySettings,
        workers: Vec<RelayWorker>,
        factory: Box<dyn SocketFactory>,
        inherited: Inherited,
    ) -> Result<Self, RelayError> {
        let rules = settings.rules.clone();
        let mut control = Self {
            settings,
            frame_buffers: 0,
            workers,
            watch: LinkWatch::start().map_err(RelayError::Watch)?,
            factory,
            inherited,
            inputs: Inputs::default(),
            rules: Vec::new(),
            generation: 0,
            next_tag: 0,
            running: false,
            retired: Vec::new(),
            view: Arc::default(),
        };
        control.take_rules(rules, Vec::new());
        control.refresh(Publish::Always)?;
        control.inherited = Inherited::default();
        control.running = true;
        Ok(control)
    }

    /// The rules in force.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|entry| &entry.rule)
    }

    /// What other threads see of it: the view in there is replaced with every change.
    pub fn view(&self) -> Arc<ArcSwap<RelayView>> {
        Arc::clone(&self.view)
    }

    /// The present view.
    fn make_view(&self) -> RelayView {
        let rule = |entry: &RuleEntry| RuleView {
            rule: entry.rule.clone(),
            receiving: self.inputs.key(&entry.rule.input, 0).is_some(),
            down: self.inputs.why_down(&entry.rule.input).map(str::to_owned),
            counters: entry.counters.clone(),
            outputs: entry.outputs.iter().map(OutputEntry::view).collect(),
        };
        RelayView {
            rules: self.rules.iter().map(rule).collect(),
            latency: self.settings.latency,
            workers: self.workers.clone(),
            kernel_drops: self.inputs.kernel_drops(),
        }
    }

    /// What a successor goes on with, once the workers have stopped.
    pub fn bundles(&self) -> Vec<FdBundle<BorrowedFd<'_>>> {
        self.inputs.bundles().collect()
    }

    /// Leaves what was handed over to a successor.
    pub fn leave_to_successor(&self) {
        self.inputs.leave_to_successor();
    }

    /// Looks what happened to interfaces, and opens or closes what that asks for.
    ///
    /// # Errors
    /// When news were lost and cannot be read again. The next call tries again.
    pub fn follow_links(&mut self) -> Result<(), RelayError> {
        let events = self.watch.drain().map_err(RelayError::Watch)?;
        if events.is_empty() {
            return Ok(());
        }
        self.inputs.note(&events);
        self.refresh(Publish::Changes)
    }

    /// Tries again what could not be opened, such as an output without a route, and looks whether
    /// sends fail.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn retry(&mut self) -> Result<(), RelayError> {
        let outputs = self.rules.iter_mut().flat_map(|entry| &mut entry.outputs);
        outputs.for_each(OutputEntry::look_at_sends);
        let down = self.rules.iter().flat_map(|entry| &entry.outputs).any(OutputEntry::is_down);
        if down || self.inputs.is_incomplete() {
            return self.refresh(Publish::Changes);
        }
        Ok(())
    }

    /// Readable when [`Self::broker_ended`] has something to return; `None` without a broker that
    /// runs.
    pub fn broker_end(&self) -> Option<BorrowedFd<'_>> {
        self.factory.end()
    }

    /// How the socket broker ended, once, if it did.
    pub fn broker_ended(&mut self) -> Option<String> {
        self.factory.ended()
    }

    /// Has as many frame buffers in use as the largest fan-out asks for, and never fewer than
    /// before: the kernel does not give back what it was provided.
    fn widen_pools(&mut self) {
        let needed = usize::from(self.settings.frame_buffers_per_worker());
        if needed <= self.frame_buffers {
            return;
        }
        if self.running {
            info!(frame_buffers = needed, before = self.frame_buffers, "more frame buffers in use");
        }
        self.frame_buffers = needed;
        self.workers.iter().for_each(|worker| worker.sockets.set_frame_buffers(needed));
    }

    /// Opens and registers what there should be, and deregisters what there should not.
    fn refresh(&mut self, publish: Publish) -> Result<(), RelayError> {
        let refreshed = self.reconcile(publish);
        let mut outputs = self.rules.iter().flat_map(|entry| &entry.outputs);
        if self.inputs.lacks_room() || outputs.any(OutputEntry::lacks_room) {
            // There is room where others were deregistered.
            return self.reconcile(Publish::Changes);
        }
        refreshed
    }

    fn reconcile(&mut self, publish: Publish) -> Result<(), RelayError> {
        let before = self.sockets();
        let rules = self.rules.iter().map(|entry| &entry.rule);
        let mut context = OpenContext {
            watch: &self.watch,
            settings: &self.settings,
            workers: &self.workers,
            factory: &mut *self.factory,
            inherited: &mut self.inherited,
        };
        let opened = self.inputs.refresh(rules, &mut context, &mut self.retired);
        for entry in self.rules.iter_mut().flat_map(|entry| &mut entry.outputs) {
            entry.refresh(&mut context, &mut self.retired);
        }
        // A socket that was replaced has been retired.
        if publish == Publish::Always || !self.retired.is_empty() || before != self.sockets() {
            self.publish();
        }
        self.view.store(Arc::new(self.make_view()));
        Ok(opened?)
    }

    /// How many sockets there are.
    fn sockets(&self) -> usize {
        let outputs = self.rules.iter().flat_map(|entry| &entry.outputs);
        self.inputs.sockets() + outputs.map(OutputEntry::sockets).sum::<usize>()
    }

    fn publish(&mut self) {
        // Until the loops know the new sockets, the old table is right.
        self.wait("take new sockets", |worker| {
            worker.sockets.wait_applied(worker.sockets.version(), WORKER_WAIT)
        });
        self.generation += 1;
        for (index, worker) in self.workers.iter().enumerate() {
            worker.shared.publish(self.table_of(index));
        }
        let generation = self.generation;
        self.wait("take up the rules", |worker| worker.shared.wait_seen(generation, WORKER_WAIT));
        for (worker, id) in self.retired.drain(..) {
            self.workers[worker].sockets.deregister(id);
            self.workers[worker].control.wake();
        }
    }

    /// Waits until all workers have done something, with a bound: a worker that is restarting
    /// catches up by itself. `is_done` waits for one worker, up to [`WORKER_WAIT`].
    fn wait(&self, what: &str, is_done: impl Fn(&RelayWorker) -> bool) {
        if !self.running {
            return;
        }
        self.workers.iter().for_each(|worker| worker.control.wake());
        let mut waits = 0;
        for worker in &self.workers {
            while !is_done(worker) {
                waits += 1;
                if waits == WORKER_WAITS_MAX {
                    return warn!("a worker takes long to {what}");
                }
            }
        }
    }

    /// Fragments wait for others that may never come: most buffers are left to whole frames.
    fn fragments_held_max(&self) -> usize {
        let any_ipv6 = self.rules().any(|rule| rule.input.endpoint.address.is_ipv6());
        if any_ipv6 { self.frame_buffers / FRAGMENTS_SHARE } else { 0 }
    }

    fn table_of(&self, worker: usize) -> RelayTable {
        let mut table = RelayTable {
            generation: self.generation,
            offload: self.settings.offload,
            latency: self.settings.latency,
            fragments_held_max: self.fragments_held_max(),
            ..RelayTable::default()
        };
        for (index, entry) in self.rules.iter().enumerate() {
            if let Some(key) = self.inputs.key(&entry.rule.input, worker) {
                table.inputs.entry(key).or_default().push(index);
            }
            let any = |keeps: fn(&OutputEntry) -> bool| entry.outputs.iter().any(keeps);
            table.rules.push(TableRule {
                keeps_ttl: any(|output| output.output.ttl == Ttl::Keep),
                keeps_dscp: any(|output| output.output.dscp == Dscp::Keep),
                sources: entry.rule.input.sources.clone().into(),
                counters: Arc::clone(&entry.counters[worker]),
                outputs: entry.outputs.iter().map(|output| output.in_table(worker)).collect(),
            });
        }
        table
    }
}

impl AsFd for RelayControl {
    /// Readable when [`Self::follow_links`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// The part of the frame buffers that fragments of IPv6 datagrams may hold: one in so many.
const FRAGMENTS_SHARE: usize = 4;

/// A tick is 100 ms; a worker that has not caught up in a second is busy restarting. The second is
/// made of several waits: on a machine that was suspended the worker was, too, and gets the rest.
const WORKER_WAITS_MAX: u32 = 10;
const WORKER_WAIT: Duration = Duration::from_millis(100);
