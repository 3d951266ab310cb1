//! Packet sockets, filters and memberships: one set for each interface that rules take from.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{info, warn};

use super::context::OpenContext;
use super::registration::{NO_ROOM, Registration, register_with_all};
use crate::io::SocketId;
use crate::relay::table::InputKey;
use crate::relay::{Input, Rule};
use crate::sys::fd_bundle::{FdBundle, Purpose};
use crate::sys::filter::{FrameFilter, Wanted, compile};
use crate::sys::interface::{Interface, LinkChange, LinkEvent};
use crate::sys::membership::{Membership, Memberships};
use crate::sys::packet_socket::{
    PacketError, PacketGroup, PacketSocket, adopt_receiving, segmentation_advice,
    supports_udp_segmentation,
};
use crate::telemetry::log::LogOnChange;

/// All interfaces that rules take from.
#[derive(Default)]
pub(super) struct Inputs {
    by_name: BTreeMap<String, InputInterface>,
    /// What the kernel dropped at sockets that are open and at those that were.
    drops: Arc<AtomicU64>,
}

/// What the kernel dropped, and the packet sockets that may have news of it.
#[derive(Default)]
pub(super) struct KernelDrops {
    total: Arc<AtomicU64>,
    open: Vec<Arc<PacketSocket>>,
}

impl KernelDrops {
    /// Frames that the kernel dropped because a socket's buffer was full, since the start.
    pub(super) fn read(&self) -> u64 {
        self.open.iter().for_each(|socket| socket.count_drops());
        self.total.load(Ordering::Relaxed)
    }
}

/// One interface that rules take from.
#[derive(Default)]
struct InputInterface {
    /// What rules take here, sorted.
    inputs: Vec<Input>,
    /// Per worker; empty while the interface is missing.
    sockets: Registration<PacketSocket>,
    /// Sockets per worker that are open and not registered yet.
    ready: Option<Ready>,
    index: u32,
    memberships: Option<Memberships>,
    /// What the filter in force passes.
    wanted: Vec<Wanted>,
    /// Whether it came up since the memberships were last renewed.
    came_up: bool,
    /// Why groups could not be joined, as it was told.
    unjoined: Vec<String>,
    /// What was last said about why nothing is received from it, or not all that rules take.
    failure: LogOnChange,
}

/// Packet sockets of an interface, one for each worker, that are open and not registered yet.
pub(super) struct Ready {
    index: u32,
    sockets: Vec<Arc<PacketSocket>>,
}

impl Inputs {
    /// Notes which interfaces need their memberships renewed.
    pub(super) fn note(&mut self, events: &[LinkEvent]) {
        for event in events {
            match event {
                LinkEvent::Changed { interface, change: LinkChange::Up, .. } => {
                    if let Some(input) = self.by_name.get_mut(interface) {
                        input.came_up = true;
                    }
                }
                LinkEvent::Changed { .. } => {}
                LinkEvent::Resync => {
                    self.by_name.values_mut().for_each(|input| input.came_up = true);
                }
            }
        }
    }

    /// How many sockets there are.
    pub(super) fn sockets(&self) -> usize {
        self.by_name.values().map(|input| input.sockets.len()).sum()
    }

    /// Whether something is missing that may be had later.
    pub(super) fn is_incomplete(&self) -> bool {
        let incomplete = |input: &InputInterface| {
            input.sockets.is_empty()
                || !input.unjoined.is_empty()
                || input.failure.reason().is_some()
        };
        self.by_name.values().any(incomplete)
    }

    /// Whether something is open and waits for room in a worker's loop.
    pub(super) fn lacks_room(&self) -> bool {
        self.by_name.values().any(|input| input.ready.is_some())
    }

    /// Why nothing is received for a rule, or not all that it takes.
    pub(super) fn why_down(&self, input: &Input) -> Option<&str> {
        let interface = self.by_name.get(&input.endpoint.interface);
        let failure = interface.and_then(|interface| interface.failure.reason());
        let is_open = interface.is_some_and(|interface| !interface.sockets.is_empty());
        failure.or((!is_open).then_some("not open yet"))
    }

