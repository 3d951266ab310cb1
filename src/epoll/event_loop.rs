//! The loop: wait, receive and handle, flush, send.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::receive::RecvBatch;
use super::sockets::{Ready, Sockets};
use super::transmit::{QueueTransmit, SendQueue};
use crate::io::clock::{Clock, wall_ns};
use crate::io::socket_table::SocketKind;
use crate::io::transmit::end_forward;
use crate::io::{Discard, EventLoop, FRAME_BYTES_MAX, Failures, WorkerPlan, run};
use crate::io::{Dispatch, Now, ServiceId, SocketId};
use crate::sys::address::CONTROL_BYTES;
use crate::sys::errno;
use crate::telemetry::{Counter, Counters, DropReason, LoopGauges};

/// One worker's epoll loop. Built, run and dropped on the worker's own thread.
pub struct EpollLoop {
    pub(super) sockets: Sockets,
    pub(super) datagrams: RecvBatch,
    /// Made when the first packet socket is registered.
    pub(super) frames: Option<RecvBatch>,
    pub(super) send_path: SendPath,
    plan: WorkerPlan,
    clock: Clock,
    receive_failures: Failures,
    /// Set while a handler has a packet, so that a panic can be accounted for.
    handling: bool,
    /// The same for a frame.
    handling_frame: bool,
}

/// What sends, apart from what receives, so that the services can have the one while the other
/// holds its packet.
pub(super) struct SendPath {
    pub(super) queue: SendQueue,
    counters: Arc<Counters>,
}

impl SendPath {
    fn transmit<'a>(&'a mut self, sockets: &'a Sockets) -> QueueTransmit<'a> {
        QueueTransmit { queue: &mut self.queue, sockets, counters: &self.counters }
    }

    /// Sends what waits and tells the handler how its forwards ended, which may send again.
    fn send(&mut self, sockets: &Sockets, services: &mut impl Dispatch, now: Now) {
        for _ in 0..SEND_ROUNDS_MAX {
            if self.queue.is_idle() {
                return;
            }
            self.queue.send_all(sockets, &self.counters);
            let ended_count = self.queue.ended();
            for _ in 0..ended_count {
                let Some((slot, result)) = self.queue.take_ended() else { break };
                end_forward(&mut self.transmit(sockets), slot, result, services, now);
            }
            if ended_count > 0 {
                services.on_flush(now, &mut self.transmit(sockets));
            }
        }
    }
}

impl EpollLoop {
    /// # Errors
    /// When the kernel gives no epoll, or no memory for the pools.
    pub fn new(plan: WorkerPlan, clock: Clock) -> io::Result<Self> {
        let sizes = &plan.sizes;
        let queue = SendQueue::new(sizes)?;
        let mut datagrams = RecvBatch::new(sizes.receive_buffers, sizes.receive_payload_bytes)?;
        datagrams.widen(usize::from(sizes.receive_buffers));
        Ok(Self {
            sockets: Sockets::new(Arc::clone(&plan.table), &plan.control, sizes.sockets)?,
            datagrams,
            frames: None,
            send_path: SendPath { queue, counters: Arc::clone(&plan.counters) },
            plan,
            clock,
            receive_failures: Failures::of("receives"),
            handling: false,
            handling_frame: false,
        })
    }

    /// Serves packets until the control asks to stop, then sends what was answered.
    ///
    /// An error means that the epoll itself is broken; the caller builds a new loop.
    pub fn run(&mut self, services: &mut impl Dispatch) -> io::Result<()> {
        run(self, services)
    }

    fn catch_up(&mut self) -> io::Result<()> {
        // What is queued means the sockets as they were.
        if self.sockets.is_behind() && self.send_path.queue.is_idle() {
            self.sockets.catch_up()?;
            if self.frames.is_none() && self.sockets.have_frames() {
                self.frames = Some(RecvBatch::new(self.plan.sizes.frame_buffers, FRAME_BYTES_MAX)?);
            }
            if let Some(frames) = &mut self.frames {
                frames.widen(self.plan.table.frame_buffers());
            }
        }
        Ok(())
    }

    /// Takes a batch from a socket and handles all of it.
    fn receive(&mut self, id: SocketId, services: &mut impl Dispatch, now: Now) -> io::Result<()> {
        let Some((kind, service, descriptor)) = self.sockets.get(id) else { return Ok(()) };
        if !self.has_room(kind) {
            // Most of it waits in batches that the handler holds open, or to be sent.
            self.flush(services, now);
        }
        if !self.has_room(kind) {
            // The handler keeps it. Asking over and over again would not bring it back.
            return self.sockets.rest(id);
        }
        let (batch, control_bytes) = match kind {
            SocketKind::SendOnly => return Ok(()),
            SocketKind::Datagrams => (&mut self.datagrams, 0),
            SocketKind::DatagramsWithPacketInfo => (&mut self.datagrams, CONTROL_BYTES),
            SocketKind::Frames => match &mut self.frames {
                Some(frames) => (frames, CONTROL_BYTES),
                None => return Ok(()),
            },
        };
        self.plan.counters.count(Counter::ReceiveRearms);
        match batch.receive(id, descriptor, control_bytes) {
            Ok(_) if kind == SocketKind::Frames => self.handle_frames(service, services, now),
            Ok(_) => self.handle_datagrams(service, services, now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.plan.counters.count(Counter::ReceiveErrors);
                self.receive_failures.note(-errno::number(&error));
                self.sockets.rest(id)?;
            }
        }
        Ok(())
    }

