//! One output of a rule: a socket for each worker, opened anew when its interface
//! changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::context::OpenContext;
use super::registration::{NO_ROOM, Registration, register_with_all};
use super::view::OutputView;
use crate::io::SocketId;
use crate::relay::stats::{FlowSnapshot, RelayDrop};
use crate::relay::table::{OutputState, TableOutput};
use crate::relay::{Dscp, Output, Ttl};
use crate::sys::egress::{EgressError, EgressOptions, EgressSocket};
use crate::sys::interface::Interface;
use crate::telemetry::log::LogOnChange;

/// An output and what belongs to it.
pub(super) struct OutputEntry {
    pub(super) output: Output,
    /// Per worker.
    pub(super) states: Vec<Arc<OutputState>>,
    /// Per worker; empty while the output is down.
    sockets: Registration<EgressSocket>,
    /// The interface as it was when the sockets were opened.
    made_for: Option<Interface>,
    /// Sockets per worker that are open and not registered yet, and the interface they were opened
    /// for.
    ready: Option<(Interface, Vec<Arc<EgressSocket>>)>,
    /// What was last said about why it is down.
    failure: LogOnChange,
    /// What it had sent when its sends were looked at last.
    seen: FlowSnapshot,
    /// Whether it was told that the kernel refuses its sends.
    refused: bool,
}

impl OutputEntry {
    /// The output as other threads see it.
    pub(super) fn view(&self) -> OutputView {
        OutputView {
            output: self.output.clone(),
            down: self.why_down().map(str::to_owned),
            states: self.states.clone(),
        }
    }

    pub(super) fn new(output: Output, tag: u32, workers: usize) -> Self {
        let state = |_| Arc::new(OutputState { tag, ..OutputState::default() });
        Self {
            output,
            states: (0..workers).map(state).collect(),
            sockets: Vec::new(),
            made_for: None,
            ready: None,
            failure: LogOnChange::default(),
            seen: FlowSnapshot::default(),
            refused: false,
        }
    }

