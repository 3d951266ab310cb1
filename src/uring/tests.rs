//! The loop under conditions that a well-sized ring never meets.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::{EventLoop, Ring};
use crate::clock::Clock;
use crate::engine::{Engine, LoopSizes, WorkerControl, WorkerPlan};
use crate::handler::{
    Forward, Forwarded, Handler, Now, Packet, Part, ReplyPath, SocketId, Transmit,
};
use crate::net::lent::{Lend, SocketTable};
use crate::net::socket::{SocketOptions, bind_group};
use crate::telemetry::{Counter, Counters, DropReason};

/// Echoes, and asks its worker to stop after so many datagrams.
struct EchoUntil {
    left: u32,
    control: Arc<WorkerControl>,
}

impl Handler for EchoUntil {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |out| {
            out[..packet.payload.len()].copy_from_slice(packet.payload);
            packet.payload.len()
        });
        self.left -= 1;
        if self.left == 0 {
            self.control.stop();
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

fn plan(sizes: LoopSizes) -> (WorkerPlan, SocketAddr) {
    let options = SocketOptions { receive_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20 };
    let group = bind_group("127.0.0.1:0".parse().unwrap(), 1, options, None).unwrap();
    let address = group.sockets[0].address();
    let sockets = group.sockets.into_iter().map(|socket| Arc::new(socket) as Arc<dyn Lend>);
    let plan = WorkerPlan {
        index: 0,
        core: None,
        table: Arc::new(SocketTable::new(sockets)),
        counters: Arc::new(Counters::default()),
        control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
        engine: Engine::IoUring,
        sizes,
    };
    (plan, address)
}

/// Sends `count` datagrams ahead of time, then runs a loop until it has echoed all of them.
fn run_over(sizes: LoopSizes, completion_entries: u32, count: u32) -> (Arc<Counters>, usize) {
    let (plan, address) = plan(sizes);
    let counters = Arc::clone(&plan.counters);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..count {
        client.send_to(&number.to_be_bytes(), address).unwrap();
    }
    let mut ring = Ring::open_with(&plan, completion_entries).unwrap();
    let mut handler = EchoUntil { left: count, control: Arc::clone(&plan.control) };
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!(event_loop.outstanding(), 0);
    let pools = &event_loop.pools;
    assert_eq!(pools.groups.datagrams.pool().held(), 0);
    (counters, pools.slots.in_flight())
}

fn assert_accounted(counters: &Counters, received: u32) {
    let total = counters.snapshot();
    assert_eq!(total.get(Counter::PacketsReceived), u64::from(received));
    let accounted = total.get(Counter::PacketsSent) + total.dropped_total();
    assert_eq!(accounted, u64::from(received), "{total:?}");
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

/// Forwards each datagram back from its buffer, and forwards it once more when that has ended.
struct ForwardTwice {
    left: u32,
    control: Arc<WorkerControl>,
}

impl ForwardTwice {
    fn forward(path: ReplyPath, parts: &[Part], tag: u32, tx: &mut impl Transmit) {
        let forward = Forward {
            socket: path.socket,
            to: Some(path.to),
            ipv6: false,
            parts,
            segment_bytes: None,
            ttl: None,
            tos: None,
            tag,
        };
        tx.forward(forward).unwrap();
    }
}

impl Handler for ForwardTwice {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let start = packet.payload.as_ptr() as usize - packet.buffer.bytes().as_ptr() as usize;
        let range = start..start + packet.payload.len();
        let part = Part { buffer: packet.buffer.clone(), range };
        Self::forward(packet.path, &[part], u32::from(packet.path.to.port()), tx);
    }

    fn on_forwarded<T: Transmit>(&mut self, _: Now, forwarded: &Forwarded<'_>, tx: &mut T) {
        assert_eq!(forwarded.result, Ok(4));
        self.left -= 1;
        if self.left == 0 {
            self.control.stop();
        } else if forwarded.tag != 0 {
            let to = SocketAddr::from(([127, 0, 0, 1], forwarded.tag as u16));
            let path = ReplyPath { socket: SocketId(0), to, from: None };
            Self::forward(path, forwarded.parts, 0, tx);
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

#[test]
fn what_is_forwarded_again_keeps_its_buffers() {
    let sizes = LoopSizes { forwards: true, ..LoopSizes::TRACKER };
    let (plan, address) = plan(sizes);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent: Vec<[u8; 4]> = (0..50u32).map(u32::to_be_bytes).collect();
    for datagram in &sent {
        client.send_to(datagram, address).unwrap();
    }
    let mut ring = Ring::open(&plan).unwrap();
    let mut handler = ForwardTwice { left: 100, control: Arc::clone(&plan.control) };
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!((handler.left, event_loop.pools.slots.in_flight()), (0, 0));
    assert_eq!(event_loop.pools.groups.datagrams.pool().held(), 0);
    // Each came back twice, with its own bytes.
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut received: Vec<[u8; 4]> = (0..100)
        .map(|_| {
            let mut datagram = [0; 4];
            assert_eq!(client.recv(&mut datagram).unwrap(), 4);
            datagram
        })
        .collect();
    received.sort_unstable();
    let mut expected = [sent.clone(), sent].concat();
    expected.sort_unstable();
    assert_eq!(received, expected);
}

/// Panics while it writes its first reply.
struct PanicInReply;

impl Handler for PanicInReply {
    fn on_packet<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |_| panic!("as this test wants"));
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

#[test]
fn a_panic_in_a_reply_costs_no_slot() {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"tide", address).unwrap();
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = event_loop.run(&mut PanicInReply);
    }));
    assert!(panicked.is_err());
    assert_eq!(event_loop.pools.slots.in_flight(), 0);
    drop(event_loop);
    assert_eq!(counters.snapshot().dropped(DropReason::Panic), 1);
}

#[test]
fn a_lone_request_takes_one_turn() {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    let control = Arc::clone(&plan.control);
    let worker = std::thread::spawn(move || {
        let mut ring = Ring::open(&plan).unwrap();
        let mut handler = EchoUntil { left: 1000, control: Arc::clone(&plan.control) };
        EventLoop::new(&mut ring, plan, Clock::start()).unwrap().run(&mut handler).unwrap();
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reply = [0; 8];
    for _ in 0..1000 {
        client.send_to(b"tide", address).unwrap();
        client.recv(&mut reply).unwrap();
    }
    worker.join().unwrap();
    assert!(control.should_stop());
    // A turn each, some for the start, the end and the ticks; three each would be 3,000.
    let turns = counters.snapshot().get(Counter::Iterations);
    assert!(turns < 1500, "{turns} turns for 1000 requests");
}