    /// Opens what `rules` need and is not open, as far as a rule needs it that `is_new`;
    /// [`Self::refresh`] registers it.
    ///
    /// # Errors
    /// When it cannot be opened although the interface is there and up.
    pub(super) fn prepare(
        &self,
        rules: &[Rule],
        is_new: impl Fn(&Input) -> bool,
        context: &mut OpenContext<'_>,
    ) -> Result<BTreeMap<String, Ready>, PacketError> {
        let mut prepared = BTreeMap::new();
        for (name, inputs) in needed(rules.iter()) {
            let present = self.by_name.get(&name);
            let is_open = present.is_some_and(|present| !present.sockets.is_empty());
            let Some(interface) = context.watch.find(&name) else { continue };
            if is_open || !inputs.iter().any(&is_new) {
                continue;
            }
            match open(interface, &wanted(&inputs), context, &self.drops) {
                Ok(sockets) => {
                    let ready = Ready { index: interface.index, sockets };
                    prepared.insert(name, ready);
                }
                Err(error) if may_pass(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(prepared)
    }

    /// Has the next [`Self::refresh`] register what is `prepared`.
    pub(super) fn take(&mut self, prepared: BTreeMap<String, Ready>) {
        for (name, ready) in prepared {
            self.by_name.entry(name).or_default().ready = Some(ready);
        }
    }

    /// What identifies a rule's input on one worker; `None` while its interface is missing.
    pub(super) fn key(&self, input: &Input, worker: usize) -> Option<InputKey> {
        let interface = self.by_name.get(&input.endpoint.interface)?;
        let (socket, _) = interface.sockets.get(worker)?;
        Some(InputKey::new(*socket, input.endpoint.address))
    }

    /// Reads what the kernel dropped for want of room, over all interfaces.
    pub(super) fn kernel_drops(&self) -> KernelDrops {
        let sockets = self.by_name.values().flat_map(|input| &input.sockets);
        let open = sockets.map(|(_, socket)| Arc::clone(socket)).collect();
        KernelDrops { total: Arc::clone(&self.drops), open }
    }

    /// What a successor goes on with: packet sockets with what waits in them, and what holds the
    /// memberships.
    pub(crate) fn bundles(&self) -> impl Iterator<Item = FdBundle<BorrowedFd<'_>>> {
        self.by_name.iter().flat_map(|(name, input)| {
            let interface = name.clone();
            let packets = FdBundle {
                purpose: Purpose::Packets { interface, index: input.index },
                sockets: input.sockets.iter().map(|(_, socket)| socket.as_fd()).collect(),
            };
            let helpers = input.memberships.iter().flat_map(Memberships::sockets);
            let memberships =
                FdBundle { purpose: Purpose::Memberships, sockets: helpers.collect() };
            [packets, memberships]
        })
    }

    /// Leaves all that the kernel counts at packet sockets from now on to a successor.
    pub(super) fn leave_to_successor(&self) {
        let sockets = self.by_name.values().flat_map(|input| &input.sockets);
        sockets.for_each(|(_, socket)| socket.leave_to_successor());
    }

    /// Makes sockets, filters and memberships what the rules and interfaces ask for.
    pub(super) fn refresh<'a>(
        &mut self,
        rules: impl Iterator<Item = &'a Rule>,
        context: &mut OpenContext<'_>,
        retired: &mut Vec<(usize, SocketId)>,
    ) -> Result<(), PacketError> {
        let needed = needed(rules);
        self.by_name.retain(|name, input| {
            let stays = needed.contains_key(name);
            if !stays {
                input.close(retired);
            }
            stays
        });
        let mut result = Ok(());
        for (name, inputs) in needed {
            let input = self.by_name.entry(name.clone()).or_default();
            input.inputs = inputs;
            let refreshed = input.refresh(&name, context, &self.drops, retired);
            result = result.and(refreshed);
        }
        result
    }
}

impl InputInterface {
    fn refresh(
        &mut self,
        name: &str,
        context: &mut OpenContext<'_>,
        drops: &Arc<AtomicU64>,
        retired: &mut Vec<(usize, SocketId)>,
    ) -> Result<(), PacketError> {
        let ready = self.ready.take();
        let Some(interface) = context.watch.find(name) else {
            self.close(retired);
            if self.failure.is_news(MISSING) {
                warn!(interface = name, "there is no such interface yet; its rules wait for it");
            }
            return Ok(());
        };
        if self.index != interface.index {
            self.close(retired);
        }
        self.index = interface.index;
        let wanted = wanted(&self.inputs);
        if self.sockets.is_empty() {
            let opened = match ready {
                Some(ready) if ready.index == interface.index => Ok(ready.sockets),
                _ => open(interface, &wanted, context, drops),
            };
            let registered = opened.map(|sockets| register_with_all(context.workers, sockets));
            match self.take_lent(interface, registered, retired.is_empty()) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(error),
            }
        } else if (wanted != self.wanted || self.failure.reason().is_some())
            && !self.replace_filters(name, &wanted)
        {
            // Tried again with everything else that is incomplete.
            self.join(name);
            return Ok(());
        }
        self.wanted = wanted;
        self.join(name);
        Ok(())
    }

