//! The loop under conditions that a well-sized ring never meets.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame_queue::CONSECUTIVE_MAX;
use super::{Ring, RingLoop};
use crate::io::clock::Clock;
use crate::io::socket_table::{LoopSocket, SocketKind, SocketTable};
use crate::io::testing::{
    EchoUntil, ForwardTwice, Numbers, PanicInReply, ask_in_turn, assert_accounted, plan,
};
use crate::io::{
    BufferSlice, Dispatch, Forward, Frame, Now, Packet, SendOptions, ServiceId, SocketId, Transmit,
};
use crate::io::{EventLoop, LoopSizes, RingFeatures, WorkerPlan};
use crate::telemetry::{Counter, Counters, DropReason};

/// Runs a loop to its end. Returns what it left taken: buffers of either kind, slots, operations.
pub(crate) fn run_to_end(plan: WorkerPlan, handler: &mut impl Dispatch) -> [usize; 4] {
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(handler).unwrap();
    let pools = &event_loop.pools;
    let frames = pools.groups.frames.as_ref().map_or(0, |frames| frames.pool().held());
    let datagrams = pools.groups.datagrams.pool().held();
    [datagrams, frames, pools.slots.in_flight(), event_loop.outstanding()]
}

/// Sends `count` datagrams ahead of time, then runs a loop until it has echoed all of them.
fn run_over(sizes: LoopSizes, completion_entries: u32, count: u32) -> (Arc<Counters>, usize) {
    let (plan, address) = plan(sizes);
    let counters = Arc::clone(&plan.counters);
    let _client = Numbers::send(count, address);
    let mut ring = Ring::open_with(&plan, completion_entries).unwrap();
    let mut handler = EchoUntil { left: count, control: Arc::clone(&plan.control) };
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!(event_loop.outstanding(), 0);
    let pools = &event_loop.pools;
    assert_eq!(pools.groups.datagrams.pool().held(), 0);
    (counters, pools.slots.in_flight())
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let sizes = LoopSizes {
        submission_entries: 8,
        receive_buffers: 256,
        send_slots: 256,
        ..LoopSizes::TRACKER
    };
    let (counters, in_flight) = run_over(sizes, 8, 1000);
    assert_accounted(&counters, 1000);
    assert_eq!(in_flight, 0);
    let total = counters.snapshot();
    assert!(total.get(Counter::CompletionQueueOverflows) > 0, "the test overflowed nothing");
    assert_eq!(total.get(Counter::PacketsSent), 1000);
}

#[test]
fn a_queue_that_overflowed_is_as_good_as_new() {
    let sizes = LoopSizes {
        submission_entries: 8,
        receive_buffers: 256,
        send_slots: 256,
        ..LoopSizes::TRACKER
    };
    let (plan, address) = plan(sizes);
    let (counters, control) = (Arc::clone(&plan.counters), Arc::clone(&plan.control));
    // No more than sockets hold by default, whoever is late.
    let numbers = Numbers::send(200, address);
    let worker = std::thread::spawn(move || {
        let mut ring = Ring::open_with(&plan, 8).unwrap();
        let mut handler = EchoUntil { left: 300, control };
        RingLoop::new(&mut ring, plan, Clock::start()).unwrap().run(&mut handler).unwrap();
    });
    let began = Instant::now();
    numbers.assert_back(1);
    let overflows = || counters.snapshot().get(Counter::CompletionQueueOverflows);
    let during = overflows();
    println!("200 replies through a queue of 8 in {:?}, {during} overflows", began.elapsed());
    assert!(during > 0, "the test overflowed nothing");
    ask_in_turn(100, address);
    worker.join().unwrap();
    // What was left over from before may have been told with the first of them.
    assert!(overflows() <= during + 1, "{} and {during}", overflows());
    assert_accounted(&counters, 300);
    assert_eq!(counters.snapshot().dropped_total(), 0);
}

