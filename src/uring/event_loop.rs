//! The loop: reap, handle, flush, recycle, submit and wait.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, types};

use super::buffer_ring::BufferRing;
use super::faults::completion_result;
use super::frame_queue::FrameQueue;
use super::open::open;
use super::receive::{RECEIVE_HEADER_BYTES, unwrap_datagram, unwrap_frame};
use super::ring::{Queues, RingError, push};
use super::sockets::{Groups, Sockets};
use super::token::Token;
use super::transmit::RingTransmit;
use crate::io::clock::{Clock, wall_ns};
use crate::io::send_slots::SendSlots;
use crate::io::socket_table::{SocketKind, SocketTable};
use crate::io::transmit::{end_forward, end_reply};
use crate::io::{Dispatch, Now, ReceivePool, ServiceId};
use crate::io::{
    EventLoop, FRAME_BYTES_MAX, Failures, LoopSizes, RingFeatures, WorkerControl, WorkerPlan, run,
};
use crate::sys::address::{ADDRESS_BYTES, CONTROL_BYTES};
use crate::telemetry::{Counter, LoopGauges};

impl LoopSizes {
    /// The most completions that can wait at the same time: one for each receive buffer, and the
    /// last one of each operation in flight, which are as many sends as there are slots, as many
    /// receives and cancellations as are allowed, the wake-up read, and the cancellation of
    /// everything.
    pub(super) fn completions_max(&self) -> u32 {
        u32::from(self.receive_buffers)
            + u32::from(self.frame_buffers)
            + u32::from(self.send_slots)
            + self.operations
            + 2
    }
}

/// A worker's ring, not yet running. Belongs to the thread that opened it.
pub struct Ring {
    ring: IoUring,
    features: RingFeatures,
    /// See [`LoopSizes::operations`].
    operations_max: u32,
}

impl Ring {
    /// Opens a ring for `plan`, with a completion queue that never overflows.
    pub fn open(plan: &WorkerPlan) -> Result<Self, RingError> {
        let completions_max = plan.sizes.completions_max();
        let (sockets, operations) = (u32::from(plan.sizes.sockets), plan.sizes.operations);
        assert!(operations > sockets, "a receive of each socket, and a cancellation");
        let ring = Self::open_with(plan, completions_max.next_power_of_two())?;
        assert!(ring.ring.params().cq_entries() >= completions_max, "the sum of all that can wait");
        Ok(ring)
    }

    /// As [`Self::open`], with a completion queue that may be smaller than the sum.
    pub(super) fn open_with(plan: &WorkerPlan, completion_entries: u32) -> Result<Self, RingError> {
        let entries = plan.sizes.submission_entries;
        let (ring, features) = open(entries, completion_entries, plan.features)?;
        Ok(Self { ring, features, operations_max: plan.sizes.operations })
    }
}

/// Whether a loop of these sizes can be built here: builds one, and takes it down again.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub fn probe(sizes: LoopSizes, features: RingFeatures) -> Result<(), RingError> {
    let plan = WorkerPlan {
        index: 0,
        core: None,
        table: Arc::new(SocketTable::new(ServiceId::Tracker, [])),
        counters: Arc::default(),
        control: Arc::new(WorkerControl::new(Duration::ZERO).map_err(RingError::explain)?),
        features,
        sizes,
    };
    let mut ring = Ring::open(&plan)?;
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start())?;
    // Each of the three system calls may be forbidden by itself.
    event_loop.queues.submit().map(drop).map_err(RingError::explain)
}

/// One worker's io_uring loop. Built, run and dropped on the worker's own thread.
pub struct RingLoop<'r> {
    pub(super) queues: Queues<'r>,
    /// Dropped by hand after the drain, or leaked when the kernel may still use it.
    pub(super) pools: ManuallyDrop<Pools>,
    pub(super) plan: WorkerPlan,
    clock: Clock,
    wake_armed: bool,
    /// The wake-up read failed; it starts again at the next tick, which looks at everything that
    /// others wake a worker for.
    wake_rests: bool,
    receive_failures: Failures,
    send_failures: Failures,
    /// Set while a handler has a packet, so that a panic can be accounted for.
    pub(super) handling: bool,
    /// The same for a frame.
    pub(super) handling_frame: bool,
    /// Set once the loop stops: what ends is not started again.
    pub(super) stopping: bool,
}

