//! The loop: reap, handle, flush, recycle, submit and wait.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{self, RecvMsgOut};
use io_uring::{IoUring, cqueue, opcode};

use super::receive::{BufferRing, GROUP};
use super::ring::{self, Queues, RingError, push};
use super::token::Token;
use super::transmit::{RingTransmit, TransmitSlots, count_sent};
use crate::clock::Clock;
use crate::handler::{Buffer, Handler, Now, Packet, ReceivePool, ReplyPath, SocketId};
use crate::net::address::{ADDRESS_BYTES, CONTROL_BYTES, read_address, read_local};
use crate::net::socket::BoundSocket;
use crate::telemetry::{Counter, Counters, DropReason};
use crate::worker::WorkerPlan;

/// How large the pools of one loop are. All of it is allocated at start.
#[derive(Clone, Copy, Debug)]
pub struct LoopSizes {
    /// Entries of the submission queue.
    pub submission_entries: u32,
    /// Receive buffers; a power of two.
    pub receive_buffers: u16,
    /// The longest datagram taken whole, in bytes of payload.
    pub receive_payload_bytes: usize,
    /// Sends in flight at the same time.
    pub send_slots: u16,
    /// Whether the handler forwards receive buffers ([`crate::handler::Transmit::forward`]).
    pub forwards: bool,
}

impl LoopSizes {
    /// What the tracker needs: 100 hashes to scrape are 2,016 bytes.
    pub const TRACKER: Self = Self {
        submission_entries: 1024,
        receive_buffers: 1024,
        receive_payload_bytes: 2048,
        send_slots: 1024,
        forwards: false,
    };

    /// The most completions that can wait at the same time: one per receive buffer, one per send,
    /// and for each socket the end of its receive and the cancellation of it, the same for the
    /// wake-up, and the cancellation of everything.
    pub fn completions_max(&self, sockets: usize) -> u32 {
        let controls = 2 * sockets + 2 + 1;
        u32::from(self.receive_buffers) + u32::from(self.send_slots) + controls as u32
    }
}

/// A worker's ring, not yet running. Belongs to the thread that opened it.
pub struct Ring(IoUring);

impl Ring {
    /// Opens a ring for the sockets of `plan`, with a completion queue that never overflows.
    pub fn open(plan: &WorkerPlan) -> Result<Self, RingError> {
        let completions_max = plan.sizes.completions_max(plan.sockets.len());
        let ring = Self::open_with(plan, completions_max.next_power_of_two())?;
        assert!(ring.0.params().cq_entries() >= completions_max, "the sum of all that can wait");
        Ok(ring)
    }

    /// As [`Self::open`], with a completion queue that may be smaller than the sum.
    pub(super) fn open_with(plan: &WorkerPlan, completion_entries: u32) -> Result<Self, RingError> {
        ring::open(plan.sizes.submission_entries, completion_entries).map(Self)
    }
}

/// Where a socket's multishot receive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// The kernel has it.
    Armed,
    /// It ended; it starts again before the next wait, once buffers are back.
    Ended,
    /// It failed for a reason that may last; it starts again at the next tick.
    Resting,
}

/// One worker's io_uring loop. Built, run and dropped on the worker's own thread.
pub struct EventLoop<'r> {
    queues: Queues<'r>,
    /// Dropped by hand after the drain, or leaked when the kernel may still write to it.
    pub(super) pools: ManuallyDrop<Pools>,
    receives: Vec<Receive>,
    /// Receives that are [`Receive::Ended`].
    ended: usize,
    pub(super) plan: WorkerPlan,
    clock: Clock,
    wake_armed: bool,
    cancels_pending: u32,
    /// Set while a handler has a packet, so that a panic can be accounted for.
    pub(super) handling: bool,
    /// Set once the loop stops: what ends is not started again.
    pub(super) stopping: bool,
}

/// All memory that the kernel reads or writes.
pub(super) struct Pools {
    pub(super) buffers: BufferRing,
    pub(super) slots: TransmitSlots,
    /// Per socket, which parts of a buffer are name and control data; in place for good.
    headers: Box<[libc::msghdr]>,
    /// Where the wake-up read puts its eight bytes.
    wake_value: Box<u64>,
}

/// Lends the loop's transmit side to a handler. A macro, so that the borrow checker sees that
/// only these fields are taken.
macro_rules! transmit {
    ($queues:expr, $slots:expr, $counters:expr) => {
        &mut RingTransmit {
            slots: &mut $slots,
            submissions: &mut $queues.submissions,
            submitter: &$queues.submitter,
            counters: &$counters,
        }
    };
}

