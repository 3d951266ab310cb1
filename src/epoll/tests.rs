//! The loop with pools that run dry, sends that fail, and sockets that are never empty.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::EpollLoop;
use super::sockets::{Ready, Sockets};
use super::transmit::{QueueTransmit, SendQueue};
use crate::io::clock::Clock;
use crate::io::socket_table::{LoopSocket, SocketTable};
use crate::io::testing::{
    EchoUntil, ForwardTwice, Numbers, PanicInReply, ask_in_turn, assert_accounted, plan,
};
use crate::io::{
    Buffer, DatagramService, Dispatch, Now, Packet, ReplyPath, ServiceId, SocketId, Transmit,
};
use crate::io::{EventLoop, LoopSizes, WorkerControl, WorkerPlan};
use crate::sys::socket::{SocketOptions, bind_group};
use crate::telemetry::{Counter, Counters, DropReason};

/// Runs a loop to its end. Returns what it left taken: buffers of either kind, slots, sends.
pub(crate) fn run_to_end(plan: WorkerPlan, handler: &mut impl Dispatch) -> [usize; 4] {
    let mut event_loop = EpollLoop::new(plan, Clock::start()).unwrap();
    event_loop.run(handler).unwrap();
    let frames = event_loop.frames.as_ref().map_or(0, |frames| frames.pool().held());
    let queue = &event_loop.send_path.queue;
    let waiting = usize::from(!queue.is_idle());
    [event_loop.datagrams.pool().held(), frames, queue.slots.in_flight(), waiting]
}

/// Sends `count` datagrams ahead of time, then runs a loop until it has echoed all of them.
fn run_over(sizes: LoopSizes, count: u32) -> Arc<Counters> {
    let (plan, address) = plan(sizes);
    let counters = Arc::clone(&plan.counters);
    let client = Numbers::send(count, address);
    let mut handler = EchoUntil { left: count, control: Arc::clone(&plan.control) };
    let mut event_loop = EpollLoop::new(plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!(event_loop.datagrams.pool().held(), 0);
    assert_eq!(event_loop.send_path.queue.slots.in_flight(), 0);
    client.assert_back(1);
    assert_accounted(&counters, count);
    counters
}

#[test]
fn two_receive_buffers_are_enough_for_all_datagrams() {
    let counters = run_over(LoopSizes { receive_buffers: 2, ..LoopSizes::TRACKER }, 200);
    assert!(counters.snapshot().get(Counter::ReceiveRearms) >= 100, "the pool never ran dry");
}

#[test]
fn one_slot_is_enough_for_all_replies() {
    let counters = run_over(LoopSizes { send_slots: 1, ..LoopSizes::TRACKER }, 200);
    assert_eq!(counters.snapshot().get(Counter::PacketsSent), 200);
}

#[test]
fn what_is_forwarded_again_keeps_its_buffers() {
    let sizes = LoopSizes { forwards: true, ..LoopSizes::TRACKER };
    let (plan, address) = plan(sizes);
    let client = Numbers::send(50, address);
    let mut handler = ForwardTwice { left: 100, control: Arc::clone(&plan.control) };
    let mut event_loop = EpollLoop::new(plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!((handler.left, event_loop.send_path.queue.slots.in_flight()), (0, 0));
    assert_eq!(event_loop.datagrams.pool().held(), 0);
    client.assert_back(2);
}

#[test]
fn a_panic_costs_no_slot_and_the_rest_of_the_batch_is_counted() {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    Numbers::send(10, address);
    let mut event_loop = EpollLoop::new(plan, Clock::start()).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = event_loop.run(&mut PanicInReply);
    }));
    assert!(panicked.is_err());
    assert_eq!(event_loop.send_path.queue.slots.in_flight(), 0);
    drop(event_loop);
    let total = counters.snapshot();
    assert_eq!(total.dropped(DropReason::Panic), 1);
    assert_eq!(total.dropped(DropReason::Shutdown), 9);
    assert_accounted(&counters, 10);
}

#[test]
fn a_lone_request_takes_one_iteration() {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    let worker = std::thread::spawn(move || {
        let mut handler = EchoUntil { left: 1000, control: Arc::clone(&plan.control) };
        EpollLoop::new(plan, Clock::start()).unwrap().run(&mut handler).unwrap();
    });
    ask_in_turn(1000, address);
    worker.join().unwrap();
    let iterations = counters.snapshot().get(Counter::Iterations);
    assert!(iterations < 1500, "{iterations} iterations for 1000 requests");
}

/// Two sockets on loopback, under the IDs 0 and 1.
fn two_sockets() -> (Arc<SocketTable>, [SocketAddr; 2]) {
    let options = SocketOptions { receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 };
    let sockets = [0, 1].map(|_| {
        let group = bind_group("127.0.0.1:0".parse().unwrap(), 1, options, None).unwrap();
        Arc::new(group.sockets.into_iter().next().unwrap())
    });
    let addresses = [0, 1].map(|index: usize| sockets[index].address());
    let sockets = sockets.map(|socket| socket as Arc<dyn LoopSocket>);
    (Arc::new(SocketTable::new(ServiceId::Tracker, sockets)), addresses)
}

