//! Whole trackers and many clients in virtual time, driven by one seed.
//!
//! One to three workers serve clients over a network that loses, repeats, delays and reorders
//! datagrams. Nothing reads a clock and one random generator decides everything, so a seed is a
//! run. Each datagram that reaches the tracker also reaches a simple model, and every reply,
//! counter and stored peer is compared with it.
//!
//! `RINGTIDE_SEED=<number> cargo test --test random tracker_simulation:: -- --nocapture` repeats
//! one run, `RINGTIDE_SEEDS=<number>` runs so many fresh ones.

mod client;
mod cluster;
mod coverage;
mod issued;
mod judge;
mod limits;
mod model;
mod noise;
mod reading;
mod scenario;
mod world;

use crate::seeds::{for_fresh_seeds, requested_seed};
use coverage::Coverage;
use ringtide::telemetry::{Counter, DropReason};
use scenario::{Scenario, Shape};
use world::{Outcome, World};

/// Runs whose coverage is asserted; each shape of scenario comes up several times.
const FIXED_SEEDS: std::ops::Range<u64> = 1..61;

/// Counted by an engine, which the simulation stands in for, or where memory is short: with
/// millions of torrents, which `tests/program/hostile/flood.rs` has.
const ENGINE_COUNTERS: [Counter; 15] = [
    Counter::TorrentsEvicted,
    Counter::PeersEvicted,
    Counter::UnstoredMemoryLimit,
    Counter::FramesLostToPanic,
    Counter::FramesLostToShutdown,
    Counter::PacketsReceived,
    Counter::BytesReceived,
    Counter::PacketsSent,
    Counter::BytesSent,
    Counter::FramesReceived,
    Counter::ReceiveErrors,
    Counter::Iterations,
    Counter::ReceiveRearms,
    Counter::CompletionQueueOverflows,
    Counter::WorkerRestarts,
];

/// The simulation has fewer sources than a table of limits has places in its smallest part.
const NEVER_CROWDED: Counter = Counter::SourcesForgotten;

/// Reasons that only an engine has. `SendSlotsFull` is an engine's as well, but that part of one
/// the simulation plays.
const ENGINE_REASONS: [DropReason; 6] = [
    DropReason::Truncated,
    DropReason::SocketFull,
    DropReason::SendError,
    DropReason::Panic,
    DropReason::Shutdown,
    // An operator's doing.
    DropReason::Draining,
];

#[test]
fn fixed_seeds_agree_with_the_model_and_reach_everything() {
    if let Some(seed) = requested_seed() {
        run(seed);
        return;
    }
    let mut seen = Coverage::default();
    let mut totals = Vec::new();
    for seed in FIXED_SEEDS {
        let outcome = run(seed);
        seen.merge(&outcome.seen);
        totals.push(outcome.counted);
    }
    let missing = seen.missing();
    assert!(missing.is_empty(), "the generators never reached {missing:?}");
    let by_others =
        |counter: &Counter| ENGINE_COUNTERS.contains(counter) || *counter == NEVER_CROWDED;
    for counter in Counter::ALL.iter().filter(|counter| !by_others(counter)) {
        assert!(totals.iter().any(|total| total.get(*counter) > 0), "{counter:?} never counted");
    }
    for reason in DropReason::ALL.iter().filter(|reason| !ENGINE_REASONS.contains(reason)) {
        assert!(totals.iter().any(|total| total.dropped(*reason) > 0), "{reason:?} never counted");
    }
}

#[test]
fn fresh_seeds_agree_with_the_model() {
    for_fresh_seeds("simulation", |seed| _ = run(seed));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    if requested_seed().is_some() {
        return;
    }
    for seed in FIXED_SEEDS.take(Shape::ALL.len()) {
        let digest = World::new(seed).run().digest;
        assert_eq!(digest, World::new(seed).run().digest, "seed {seed}");
        assert_ne!(digest, World::new(seed + 1000).run().digest, "seed {seed}");
    }
}

#[test]
fn every_shape_and_number_of_workers_comes_up() {
    let mut reached = [[false; 3]; Shape::ALL.len()];
    for seed in 0..200 {
        let scenario = Scenario::draw(&mut fastrand::Rng::with_seed(seed));
        reached[scenario.shape as usize][scenario.workers - 1] = true;
    }
    assert_eq!(reached, [[true; 3]; Shape::ALL.len()]);
}

fn run(seed: u64) -> Outcome {
    let world = World::new(seed);
    println!("seed {seed}: {}", world.description());
    world.run()
}