    /// Takes sockets that were opened and registered. Returns whether there are any; where they
    /// only lacked room, they are kept for another try, unless this was the `last`.
    fn take_lent(
        &mut self,
        interface: &Interface,
        registered: Result<Result<Registration<PacketSocket>, Vec<Arc<PacketSocket>>>, PacketError>,
        last: bool,
    ) -> Result<bool, PacketError> {
        let reason = match registered {
            Ok(Ok(sockets)) => {
                self.failure.is_over();
                self.sockets = sockets;
                info!(interface = interface.name, "receiving");
                return Ok(true);
            }
            Ok(Err(sockets)) if !last => {
                self.ready = Some(Ready { index: interface.index, sockets });
                return Ok(false);
            }
            Ok(Err(_)) => NO_ROOM.to_owned(),
            // It went away, or is down, since it was looked up: news of that will follow.
            Err(error) if may_pass(&error) => error.to_string(),
            Err(error) => {
                // Whoever asked for it says so.
                self.failure.is_news(&error.to_string());
                return Err(error);
            }
        };
        if self.failure.is_news(&reason) {
            let interface = &interface.name;
            warn!(interface, error = reason, "the interface cannot be received from yet");
        }
        Ok(false)
    }

    /// Has the kernel pass what is wanted now. False when it does not.
    fn replace_filters(&mut self, name: &str, wanted: &[Wanted]) -> bool {
        let filter = compile(wanted);
        let mut sockets = self.sockets.iter();
        match sockets.try_for_each(|(_, socket)| socket.replace_filter(&filter)) {
            Ok(()) => {
                if self.failure.is_over() {
                    info!(interface = name, "the filter is replaced");
                }
                true
            }
            Err(error) => {
                let reason = format!("the filter of before stays: {error}");
                if self.failure.is_news(&reason) {
                    warn!(interface = name, "{reason}");
                }
                false
            }
        }
    }

    /// Joins what rules take and leaves what none takes any more.
    fn join(&mut self, name: &str) {
        let mut memberships = match self.memberships.take() {
            Some(memberships) => memberships,
            None => Memberships::new(self.index),
        };
        if std::mem::take(&mut self.came_up) {
            // What fails is tried, and told, below.
            let _ = memberships.rejoin(self.index);
        }
        let wanted: Vec<Membership> = self.inputs.iter().flat_map(memberships_of).collect();
        let unwanted: Vec<_> =
            memberships.wanted().filter(|joined| !wanted.contains(joined)).copied().collect();
        unwanted.into_iter().for_each(|membership| memberships.leave(membership));
        let join = |membership| memberships.join(membership).err().map(|error| error.to_string());
        let mut unjoined: Vec<String> = wanted.into_iter().filter_map(join).collect();
        if !unjoined.is_empty() && is_gone(name, self.index) {
            // That has yet to be followed, and is told then.
            unjoined.clear();
        }
        for error in unjoined.iter().filter(|error| !self.unjoined.contains(error)) {
            warn!(interface = name, %error, "a group cannot be joined");
        }
        if unjoined.is_empty() && !self.unjoined.is_empty() {
            info!(interface = name, "all groups are joined");
        }
        self.unjoined = unjoined;
        self.memberships = Some(memberships);
    }