#[test]
fn two_receive_buffers_are_enough_for_all_datagrams() {
    let sizes = LoopSizes { receive_buffers: 2, ..LoopSizes::TRACKER };
    let (counters, in_flight) = run_over(sizes, 2048, 500);
    assert_accounted(&counters, 500);
    assert_eq!(in_flight, 0);
    assert!(counters.snapshot().get(Counter::ReceiveRearms) > 10, "the pool never ran dry");
}

#[test]
fn a_full_slab_is_a_counted_drop() {
    let sizes = LoopSizes { send_slots: 1, ..LoopSizes::TRACKER };
    let (counters, _) = run_over(sizes, 2048, 200);
    assert_accounted(&counters, 200);
    assert!(counters.snapshot().dropped(DropReason::SendSlotsFull) > 0);
}

#[test]
fn what_is_forwarded_again_keeps_its_buffers() {
    let sizes = LoopSizes { forwards: true, ..LoopSizes::TRACKER };
    let (plan, address) = plan(sizes);
    let client = Numbers::send(50, address);
    let mut ring = Ring::open(&plan).unwrap();
    let mut handler = ForwardTwice { left: 100, control: Arc::clone(&plan.control) };
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!((handler.left, event_loop.pools.slots.in_flight()), (0, 0));
    assert_eq!(event_loop.pools.groups.datagrams.pool().held(), 0);
    client.assert_back(2);
}

#[test]
fn a_panic_in_a_reply_costs_no_slot() {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"tide", address).unwrap();
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = event_loop.run(&mut PanicInReply);
    }));
    assert!(panicked.is_err());
    assert_eq!(event_loop.pools.slots.in_flight(), 0);
    drop(event_loop);
    assert_eq!(counters.snapshot().dropped(DropReason::Panic), 1);
}

#[test]
fn a_lone_request_takes_one_iteration() {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    let worker = std::thread::spawn(move || {
        let mut ring = Ring::open(&plan).unwrap();
        let mut handler = EchoUntil { left: 1000, control: Arc::clone(&plan.control) };
        RingLoop::new(&mut ring, plan, Clock::start()).unwrap().run(&mut handler).unwrap();
    });
    ask_in_turn(1000, address);
    worker.join().unwrap();
    // An iteration each, some for the start, the end and the ticks; three each would be 3,000.
    let iterations = counters.snapshot().get(Counter::Iterations);
    assert!(iterations < 1500, "{iterations} iterations for 1000 requests");
}

#[test]
fn a_probe_finds_a_ring_here() {
    crate::uring::probe(LoopSizes::TRACKER, RingFeatures::ALL).unwrap();
}

/// A UDP socket whose datagrams a loop takes for what it is told.
#[derive(Debug)]
struct Taken(UdpSocket, SocketKind);

impl AsRawFd for Taken {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl LoopSocket for Taken {
    fn kind(&self) -> SocketKind {
        self.1
    }
}

fn taken(receives: SocketKind) -> (Arc<dyn LoopSocket>, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (Arc::new(Taken(socket, receives)), address)
}

/// Two sockets under the numbers 0 and 1.
fn two(receives: SocketKind, sizes: LoopSizes) -> (WorkerPlan, [SocketAddr; 2]) {
    let (mut plan, _) = plan(sizes);
    let [first, second] = [taken(receives), taken(receives)];
    plan.table = Arc::new(SocketTable::new(ServiceId::Relay, [first.0, second.0]));
    (plan, [first.1, second.1])
}

/// Notes where everything came in. With a frame it sends something, and wants no other frame until
/// that has ended.
#[derive(Default)]
struct Order(Vec<(SocketId, Vec<u8>)>);

impl Order {
    fn first_of(&self, socket: u16) -> Option<usize> {
        self.0.iter().position(|(came_in, _)| *came_in == SocketId(socket))
    }
}

impl Dispatch for Order {
    fn on_datagram<T: Transmit>(&mut self, _: ServiceId, _: Now, packet: &Packet<'_>, _: &mut T) {
        self.0.push((packet.path.socket(), packet.payload.to_vec()));
    }