    /// Whether a buffer is empty for what a socket of this kind receives.
    fn has_room(&self, kind: SocketKind) -> bool {
        match kind {
            SocketKind::SendOnly => true,
            SocketKind::Datagrams | SocketKind::DatagramsWithPacketInfo => {
                self.datagrams.has_room()
            }
            SocketKind::Frames => self.frames.as_ref().is_some_and(RecvBatch::has_room),
        }
    }

    /// Has the handler close what it holds open, and sends all there is.
    fn flush(&mut self, services: &mut impl Dispatch, now: Now) {
        let Self { sockets, send_path, .. } = self;
        services.on_flush(now, &mut send_path.transmit(sockets));
        send_path.send(sockets, services, now);
        if services.awaits_submission() {
            services.on_submitted(wall_ns());
        }
    }

    fn handle_datagrams(&mut self, service: ServiceId, services: &mut impl Dispatch, now: Now) {
        let Self { sockets, datagrams, send_path, plan, handling, .. } = self;
        *handling = true;
        while let Some((arrival, buffer)) = datagrams.take() {
            if let Some(packet) = arrival.datagram(&buffer, &plan.counters) {
                services.on_datagram(service, now, &packet, &mut send_path.transmit(sockets));
            }
        }
        *handling = false;
    }

    /// Handles frames; those whose sends might find no slot wait until what is queued has left.
    fn handle_frames(&mut self, service: ServiceId, services: &mut impl Dispatch, now: Now) {
        let Self { sockets, frames: Some(frames), send_path, plan, handling_frame, .. } = self
        else {
            return;
        };
        while let Some((arrival, buffer)) = frames.take() {
            plan.counters.count(Counter::FramesReceived);
            if !send_path.queue.slots.have_room_for(services.sends_per_frame_max()) {
                send_path.send(sockets, services, now);
            }
            *handling_frame = true;
            services.on_frame(
                service,
                now,
                &arrival.frame(&buffer),
                &mut send_path.transmit(sockets),
            );
            *handling_frame = false;
        }
    }
}

impl EventLoop for EpollLoop {
    fn plan(&self) -> &WorkerPlan {
        &self.plan
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn iterate(&mut self, services: &mut impl Dispatch, deadline: Now) -> io::Result<Now> {
        self.catch_up()?;
        let wait = deadline.since_epoch().saturating_sub(self.now().since_epoch());
        let idle = self.send_path.queue.is_idle() && !services.has_messages();
        let ready = self.sockets.wait(if idle { wait } else { Duration::ZERO })?;
        let now = self.now();
        self.plan.counters.count(Counter::Iterations);
        for index in 0..ready {
            match self.sockets.ready(index) {
                Ready::Wake => self.plan.control.clear_wake(),
                Ready::Socket(id) => self.receive(id, services, now)?,
            }
        }
        services.deliver_messages(now, &mut self.send_path.transmit(&self.sockets));
        self.flush(services, now);
        Ok(now)
    }

    fn gauges(&self) -> LoopGauges {
        LoopGauges {
            receive_buffers_free: self.datagrams.free() as u64,
            frame_buffers_free: self.frames.as_ref().map_or(0, RecvBatch::free) as u64,
            send_slots_free: self.send_path.queue.slots.free() as u64,
            frames_waiting: 0,
        }
    }

    fn tick(&mut self, services: &mut impl Dispatch, now: Now) -> io::Result<()> {
        self.sockets.wake_resting()?;
        self.receive_failures.report(self.plan.index, now);
        self.send_path.queue.failures.report(self.plan.index, now);
        services.on_tick(now, &mut self.send_path.transmit(&self.sockets));
        self.flush(services, now);
        Ok(())
    }

    /// Everything received was handled at once; only sends may be left.
    fn shut_down(&mut self, services: &mut impl Dispatch, deadline: Now) -> io::Result<()> {
        while !self.send_path.queue.is_idle() && self.now() < deadline {
            let now = self.now();
            self.send_path.send(&self.sockets, services, now);
        }
        Ok(())
    }
}

impl Drop for EpollLoop {
    fn drop(&mut self) {
        let Self { sockets, datagrams, frames, send_path, plan, clock, .. } = self;
        if self.handling {
            plan.counters.dropped(DropReason::Panic);
        }
        if self.handling_frame {
            plan.counters.count(Counter::FramesLostToPanic);
        }
        // The rest of the batch that a panic cut short.
        while let Some((arrival, buffer)) = datagrams.take() {
            if arrival.datagram(&buffer, &plan.counters).is_some() {
                plan.counters.dropped(DropReason::Shutdown);
            }
        }
        while frames.as_mut().and_then(RecvBatch::take).is_some() {
            plan.counters.count(Counter::FramesReceived);
            plan.counters.count(Counter::FramesLostToShutdown);
        }
        // What was answered before it still leaves.
        send_path.send(sockets, &mut Discard(&plan.counters), clock.now());
    }
}

/// Times in a row that forwards are sent, their completions are reported, and that leads to others.
const SEND_ROUNDS_MAX: usize = 4;
