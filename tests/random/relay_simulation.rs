//! Relays with lossy links between them in virtual time, driven by one seed.
//!
//! Senders reach one to three relays in a chain over links that lose, repeat, reorder and spoil
//! frames; sends fail, slots and buffers are few, rules and interfaces change. Nothing reads a
//! clock and one random generator decides everything, so a seed is a run. A model knows what each
//! frame is: it says what each output must send next, byte by byte, and what each counter must
//! say after each turn.
//!
//! `RINGTIDE_SEED=<number> cargo test --test random relay_simulation -- --nocapture` repeats one
//! run, `RINGTIDE_SEEDS=<number>` runs so many fresh ones.

mod coverage;
mod frames;
mod link;
mod model;
mod node;
mod reassembly;
mod rules;
mod scenario;
mod sender;
mod world;

use ringtide::relay::stats::RelayDrop;

use crate::seeds::{for_fresh_seeds, requested_seed};
use coverage::Coverage;
use scenario::{Scenario, Shape};
use world::{Outcome, World};

/// Runs whose coverage is asserted; each shape of scenario comes up several times.
const FIXED_SEEDS: std::ops::Range<u64> = 1..61;

/// Reasons that only an engine has.
const ENGINE_REASONS: [RelayDrop; 2] = [RelayDrop::Panic, RelayDrop::Shutdown];

#[test]
fn fixed_seeds_agree_with_the_model_and_reach_everything() {
    if let Some(seed) = requested_seed() {
        run(seed);
        return;
    }
    let mut seen = Coverage::default();
    let mut drops = [0; RelayDrop::ALL.len()];
    let mut received = 0;
    for seed in FIXED_SEEDS {
        let outcome = run(seed);
        seen.merge(&outcome.seen);
        outcome.drops.iter().for_each(|(reason, count)| drops[*reason as usize] += count);
        received += outcome.received;
    }
    println!("{received} datagrams received");
    let missing = seen.missing();
    assert!(missing.is_empty(), "the generators never reached {missing:?}");
    for reason in RelayDrop::ALL.iter().filter(|reason| !ENGINE_REASONS.contains(reason)) {
        assert!(drops[*reason as usize] > 0, "{reason:?} never counted");
    }
}

#[test]
fn fresh_seeds_agree_with_the_model() {
    for_fresh_seeds("relay_simulation", |seed| drop(run(seed)));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    if requested_seed().is_some() {
        return;
    }
    for seed in FIXED_SEEDS.take(Shape::ALL.len()) {
        let digest = World::new(seed).run().digest;
        assert_eq!(digest, World::new(seed).run().digest, "seed {seed}");
    }
}

#[test]
fn every_shape_and_length_of_chain_comes_up() {
    let mut reached = [[false; 3]; Shape::ALL.len()];
    for seed in 0..200 {
        let scenario = Scenario::draw(&mut fastrand::Rng::with_seed(seed));
        reached[scenario.shape as usize][scenario.rules.len() - 1] = true;
    }
    assert_eq!(reached, [[true; 3]; Shape::ALL.len()]);
}

fn run(seed: u64) -> Outcome {
    let world = World::new(seed);
    println!("seed {seed}: {}", world.description());
    world.run()
}