impl<'r> EventLoop<'r> {
    /// Registers the sockets and the receive buffers of `plan` with the ring.
    pub fn new(ring: &'r mut Ring, plan: WorkerPlan, clock: Clock) -> Result<Self, RingError> {
        assert!(plan.sockets.len() <= usize::from(u16::MAX), "socket IDs have 16 bits");
        let queues = Queues::of(&mut ring.0);
        let mut files: Vec<i32> = plan.sockets.iter().map(AsRawFd::as_raw_fd).collect();
        files.push(plan.control.wake_fd());
        queues.submitter.register_files(&files).map_err(RingError::explain)?;
        let buffer_bytes =
            RECEIVE_HEADER_BYTES + ADDRESS_BYTES + CONTROL_BYTES + plan.sizes.receive_payload_bytes;
        let pool = ReceivePool::new(plan.sizes.receive_buffers, buffer_bytes);
        // SAFETY: the buffer ring lives in `pools`, which is dropped after a complete drain only.
        let buffers =
            unsafe { BufferRing::register(&queues.submitter, pool) }.map_err(RingError::explain)?;
        let pools = Pools {
            buffers,
            slots: TransmitSlots::new(plan.sizes.send_slots, plan.sizes.forwards),
            headers: plan.sockets.iter().map(receive_header).collect(),
            wake_value: Box::new(0),
        };
        Ok(Self {
            queues,
            pools: ManuallyDrop::new(pools),
            receives: vec![Receive::Ended; plan.sockets.len()],
            ended: plan.sockets.len(),
            plan,
            clock,
            wake_armed: false,
            cancels_pending: 0,
            handling: false,
            stopping: false,
        })
    }

    /// Serves packets until the control asks to stop, then ends what is in flight.
    ///
    /// An error means that the ring itself is broken; the caller builds a new one.
    pub fn run(&mut self, handler: &mut impl Handler) -> io::Result<()> {
        let mut next_tick = self.clock.now().after(TICK_INTERVAL);
        self.plan.control.beat(next_tick);
        while !self.plan.control.should_stop() {
            let now = self.iterate(handler, next_tick)?;
            if now >= next_tick {
                self.tick(handler, now);
                next_tick = now.after(TICK_INTERVAL);
            }
        }
        self.shut_down(handler)
    }

    /// One turn: start what ended, submit, wait for a completion or `deadline`, reap and handle
    /// all there is, flush, recycle.
    pub(super) fn iterate(&mut self, handler: &mut impl Handler, deadline: Now) -> io::Result<Now> {
        self.rearm();
        let wait = deadline.since_epoch().saturating_sub(self.clock.now().since_epoch());
        // Sends with MSG_DONTWAIT complete while they are submitted. Waiting for one completion
        // more than those spares a turn that would reap nothing but them.
        let want = self.pools.slots.in_flight() + 1;
        self.queues.submit_and_wait(want, wait)?;
        let now = self.clock.now();
        self.plan.counters.count(Counter::Iterations);
        if self.queues.submissions.cq_overflow() {
            // The kernel keeps what did not fit and delivers it at the next enter.
            self.plan.counters.count(Counter::CompletionQueueOverflows);
        }
        if self.reap(handler, now) {
            let transmit = transmit!(self.queues, self.pools.slots, self.plan.counters);
            handler.on_flush(now, transmit);
        }
        self.pools.buffers.recycle();
        Ok(now)
    }

    fn tick(&mut self, handler: &mut impl Handler, now: Now) {
        self.plan.control.beat(now);
        for receive in &mut self.receives {
            if *receive == Receive::Resting {
                *receive = Receive::Ended;
                self.ended += 1;
            }
        }
        handler.on_tick(now, transmit!(self.queues, self.pools.slots, self.plan.counters));
    }

    /// Takes every completion that was there when the wait ended: the queue's view is fixed until
    /// the next wait, so this is bounded by its size. True when a packet was handled.
    fn reap(&mut self, handler: &mut impl Handler, now: Now) -> bool {
        let mut handled = false;
        while let Some(completion) = self.queues.completions.next() {
            match Token::decode(completion.user_data()) {
                Some(Token::Receive(socket)) => {
                    handled |= self.received(socket, &completion, handler, now);
                }
                Some(Token::Send(slot)) => {
                    self.pools.slots.release(slot);
                    count_sent(&self.plan.counters, completion.result());
                }
                Some(Token::Wake) => self.wake_armed = false,
                Some(Token::Cancel) => self.cancels_pending -= 1,
                None => debug_assert!(false, "a completion that nobody submitted"),
            }
        }
        handled
    }

    /// Handles one completion of a receive. True when it carried a datagram.
    fn received(
        &mut self,
        socket: u16,
        completion: &cqueue::Entry,
        handler: &mut impl Handler,
        now: Now,
    ) -> bool {
        if !cqueue::more(completion.flags()) {
            let state = after_end(completion.result());
            self.ended += usize::from(state == Receive::Ended);
            self.receives[usize::from(socket)] = state;
        }
        let Some(id) = cqueue::buffer_select(completion.flags()) else { return false };
        let length = usize::try_from(completion.result()).unwrap_or(0);
        let pools = &mut *self.pools;
        // SAFETY: the completion names a buffer of this group and how much of it the kernel
        // wrote; it is ours from here on.
        let buffer = unsafe { pools.buffers.pool().claim(id, length) };
        let header = &pools.headers[usize::from(socket)];
        self.handling = true;
        if let Some(packet) = unwrap_datagram(socket, header, &buffer, &self.plan.counters) {
            let transmit = transmit!(self.queues, pools.slots, self.plan.counters);
            handler.on_packet(now, &packet, transmit);
        }
        self.handling = false;
        true
    }