    fn close(&mut self, retired: &mut Vec<(usize, SocketId)>) {
        retired.extend(self.sockets.drain(..).enumerate().map(|(worker, (id, _))| (worker, id)));
        self.memberships = None;
        self.index = 0;
    }
}

/// What rules need of each interface.
fn needed<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeMap<String, Vec<Input>> {
    let mut needed: BTreeMap<String, Vec<Input>> = BTreeMap::new();
    for rule in rules {
        let interface = rule.input.endpoint.interface.clone();
        needed.entry(interface).or_default().push(rule.input.clone());
    }
    needed
}

/// What a filter has to pass for these inputs.
fn wanted(inputs: &[Input]) -> Vec<Wanted> {
    let address = |input: &Input| input.endpoint.address;
    let mut wanted: Vec<_> = inputs
        .iter()
        .map(address)
        .map(|address| Wanted { address: address.ip(), port: address.port() })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Opens a packet socket for each worker.
fn open(
    interface: &Interface,
    wanted: &[Wanted],
    context: &mut OpenContext<'_>,
    drops: &Arc<AtomicU64>,
) -> Result<Vec<Arc<PacketSocket>>, PacketError> {
    let bytes = context.settings.receive_buffer_bytes;
    let (workers, filter) = (context.workers, compile(wanted));
    let group = match inherited(interface, context, &filter) {
        Some(group) => group,
        None => context.factory.open_group(interface, workers.len(), bytes, &filter)?,
    };
    if let Some(granted) = group.receive_buffer_short {
        warn!(
            interface = interface.name,
            "the kernel grants a receive buffer of {granted} bytes instead of {bytes}; bursts \
             may be lost; allow more with `sysctl -w net.core.rmem_max={bytes}`"
        );
    }
    if !supports_udp_segmentation() {
        warn!(
            "this kernel cannot hand over super-packets; run `{}`",
            segmentation_advice(&interface.name)
        );
    }
    let mut sockets = Vec::with_capacity(workers.len());
    for socket in group.sockets {
        if let Err(error) = socket.stamp_arrivals(context.settings.latency)
            && context.settings.latency
        {
            warn!(interface = interface.name, %error, "latency cannot be measured here");
        }
        sockets.push(Arc::new(socket.counting_drops_in(drops)));
    }
    Ok(sockets)
}

/// Whether it is over once the interface comes back, or up.
const fn may_pass(error: &PacketError) -> bool {
    matches!(error, PacketError::Missing { .. } | PacketError::Down { .. })
}

const MISSING: &str = "there is no such interface yet";

/// The packet sockets of the process before this one, with what waits in them, where they are of
/// use here.
fn inherited(
    interface: &Interface,
    context: &mut OpenContext<'_>,
    filter: &FrameFilter,
) -> Option<PacketGroup> {
    let bytes = context.settings.receive_buffer_bytes;
    let anew = |reason: &dyn std::fmt::Display| {
        warn!(
            interface = interface.name,
            "the packet sockets of the process before this one are not taken, and what waits in \
             them is lost: {reason}"
        );
    };
    match context.inherited.take_packets(interface, context.workers.len()) {
        Ok(None) => None,
        Ok(Some(sockets)) => adopt_receiving(interface, sockets, bytes, filter)
            .inspect(|_| info!(interface = interface.name, "packet sockets taken over"))
            .inspect_err(|error| anew(error))
            .ok(),
        Err(reason) => {
            anew(&reason);
            None
        }
    }
}

/// Whether an interface of this name and index is not there any more.
fn is_gone(name: &str, index: u32) -> bool {
    Interface::find(name).is_ok_and(|found| found.is_none_or(|found| found.index != index))
}

fn memberships_of(input: &Input) -> impl Iterator<Item = Membership> {
    let group = input.endpoint.address.ip();
    let any = input.sources.is_empty().then_some(None);
    let sources = input.sources.iter().copied().map(Some);
    let multicast = group.is_multicast();
    any.into_iter()
        .chain(sources)
        .filter(move |_| multicast)
        .map(move |source| Membership { group, source })
}