/// All memory that the kernel reads or writes.
pub(super) struct Pools {
    pub(super) sockets: Sockets,
    pub(super) groups: Groups,
    pub(super) slots: SendSlots,
    /// Frames that were received and are not handled yet. At most one for each frame buffer.
    pub(super) waiting: FrameQueue,
    /// Where the wake-up read puts its eight bytes.
    wake_value: Box<u64>,
}

/// Gives the services the loop's transmit side. A macro, so that the borrow checker sees that
/// only these fields are taken.
macro_rules! transmit {
    ($queues:expr, $pools:expr, $counters:expr) => {
        &mut RingTransmit {
            slots: &mut $pools.slots,
            sockets: &$pools.sockets,
            submissions: &mut $queues.submissions,
            submitter: &$queues.submitter,
            features: $queues.features,
            counters: $counters,
        }
    };
}

impl<'r> RingLoop<'r> {
    /// Registers the table of sockets and the receive buffers with the ring.
    pub fn new(ring: &'r mut Ring, plan: WorkerPlan, clock: Clock) -> Result<Self, RingError> {
        let queues = Queues::of(&mut ring.ring, ring.features, ring.operations_max);
        let wake_file = u32::from(plan.sizes.sockets);
        queues.submitter.register_files_sparse(wake_file + 1).map_err(RingError::explain)?;
        queues
            .submitter
            .register_files_update(wake_file, &[plan.control.wake_descriptor().as_raw_fd()])
            .map_err(RingError::explain)?;
        let datagram_bytes = PREFIX_BYTES + plan.sizes.receive_payload_bytes;
        let pool = ReceivePool::map(plan.sizes.receive_buffers, datagram_bytes)?;
        pool.widen(pool.capacity());
        // SAFETY: the buffer ring lives in `pools`, which is dropped after a complete drain only.
        let datagrams = unsafe {
            BufferRing::register(&queues.submitter, DATAGRAM_GROUP, pool, datagram_bytes)
        }
        .map_err(RingError::explain)?;
        let pools = Pools {
            sockets: Sockets::new(plan.table.clone(), plan.sizes.sockets),
            groups: Groups { datagrams, frames: None },
            slots: SendSlots::new(plan.sizes.send_slots, plan.sizes.forwards, plan.sizes.segments)?,
            waiting: FrameQueue::new(plan.sizes.frame_buffers, plan.sizes.sockets),
            wake_value: Box::new(0),
        };
        Ok(Self {
            queues,
            pools: ManuallyDrop::new(pools),
            plan,
            clock,
            wake_armed: false,
            wake_rests: false,
            receive_failures: Failures::of("receives"),
            send_failures: Failures::of("sends"),
            handling: false,
            handling_frame: false,
            stopping: false,
        })
    }

    /// What its ring has.
    pub fn features(&self) -> RingFeatures {
        self.queues.features
    }

    /// Serves packets until the control asks to stop, then ends what is in flight.
    ///
    /// An error means that the ring itself is broken; the caller builds a new one.
    pub fn run(&mut self, services: &mut impl Dispatch) -> io::Result<()> {
        run(self, services)
    }

    /// Takes every completion that was there when the wait ended: the queue's view is fixed until
    /// the next wait, so this is bounded by its size.
    fn reap(&mut self, services: &mut impl Dispatch, now: Now) {
        while let Some(completion) = self.queues.completions.next() {
            let (user_data, result) = completion_result(&completion);
            match Token::decode(user_data) {
                Some(Token::Receive { socket, generation }) => {
                    // Noted before the handler runs, as below.
                    self.queues.receives_pending -= u32::from(!cqueue::more(completion.flags()));
                    if !self.pools.sockets.is_current(socket, generation) {
                        // A socket's index is free once its last receive has ended.
                        debug_assert!(false, "a receive outlived its socket");
                        continue;
                    }
                    self.received(socket, (result, completion.flags()), services, now);
                }
                Some(Token::Send(slot)) => self.sent(slot, result, services, now),
                Some(Token::Wake) => (self.wake_armed, self.wake_rests) = (false, result < 0),
                Some(Token::Cancel) => self.queues.cancels_pending -= 1,
                None => debug_assert!(false, "a completion that nobody submitted"),
            }
        }
    }