    /// Starts receives and the wake-up read that are not with the kernel.
    fn rearm(&mut self) {
        if self.stopping {
            return;
        }
        let pools = &mut *self.pools;
        let queues = &mut self.queues;
        if !self.wake_armed {
            let file = types::Fixed(self.receives.len() as u32);
            let value = (&raw mut *pools.wake_value).cast();
            let read = opcode::Read::new(file, value, size_of::<u64>() as u32)
                .build()
                .user_data(Token::Wake.encode());
            // SAFETY: the eight bytes are boxed in the pools, which outlive the drain.
            self.wake_armed = unsafe { push(&mut queues.submissions, &queues.submitter, &read) };
        }
        // A receive without a buffer to fill would end at once with ENOBUFS.
        if self.ended == 0 || pools.buffers.lent() == 0 {
            return;
        }
        for (socket, state) in self.receives.iter_mut().enumerate() {
            if *state != Receive::Ended {
                continue;
            }
            let header = &raw const pools.headers[socket];
            let receive = opcode::RecvMsgMulti::new(types::Fixed(socket as u32), header, GROUP)
                .build()
                .user_data(Token::Receive(socket as u16).encode());
            // SAFETY: the header is boxed in the pools, which outlive the drain.
            if unsafe { push(&mut queues.submissions, &queues.submitter, &receive) } {
                *state = Receive::Armed;
                self.ended -= 1;
                self.plan.counters.count(Counter::ReceiveRearms);
            }
        }
    }

    /// Operations whose last completion has not been reaped.
    pub(super) fn outstanding(&self) -> usize {
        self.receives.iter().filter(|state| **state == Receive::Armed).count()
            + self.pools.slots.in_flight()
            + usize::from(self.wake_armed)
            + self.cancels_pending as usize
    }

    /// Asks the kernel to end the receives and the wake-up read.
    pub(super) fn cancel_receives(&mut self) {
        for socket in 0..self.receives.len() {
            if self.receives[socket] == Receive::Armed {
                let token = Token::Receive(socket as u16);
                self.cancel(opcode::AsyncCancel::new(token.encode()).build());
            }
        }
        if self.wake_armed {
            self.cancel(opcode::AsyncCancel::new(Token::Wake.encode()).build());
        }
    }

    /// Asks the kernel to end everything.
    pub(super) fn cancel_all(&mut self) {
        self.cancel(opcode::AsyncCancel2::new(types::CancelBuilder::any()).build());
    }

    fn cancel(&mut self, entry: Entry) {
        let entry = entry.user_data(Token::Cancel.encode());
        let queues = &mut self.queues;
        // SAFETY: a cancellation points to no memory.
        let pushed = unsafe { push(&mut queues.submissions, &queues.submitter, &entry) };
        self.cancels_pending += u32::from(pushed);
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }
}

/// Takes apart what a multishot receive put into a buffer; `None` when it was dropped.
fn unwrap_datagram<'b>(
    socket: u16,
    header: &libc::msghdr,
    buffer: &'b Buffer,
    counters: &Counters,
) -> Option<Packet<'b>> {
    counters.count(Counter::PacketsReceived);
    let Ok(message) = RecvMsgOut::parse(buffer.bytes(), header) else {
        counters.dropped(DropReason::Truncated);
        return None;
    };
    // The message borrows itself, not the buffer: find its payload again in the buffer.
    let start = RECEIVE_HEADER_BYTES + header.msg_namelen as usize + header.msg_controllen;
    let payload = &buffer.bytes()[start..start + message.payload_data().len()];
    counters.add(Counter::BytesReceived, payload.len() as u64);
    if message.is_payload_truncated() {
        counters.dropped(DropReason::Truncated);
        return None;
    }
    let Some(source) = read_address(message.name_data()) else {
        counters.dropped(DropReason::BadSource);
        return None;
    };
    let from = read_local(message.control_data());
    let path = ReplyPath { socket: SocketId(socket), to: source, from };
    Some(Packet { path, payload, buffer })
}

/// What becomes of a receive that ended with `result`.
fn after_end(result: i32) -> Receive {
    // No buffers, or the kernel's own bound on shots: start again this iteration.
    if result >= 0 || result == -libc::ENOBUFS { Receive::Ended } else { Receive::Resting }
}

fn receive_header(socket: &BoundSocket) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers; all zero means "none".
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = ADDRESS_BYTES as libc::socklen_t;
    header.msg_controllen = if socket.is_wildcard() { CONTROL_BYTES } else { 0 };
    header
}

/// How often handlers get time for housekeeping, and the longest a waiting loop sleeps.
pub(super) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// `struct io_uring_recvmsg_out`, in front of every received datagram.
const RECEIVE_HEADER_BYTES: usize = 16;