    fn on_frame<T: Transmit>(&mut self, _: ServiceId, _: Now, frame: &Frame<'_>, tx: &mut T) {
        self.0.push((frame.socket, frame.bytes.to_vec()));
        let slice =
            BufferSlice { buffer: frame.buffer.clone(), range: frame.start..frame.start + 1 };
        let forward = Forward {
            // Not connected, and without an address: it fails.
            socket: frame.socket,
            to: None,
            ipv6: false,
            slices: &[slice],
            options: SendOptions::default(),
            tag: 1,
        };
        tx.forward(forward).unwrap();
    }

    fn sends_per_frame_max(&self) -> usize {
        usize::MAX
    }
}

fn iterate(event_loop: &mut RingLoop<'_>, handler: &mut Order, times: usize) {
    for _ in 0..times {
        let soon = event_loop.now().after(Duration::from_millis(100));
        event_loop.iterate(handler, soon).unwrap();
    }
}

#[test]
fn a_flooded_socket_takes_all_buffers_only_every_other_time() {
    let sizes = LoopSizes { receive_buffers: 2, ..LoopSizes::TRACKER };
    let (plan, addresses) = two(SocketKind::Datagrams, sizes);
    let _flood = Numbers::send(200, addresses[0]);
    let _lone = Numbers::send(1, addresses[1]);
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let mut order = Order::default();
    iterate(&mut event_loop, &mut order, 6);
    let first = order.first_of(1);
    assert!(first.is_some_and(|first| first <= 4), "it waits for the flood: {first:?}");
}

fn sockets(count: usize, sizes: LoopSizes) -> WorkerPlan {
    let (mut plan, _) = plan(sizes);
    let sockets = (0..count).map(|_| taken(SocketKind::Datagrams).0);
    plan.table = Arc::new(SocketTable::new(ServiceId::Relay, sockets));
    plan
}

/// Receives and cancellations in flight.
fn operations(event_loop: &RingLoop<'_>) -> u32 {
    event_loop.queues.receives_pending + event_loop.queues.cancels_pending
}

#[test]
fn cancellations_without_room_wait_for_those_before_them() {
    let sizes = LoopSizes { sockets: 40, operations: 44, ..LoopSizes::TRACKER };
    let plan = sockets(40, sizes);
    let (counters, table) = (Arc::clone(&plan.counters), Arc::clone(&plan.table));
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let mut order = Order::default();
    iterate(&mut event_loop, &mut order, 1);
    assert_eq!(operations(&event_loop), 40);
    (0..40).for_each(|id| table.deregister(SocketId(id)));
    let mut iterations = 0;
    while table.applied() < table.version() {
        iterate(&mut event_loop, &mut order, 1);
        assert!(operations(&event_loop) <= 44);
        iterations += 1;
    }
    // Room for 4, and each that ends makes room for 2: 4, 8, 16 and the rest.
    assert!(iterations >= 4, "{iterations} iterations: there was room for all");
    assert_eq!(operations(&event_loop), 0);
    assert_eq!(counters.get(Counter::CompletionQueueOverflows), 0);
}

#[test]
fn a_loop_ends_although_it_can_cancel_one_receive_at_a_time_only() {
    let plan = sockets(20, LoopSizes { sockets: 20, operations: 21, ..LoopSizes::TRACKER });
    let control = Arc::clone(&plan.control);
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    iterate(&mut event_loop, &mut Order::default(), 1);
    control.stop();
    event_loop.run(&mut Order::default()).unwrap();
    assert_eq!(event_loop.outstanding(), 0);
}

#[test]
fn a_receive_without_room_starts_when_another_ends() {
    let sizes = LoopSizes { receive_buffers: 2, operations: 1, ..LoopSizes::TRACKER };
    let (plan, addresses) = two(SocketKind::Datagrams, sizes);
    let _flood = Numbers::send(20, addresses[0]);
    let _lone = Numbers::send(1, addresses[1]);
    let mut ring = Ring::open_with(&plan, 2048).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let mut order = Order::default();
    for _ in 0..6 {
        iterate(&mut event_loop, &mut order, 1);
        assert!(operations(&event_loop) <= 1);
    }
    assert!(order.first_of(0).is_some() && order.first_of(1).is_some());
}

const FRAMES: LoopSizes = LoopSizes { frame_buffers: 64, forwards: true, ..LoopSizes::TRACKER };

#[test]
fn frames_of_a_flooded_socket_leave_the_others_their_share() {
    let (plan, addresses) = two(SocketKind::Frames, FRAMES);
    let counters = Arc::clone(&plan.counters);
    let _flood = Numbers::send(200, addresses[0]);
    let _others = Numbers::send(5, addresses[1]);
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let mut order = Order::default();
    iterate(&mut event_loop, &mut order, CONSECUTIVE_MAX + 8);
    assert_eq!(order.first_of(0), Some(0));
    let first = order.first_of(1);
    assert!(first.is_some_and(|first| first <= CONSECUTIVE_MAX), "after the flood: {first:?}");
    while order.0.len() < 205 {
        iterate(&mut event_loop, &mut order, 1);
    }
    for (socket, count) in [(0, 200u32), (1, 5)] {
        let of_it = order.0.iter().filter(|(came_in, _)| *came_in == SocketId(socket));
        let numbers = (0..count).map(u32::to_be_bytes);
        assert!(of_it.map(|(_, bytes)| &bytes[..]).eq(numbers), "in order, and all");
    }
    assert_eq!(counters.get(Counter::FramesReceived), 205);
}

/// What waits of a socket that is deregistered no longer belongs to any table of rules, nor to the
/// socket that is registered under its ID next.
#[test]
fn frames_of_a_socket_that_was_deregistered_are_counted() {
    let (plan, addresses) = two(SocketKind::Frames, FRAMES);
    let (counters, table) = (Arc::clone(&plan.counters), Arc::clone(&plan.table));
    let _old = Numbers::send(20, addresses[0]);
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let mut order = Order::default();
    iterate(&mut event_loop, &mut order, 1);
    assert_eq!((order.0.len(), event_loop.gauges().frames_waiting), (1, 19));
    table.deregister(SocketId(0));
    let (new, address) = taken(SocketKind::Frames);
    assert_eq!(table.register(ServiceId::Relay, new), Some(SocketId(0)));
    while table.applied() < table.version() {
        iterate(&mut event_loop, &mut order, 1);
    }
    let handled = order.0.len();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"new", address).unwrap();
    while order.0.last().unwrap().1 != b"new" {
        iterate(&mut event_loop, &mut order, 1);
    }
    assert_eq!(order.0.len(), handled + 1, "old frames came in on the new socket");
    let lost = counters.get(Counter::FramesLostToShutdown);
    assert!(lost > 0, "nothing waited: the test shows nothing");
    assert_eq!(counters.get(Counter::FramesReceived), order.0.len() as u64 + lost);
}