    /// Handles one completion of a receive: its result and its flags.
    fn received(
        &mut self,
        socket: u16,
        (result, flags): (i32, u32),
        services: &mut impl Dispatch,
        now: Now,
    ) {
        let pools = &mut *self.pools;
        let Some((kind, service)) = pools.sockets.get(socket) else {
            debug_assert!(false, "a receive on a socket that is not registered");
            return;
        };
        // Noted before the handler runs: should it panic, the drain knows what is outstanding.
        if !cqueue::more(flags) && !pools.sockets.ended(socket, result) && !self.stopping {
            self.plan.counters.count(Counter::ReceiveErrors);
            self.receive_failures.note(result);
        }
        if let (Some(id), Some(group)) = (cqueue::buffer_select(flags), pools.groups.of(kind)) {
            let length = usize::try_from(result).unwrap_or(0);
            // SAFETY: the completion names a buffer of this group and how much of it the kernel
            // wrote; it is ours from here on.
            let buffer = unsafe { group.pool().complete(id, length) };
            let counters = &self.plan.counters;
            if kind == SocketKind::Frames {
                counters.count(Counter::FramesReceived);
                pools.waiting.push(socket, buffer);
            } else {
                self.handling = true;
                let header = pools.sockets.header();
                if let Some(packet) = unwrap_datagram(socket, header, &buffer, counters) {
                    let transmit = transmit!(self.queues, pools, counters);
                    services.on_datagram(service, now, &packet, transmit);
                }
                self.handling = false;
            }
        }
    }

    /// Handles frames, of one socket after the other, up to the bound of an iteration and as long
    /// as what each may send finds free slots; the rest waits for another iteration. One is always
    /// handled when nothing is in flight, so that a rule with more outputs than there are slots
    /// makes progress too.
    fn handle_frames(&mut self, services: &mut impl Dispatch, now: Now) {
        let pools = &mut *self.pools;
        for _ in 0..FRAMES_PER_ITERATION_MAX {
            if !pools.slots.have_room_for(services.sends_per_frame_max()) {
                break;
            }
            let Some((socket, buffer)) = pools.waiting.pop() else { break };
            let Some((_, service)) = pools.sockets.get(socket) else { continue };
            let header = pools.sockets.header();
            let Some(frame) = unwrap_frame(socket, header, &buffer) else { continue };
            let transmit = transmit!(self.queues, pools, &self.plan.counters);
            self.handling_frame = true;
            services.on_frame(service, now, &frame, transmit);
            self.handling_frame = false;
        }
    }

    /// Takes a slot back; when it held a forward, its service is told.
    fn sent(&mut self, slot: u16, result: i32, services: &mut impl Dispatch, now: Now) {
        let (pools, counters) = (&mut *self.pools, &*self.plan.counters);
        if pools.slots.is_forward(slot) {
            let transmit = transmit!(self.queues, pools, counters);
            end_forward(transmit, slot, result, services, now);
        } else {
            end_reply(&mut pools.slots, slot, result, &mut self.send_failures, counters);
        }
    }

    /// Brings sockets up to date and starts what is not with the kernel.
    fn rearm(&mut self) -> io::Result<()> {
        let pools = &mut *self.pools;
        let queues = &mut self.queues;
        if !self.wake_armed && !self.wake_rests {
            let wake_file = u32::from(self.plan.sizes.sockets);
            let value = (&raw mut *pools.wake_value).cast();
            let read = opcode::Read::new(types::Fixed(wake_file), value, size_of::<u64>() as u32)
                .build()
                .user_data(Token::Wake.encode());
            // SAFETY: the eight bytes are boxed in the pools, which outlive the drain.
            self.wake_armed = unsafe { push(&mut queues.submissions, &queues.submitter, &read) };
        }
        if pools.sockets.is_behind() {
            if pools.groups.frames.is_none() && pools.sockets.wants_frames() {
                let pool = ReceivePool::map(self.plan.sizes.frame_buffers, FRAME_BUFFER_BYTES)?;
                let submitter = &queues.submitter;
                // SAFETY: as for the datagram group: it lives in `pools`.
                let frames = unsafe {
                    BufferRing::register(submitter, FRAME_GROUP, pool, FRAME_BUFFER_BYTES)
                }?;
                pools.groups.frames = Some(frames);
            }
            // What is queued means the sockets as they were.
            if queues.submit()? {
                pools.sockets.catch_up(queues, &mut pools.waiting, &self.plan.counters)?;
                if let Some(frames) = &mut pools.groups.frames {
                    frames.widen(self.plan.table.frame_buffers());
                }
            }
        }
        let started = pools.sockets.rearm(queues, &mut pools.groups);
        self.plan.counters.add(Counter::ReceiveRearms, started);
        Ok(())
    }

