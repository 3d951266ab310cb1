//! Loops that break: the worker builds another, of whatever engine it still gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::relay::Bench;
use super::{ERRNOS, eventually};
use crate::io::clock::Clock;
use crate::io::fault_injection::{FaultPlan, Operation};
use crate::io::testing::{EchoUntil, ask_in_turn, assert_accounted, plan};
use crate::io::{Dispatch, Frame, FrameService, Now, SendCompletion, ServiceId, Transmit};
use crate::io::{Engine, EngineChoice, LoopSizes};
use crate::relay::handler::Relay;
use crate::telemetry::Counter;
use crate::workers::Workers;

/// Serves with one worker whose first loop is under `faults`, and asks it so many times once it has
/// started anew `restarts` times: what a loop that breaks has received is dropped and counted.
fn serve(choice: EngineChoice, faults: FaultPlan, restarts: u64) -> Duration {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let (counters, control) = (Arc::clone(&plan.counters), Arc::clone(&plan.control));
    let worker = Arc::clone(&control);
    let made = AtomicUsize::new(0);
    let make = move |_| {
        if made.fetch_add(1, Ordering::Relaxed) == 0 {
            // In force for as long as the thread is there.
            std::mem::forget(faults.install());
        }
        EchoUntil { left: u32::MAX, control: Arc::clone(&control) }
    };
    let workers = Workers::start(choice, vec![plan], Clock::start(), make).unwrap();
    let began = Instant::now();
    let restarted = || counters.snapshot().get(Counter::WorkerRestarts) == restarts;
    eventually("the restart", &worker, restarted);
    ask_in_turn(1, address);
    let first = began.elapsed();
    ask_in_turn(REQUESTS - 1, address);
    workers.stop();
    assert_accounted(&counters, REQUESTS);
    assert_eq!(counters.snapshot().dropped_total(), 0);
    assert!(restarted());
    first
}

/// More than one turn answers.
const REQUESTS: u32 = 20;

#[test]
fn a_loop_whose_wait_fails_is_built_anew() {
    for engine in Engine::ALL {
        for (name, errno) in ERRNOS {
            if engine == Engine::IoUring && errno == libc::EAGAIN {
                continue; // It only has to ask again.
            }
            let faults = FaultPlan::first(Operation::Wait, errno, 1);
            let took = serve(EngineChoice::Only(engine), faults, 1);
            println!("{}: a wait ends with {name}: answered after {took:?}", engine.name());
        }
    }
}

#[test]
fn a_worker_that_gets_no_ring_any_more_goes_on_on_epoll() {
    for errno in [libc::EPERM, libc::EMFILE, libc::ENOMEM, libc::ENOSYS] {
        let faults = FaultPlan {
            faults: vec![
                (Operation::Wait, vec![libc::EIO], 1),
                (Operation::SetUp, vec![errno], usize::MAX),
            ],
            ..FaultPlan::first(Operation::Wait, libc::EIO, 1)
        };
        let took = serve(EngineChoice::Auto, faults, 2);
        println!("no ring any more, error {errno}: answered after {took:?}");
    }
}

/// A relay, but for a frame that makes it panic.
struct Fragile(Relay);

/// Shorter than the header in front of a frame, so that all of it is handed over.
const PANIC: &[u8] = b"panic";

impl Dispatch for Fragile {
    fn on_frame<T: Transmit>(&mut self, _: ServiceId, now: Now, frame: &Frame<'_>, tx: &mut T) {
        assert!(frame.bytes != PANIC, "as the test wants");
        self.0.on_frame(now, frame, tx);
    }

    fn sends_per_frame_max(&self) -> usize {
        self.0.sends_per_frame_max()
    }

    fn on_forwarded<T: Transmit>(
        &mut self,
        _: ServiceId,
        now: Now,
        forwarded: &SendCompletion<'_>,
        tx: &mut T,
    ) {
        self.0.on_forwarded(now, forwarded, tx);
    }

    fn on_tick<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        self.0.on_tick(now, tx);
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, tx: &mut T) {
        self.0.on_flush(now, tx);
    }
}

#[test]
fn a_relay_goes_on_after_a_panic() {
    for engine in Engine::ALL {
        let (bench, plan) = Bench::new();
        let counters = Arc::clone(&plan.counters);
        let shared = Arc::clone(&bench.shared);
        let make = move |_| Fragile(Relay::new(Arc::clone(&shared)));
        let workers =
            Workers::start(EngineChoice::Only(engine), vec![plan], Clock::start(), make).unwrap();
        let count = |counter| counters.snapshot().get(counter);
        bench.pass(100);
        for panics in 1..=3 {
            let began = Instant::now();
            bench.source.send(PANIC).unwrap();
            let restarted = || count(Counter::WorkerRestarts) == panics;
            eventually("the restart", &bench.control, restarted);
            bench.pass(1);
            println!("{}: a relay relays again {:?} after a panic", engine.name(), began.elapsed());
            bench.pass(100);
        }
        workers.stop();
        for output in 0..2 {
            let ended = bench.ended(output);
            assert_eq!((ended.packets, ended.dropped_total()), (403, 0));
        }
        assert_eq!(count(Counter::FramesLostToPanic), 3);
        assert_eq!(count(Counter::FramesLostToShutdown), 0);
    }
}