/// Counts frames, and sends nothing.
struct Tally(usize);

impl Dispatch for Tally {
    fn on_frame<T: Transmit>(&mut self, _: ServiceId, _: Now, _: &Frame<'_>, _: &mut T) {
        self.0 += 1;
    }
}

/// A successor gets what waits in the sockets; what was taken from them is this loop's to finish,
/// also when it is more than an iteration handles and nothing else is in flight.
#[test]
fn frames_in_the_queue_when_a_loop_stops_are_handled_all_the_same() {
    let sizes = LoopSizes { frame_buffers: 512, ..FRAMES };
    let (plan, addresses) = two(SocketKind::Frames, sizes);
    let (counters, control) = (Arc::clone(&plan.counters), Arc::clone(&plan.control));
    let _numbers = addresses.map(|address| Numbers::send(200, address));
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = RingLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let mut order = Order::default();
    while counters.get(Counter::FramesReceived) < 400 {
        iterate(&mut event_loop, &mut order, 1);
    }
    let waiting = event_loop.gauges().frames_waiting;
    assert!(waiting > 300, "{waiting} are no more than an iteration handles");
    control.stop();
    let mut tally = Tally(0);
    event_loop.run(&mut tally).unwrap();
    drop(event_loop);
    assert_eq!((tally.0 as u64, order.0.len() as u64), (waiting, 400 - waiting));
    assert_eq!(counters.get(Counter::FramesLostToShutdown), 0);
}