    /// Operations whose last completion has not been reaped.
    pub(super) fn outstanding(&self) -> usize {
        self.queues.receives_pending as usize
            + self.queues.cancels_pending as usize
            + self.pools.slots.in_flight()
            + usize::from(self.wake_armed)
    }

    /// Asks the kernel to end the receives and the wake-up read.
    pub(super) fn cancel_receives(&mut self) {
        self.pools.sockets.cancel_receives(&mut self.queues);
        if self.wake_armed {
            self.queues.cancel(opcode::AsyncCancel::new(Token::Wake.encode()).build());
        }
    }

    /// Asks the kernel to end everything.
    pub(super) fn cancel_all(&mut self) {
        self.queues.cancel_all(opcode::AsyncCancel2::new(types::CancelBuilder::any()).build());
    }
}

impl EventLoop for RingLoop<'_> {
    fn plan(&self) -> &WorkerPlan {
        &self.plan
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// One iteration: start what ended, submit, wait for a completion or `deadline`, reap and
    /// handle all there is, flush, recycle.
    fn iterate(&mut self, services: &mut impl Dispatch, deadline: Now) -> io::Result<Now> {
        if !self.stopping {
            self.rearm()?;
        }
        if services.awaits_submission() {
            // Sends are carried out while they are submitted; the wait must not count. What the
            // kernel does not take just now is left to it.
            self.queues.submit()?;
            services.on_submitted(wall_ns());
        }
        let wait = match services.has_messages() {
            // A wait all the same, however short: without one nothing that arrived is delivered.
            true => Duration::ZERO,
            false => deadline.since_epoch().saturating_sub(self.clock.now().since_epoch()),
        };
        // Sends with MSG_DONTWAIT complete while they are submitted. Waiting for what is wanted
        // beside those spares an iteration that would reap nothing but them.
        // Frames that wait already wait for nothing else.
        let more = if self.pools.waiting.is_empty() { services.wakeup().packets } else { 0 };
        let want = self.pools.slots.in_flight() + more;
        self.queues.submit_and_wait(want, wait)?;
        let now = self.clock.now();
        self.plan.counters.count(Counter::Iterations);
        if self.queues.submissions.cq_overflow() {
            // The kernel keeps what did not fit and delivers it at the next enter.
            self.plan.counters.count(Counter::CompletionQueueOverflows);
        }
        self.reap(services, now);
        self.handle_frames(services, now);
        let pools = &mut *self.pools;
        services.deliver_messages(now, transmit!(self.queues, pools, &self.plan.counters));
        services.on_flush(now, transmit!(self.queues, pools, &self.plan.counters));
        pools.groups.recycle();
        Ok(now)
    }

    fn gauges(&self) -> LoopGauges {
        let Groups { datagrams, frames } = &self.pools.groups;
        LoopGauges {
            receive_buffers_free: datagrams.provided() as u64,
            frame_buffers_free: frames.as_ref().map_or(0, BufferRing::provided) as u64,
            send_slots_free: self.pools.slots.free() as u64,
            frames_waiting: self.pools.waiting.len() as u64,
        }
    }

    fn tick(&mut self, services: &mut impl Dispatch, now: Now) -> io::Result<()> {
        self.pools.sockets.wake_resting();
        self.pools.sockets.cancel_again(&mut self.queues);
        self.wake_rests = false;
        self.receive_failures.report(self.plan.index, now);
        self.send_failures.report(self.plan.index, now);
        let pools = &mut *self.pools;
        services.on_tick(now, transmit!(self.queues, pools, &self.plan.counters));
        services.on_flush(now, transmit!(self.queues, pools, &self.plan.counters));
        Ok(())
    }

    /// What is left after the deadline is cancelled when the loop is dropped.
    fn shut_down(&mut self, services: &mut impl Dispatch, deadline: Now) -> io::Result<()> {
        self.stopping = true;
        self.cancel_receives();
        self.iterate_until_idle(services, deadline)
    }
}

/// The most frames handled in an iteration, so that datagrams do not wait for all that a flood
/// left: as many as the smallest usual pool has.
const FRAMES_PER_ITERATION_MAX: usize = 256;

const DATAGRAM_GROUP: u16 = 0;
const FRAME_GROUP: u16 = 1;

/// The most that stands in a receive buffer before the payload.
const PREFIX_BYTES: usize = RECEIVE_HEADER_BYTES + ADDRESS_BYTES + CONTROL_BYTES;

const FRAME_BUFFER_BYTES: usize = PREFIX_BYTES + FRAME_BYTES_MAX;
