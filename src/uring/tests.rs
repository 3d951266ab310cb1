//! The loop under conditions that a well-sized ring never meets.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Instant;

use super::{EventLoop, Ring};
use crate::clock::Clock;
use crate::engine::testing::{
    EchoUntil, ForwardTwice, Numbers, PanicInReply, ask_in_turn, assert_accounted, plan,
};
use crate::engine::{Engine, LoopSizes, RingFeatures, WorkerPlan};
use crate::handler::Handler;
use crate::telemetry::{Counter, Counters, DropReason};

/// Runs a loop to its end. Returns what it left taken: buffers of either kind, slots, operations.
pub(crate) fn run_to_end(plan: WorkerPlan, handler: &mut impl Handler) -> [usize; 4] {
    let mut ring = Ring::open(&plan).unwrap();
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(handler).unwrap();
    let pools = &event_loop.pools;
    let frames = pools.groups.frames.as_ref().map_or(0, |frames| frames.pool().held());
    let datagrams = pools.groups.datagrams.pool().held();
    [datagrams, frames, pools.slots.in_flight(), event_loop.outstanding()]
}

/// Sends `count` datagrams ahead of time, then runs a loop until it has echoed all of them.
fn run_over(sizes: LoopSizes, completion_entries: u32, count: u32) -> (Arc<Counters>, usize) {
    let (plan, address) = plan(Engine::IoUring, sizes);
    let counters = Arc::clone(&plan.counters);
    let _client = Numbers::send(count, address);
    let mut ring = Ring::open_with(&plan, completion_entries).unwrap();
    let mut handler = EchoUntil { left: count, control: Arc::clone(&plan.control) };
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
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
    let (plan, address) = plan(Engine::IoUring, sizes);
    let (counters, control) = (Arc::clone(&plan.counters), Arc::clone(&plan.control));
    let numbers = Numbers::send(1000, address);
    let worker = std::thread::spawn(move || {
        let mut ring = Ring::open_with(&plan, 8).unwrap();
        let mut handler = EchoUntil { left: 1100, control };
        EventLoop::new(&mut ring, plan, Clock::start()).unwrap().run(&mut handler).unwrap();
    });
    let began = Instant::now();
    numbers.assert_back(1);
    let overflows = || counters.snapshot().get(Counter::CompletionQueueOverflows);
    let during = overflows();
    println!("1000 replies through a queue of 8 in {:?}, {during} overflows", began.elapsed());
    assert!(during > 0, "the test overflowed nothing");
    ask_in_turn(100, address);
    worker.join().unwrap();
    // What was left over from before may have been told with the first of them.
    assert!(overflows() <= during + 1, "{} and {during}", overflows());
    assert_accounted(&counters, 1100);
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
    let (plan, address) = plan(Engine::IoUring, sizes);
    let client = Numbers::send(50, address);
    let mut ring = Ring::open(&plan).unwrap();
    let mut handler = ForwardTwice { left: 100, control: Arc::clone(&plan.control) };
    let mut event_loop = EventLoop::new(&mut ring, plan, Clock::start()).unwrap();
    event_loop.run(&mut handler).unwrap();
    assert_eq!((handler.left, event_loop.pools.slots.in_flight()), (0, 0));
    assert_eq!(event_loop.pools.groups.datagrams.pool().held(), 0);
    client.assert_back(2);
}

#[test]
fn a_panic_in_a_reply_costs_no_slot() {
    let (plan, address) = plan(Engine::IoUring, LoopSizes::TRACKER);
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
    let (plan, address) = plan(Engine::IoUring, LoopSizes::TRACKER);
    let counters = Arc::clone(&plan.counters);
    let worker = std::thread::spawn(move || {
        let mut ring = Ring::open(&plan).unwrap();
        let mut handler = EchoUntil { left: 1000, control: Arc::clone(&plan.control) };
        EventLoop::new(&mut ring, plan, Clock::start()).unwrap().run(&mut handler).unwrap();
    });
    ask_in_turn(1000, address);
    worker.join().unwrap();
    // A turn each, some for the start, the end and the ticks; three each would be 3,000.
    let turns = counters.snapshot().get(Counter::Iterations);
    assert!(turns < 1500, "{turns} turns for 1000 requests");
}

#[test]
fn a_probe_finds_a_ring_here() {
    super::probe(LoopSizes::TRACKER, RingFeatures::ALL).unwrap();
}