/// Keeps every buffer from one tick to the next.
struct Hoard {
    kept: Vec<Buffer>,
    left: usize,
    control: Arc<WorkerControl>,
}

impl DatagramService for Hoard {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, _: &mut T) {
        self.kept.push(packet.buffer.clone());
        self.left -= 1;
        if self.left == 0 {
            self.control.stop();
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {
        self.kept.clear();
    }
}

#[test]
fn a_handler_that_keeps_all_buffers_does_not_make_the_loop_spin() {
    let sizes = LoopSizes { receive_buffers: 2, ..LoopSizes::TRACKER };
    let (plan, address) = plan(sizes);
    let (counters, control) = (Arc::clone(&plan.counters), Arc::clone(&plan.control));
    let _numbers = Numbers::send(6, address);
    let mut event_loop = EpollLoop::new(plan, Clock::start()).unwrap();
    event_loop.run(&mut Hoard { kept: Vec::new(), left: 6, control }).unwrap();
    let total = counters.snapshot();
    assert_eq!(total.get(Counter::PacketsReceived), 6);
    let iterations = total.get(Counter::Iterations);
    assert!(iterations < 50, "{iterations} iterations for six datagrams");
}

/// Notes which socket each datagram came in on.
#[derive(Default)]
struct Order(Vec<SocketId>);

impl DatagramService for Order {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, _: &mut T) {
        self.0.push(packet.path.socket());
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

#[test]
fn a_flooded_socket_leaves_the_others_their_share() {
    let (table, addresses) = two_sockets();
    let (mut plan, _) = plan(LoopSizes::TRACKER);
    plan.table = table;
    let _flood = Numbers::send(1000, addresses[0]);
    let _lone = Numbers::send(1, addresses[1]);
    let mut event_loop = EpollLoop::new(plan, Clock::start()).unwrap();
    let mut order = Order::default();
    let soon = event_loop.now().after(Duration::from_secs(5));
    event_loop.iterate(&mut order, soon).unwrap();
    assert!(order.0.contains(&SocketId(1)), "it waits for all {} of the other", order.0.len());
    assert!(order.0.len() < 1000);
}

#[test]
fn a_failing_message_is_told_apart_from_those_around_it() {
    let (table, addresses) = two_sockets();
    let control = WorkerControl::new(Duration::ZERO).unwrap();
    let mut sockets = Sockets::new(table, &control, LoopSizes::TRACKER.sockets).unwrap();
    sockets.catch_up().unwrap();
    let counters = Counters::default();
    let mut queue = SendQueue::new(&LoopSizes { send_slots: 16, ..LoopSizes::TRACKER }).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = client.local_addr().unwrap();
    // An IPv4 socket takes no IPv6 address; and nothing is registered as socket 7 or beyond them
    // all.
    let wrong = SocketAddr::from(([0u16; 8], 1));
    let sends = [
        (0, to, b'a'),
        (0, wrong, b'-'),
        (0, wrong, b'-'),
        (1, to, b'b'),
        (7, to, b'-'),
        (0, to, b'c'),
        (u16::MAX, to, b'-'),
        (1, wrong, b'-'),
    ];
    for (socket, to, byte) in sends {
        let path = ReplyPath::new(SocketId(socket), to, None);
        let (queue, sockets, counters) = (&mut queue, &sockets, &counters);
        let write = |out: &mut [u8]| {
            out[0] = byte;
            1
        };
        QueueTransmit { queue, sockets, counters }.reply(path, write).unwrap();
    }
    queue.send_all(&sockets, &counters);
    assert!(queue.is_idle());
    assert_eq!(queue.slots.in_flight(), 0);
    let total = counters.snapshot();
    assert_eq!((total.get(Counter::PacketsSent), total.get(Counter::BytesSent)), (3, 3));
    assert_eq!(total.dropped(DropReason::SendError), 5);
    let mut received = Vec::new();
    for _ in 0..3 {
        let mut byte = [0];
        let (_, from) = client.recv_from(&mut byte).unwrap();
        received.push((from, byte[0]));
    }
    // Each socket keeps its order, and the one that began first goes first.
    let expected = [(addresses[0], b'a'), (addresses[0], b'c'), (addresses[1], b'b')];
    assert_eq!(received, expected);
}

#[test]
fn a_socket_may_move_to_another_id() {
    let (table, addresses) = two_sockets();
    let control = WorkerControl::new(Duration::ZERO).unwrap();
    let mut sockets =
        Sockets::new(Arc::clone(&table), &control, LoopSizes::TRACKER.sockets).unwrap();
    sockets.catch_up().unwrap();
    let moving = table.with_wanted(|wanted, _| wanted[1].clone()).unwrap();
    table.deregister(SocketId(0));
    table.deregister(SocketId(1));
    assert_eq!(table.register(moving.service, moving.socket), Some(SocketId(0)));
    sockets.catch_up().unwrap();
    assert_eq!(table.applied(), table.version());
    assert!(sockets.get(SocketId(1)).is_none());
    let _numbers = Numbers::send(1, addresses[1]);
    assert_eq!(sockets.wait(Duration::from_secs(5)).unwrap(), 1);
    assert_eq!(sockets.ready(0), Ready::Socket(SocketId(0)));
}