    /// Its own number among all outputs that there ever were.
    pub(super) fn tag(&self) -> u32 {
        self.states.first().map_or(0, |state| state.tag)
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_down(&self) -> bool {
        self.sockets.is_empty()
    }

    /// What was last said about why it is down, while it is.
    pub(super) fn why_down(&self) -> Option<&str> {
        self.is_down().then(|| self.failure.reason().unwrap_or("not open yet"))
    }

    /// Whether it is open and waits for room in a worker's loop.
    pub(super) fn lacks_room(&self) -> bool {
        self.ready.is_some()
    }

    /// Opens the sockets of an output that is new; [`Self::refresh`] registers them.
    ///
    /// # Errors
    /// When they cannot be opened, and that is not for the interface or its addresses to mend:
    /// those come and go.
    pub(super) fn prepare(&mut self, context: &mut OpenContext<'_>) -> Result<(), EgressError> {
        let name = &self.output.endpoint.interface;
        let Some(interface) = context.watch.find(name).filter(|interface| interface.up) else {
            return Ok(());
        };
        match self.open(interface, context) {
            Ok(sockets) => self.ready = Some((interface.clone(), sockets)),
            Err(error) if error.may_pass() || !is_up(interface) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Opens, opens anew or closes the sockets, as the interface asks for.
    pub(super) fn refresh(
        &mut self,
        context: &mut OpenContext<'_>,
        retired: &mut Vec<(usize, SocketId)>,
    ) {
        let name = self.output.endpoint.interface.clone();
        let interface = context.watch.find(&name).filter(|interface| interface.up);
        let absent = || format!("interface {name} is missing or down");
        if self.made_for.as_ref() == interface && !(self.is_down() && interface.is_some()) {
            if interface.is_none() {
                self.tell(absent());
            }
            return;
        }
        self.retire(retired);
        let ready = self.ready.take();
        let Some(interface) = interface else { return self.tell(absent()) };
        let sockets = match ready {
            Some((made_for, sockets)) if made_for == *interface => Ok(sockets),
            _ => self.open(interface, context),
        };
        match sockets.map(|sockets| register_with_all(context.workers, sockets)) {
            Ok(Ok(sockets)) => {
                self.sockets = sockets;
                self.made_for = Some(interface.clone());
                // What the interface refused before, with another MTU for example, it may take
                // now.
                let states = self.states.iter();
                states.for_each(|state| state.refuses_segments.store(false, Ordering::Relaxed));
                if self.failure.is_over() {
                    info!(output = %self.output.endpoint, "the output is back");
                }
            }
            Ok(Err(_)) if retired.is_empty() => self.tell(NO_ROOM.to_owned()),
            Ok(Err(sockets)) => self.ready = Some((interface.clone(), sockets)),
            // It may have gone or been set down since: news of that will follow, and are not to be
            // told as something else before.
            Err(error) => self.tell(if is_up(interface) { error.to_string() } else { absent() }),
        }
    }

    /// Opens a socket for each worker.
    fn open(
        &self,
        interface: &Interface,
        context: &mut OpenContext<'_>,
    ) -> Result<Vec<Arc<EgressSocket>>, EgressError> {
        let fixed = |mark: Dscp| if let Dscp::Set(dscp) = mark { dscp } else { 0 };
        let options = EgressOptions {
            to: self.output.endpoint.address,
            source: self.output.source,
            ttl: if let Ttl::Set(ttl) = self.output.ttl { Some(ttl) } else { None },
            dscp: fixed(self.output.dscp),
            send_buffer_bytes: context.settings.send_buffer_bytes,
        };
        let open = |_| context.factory.open_output(interface, &options).map(Arc::new);
        context.workers.iter().map(open).collect()
    }

    /// Says once why the output is down.
    fn tell(&mut self, reason: String) {
        if self.failure.is_news(&reason) {
            warn!(output = %self.output.endpoint, "the output is down: {reason}");
        }
    }

    /// Says once that the kernel refuses what is sent, though the interface is up, as it does
    /// where a route is missing or a firewall is in the way; and once that it takes it again.
    pub(super) fn look_at_sends(&mut self) {
        let counted = self.states.iter().map(|state| state.counters.snapshot());
        let now = counted.fold(FlowSnapshot::default(), FlowSnapshot::plus);
        let before = std::mem::replace(&mut self.seen, now);
        let since = |reason| now.dropped(reason).saturating_sub(before.dropped(reason));
        let (unrouted, failed) = (since(RelayDrop::OutputDown), since(RelayDrop::SendError));
        if now.packets > before.packets {
            // Some refusals beside it are of a moment, as while an address changes.
            if std::mem::take(&mut self.refused) {
                info!(output = %self.output.endpoint, "the kernel takes what is sent again");
            }
        } else if !self.is_down()
            && unrouted + failed > 0
            && !std::mem::replace(&mut self.refused, true)
        {
            warn!(
                output = %self.output.endpoint,
                output_down = unrouted,
                send_error = failed,
                "the kernel refuses what is sent: there is no route, or a firewall is in the way \
                 (`ip route get {}` and `nft list ruleset` tell)",
                self.output.endpoint.address.ip()
            );
        }
    }

    /// Gives the sockets up; they are deregistered once no table names them.
    pub(super) fn retire(&mut self, retired: &mut Vec<(usize, SocketId)>) {
        retired.extend(self.sockets.drain(..).enumerate().map(|(worker, (id, _))| (worker, id)));
        self.made_for = None;
    }

    pub(super) fn in_table(&self, worker: usize) -> TableOutput {
        let socket = self.sockets.get(worker);
        let ipv6 = self.output.endpoint.address.is_ipv6();
        TableOutput {
            socket: socket.map(|(id, _)| *id),
            to: socket.and_then(|(_, socket)| socket.to()),
            ipv6,
            segment_max: socket.map_or(0, |(_, socket)| socket.segment_bytes_max()),
            payload_max: self.output.endpoint.payload_bytes_max(),
            keep_ttl: self.output.ttl == Ttl::Keep,
            keep_dscp: self.output.dscp == Dscp::Keep,
            state: Arc::clone(&self.states[worker]),
        }
    }
}

/// Whether an interface carries packets, as the kernel has it now. It does as far as is known, when
/// the kernel cannot be asked.
fn is_up(interface: &Interface) -> bool {
    let is_same = |found: Interface| found.up && found.index == interface.index;
    Interface::find(&interface.name).map_or(true, |found| found.is_some_and(is_same))
}
