//! Info hashes that somebody chose, without the secret constants of the process: how evenly they
//! spread over workers. What these print is in `developer_docs/reliability.md`.

use std::collections::BTreeSet;

use fastrand::Rng;
use ringtide::tracker::core::InfoHash;
use ringtide::tracker::store::{Secrets, Shards};

const HASHES: usize = 4096;
const PROCESSES: usize = 200;

/// The load of the busiest worker, where 1 is an equal share: on average over many processes, and
/// in the worst of them.
#[derive(Debug)]
struct Busiest {
    average: f64,
    worst: f64,
}

fn busiest(workers: usize, hashes: &[InfoHash]) -> Busiest {
    let mut rng = Rng::with_seed(1);
    let (mut sum, mut worst) = (0.0, 0.0_f64);
    for _ in 0..PROCESSES {
        let mut seed = [0; Secrets::SEED_BYTES];
        rng.fill(&mut seed);
        let shards = Shards::new(workers, &Secrets::from_seed(&seed));
        let mut loads = vec![0_usize; workers];
        hashes.iter().for_each(|hash| loads[shards.owner(hash)] += 1);
        let most = *loads.iter().max().unwrap() as f64;
        let share = most * workers as f64 / hashes.len() as f64;
        sum += share;
        worst = worst.max(share);
    }
    Busiest { average: sum / PROCESSES as f64, worst }
}

/// Hashes whose words `word` makes, from the hash's number and the word's.
fn hashes(word: impl Fn(u32, u32) -> u32) -> Vec<InfoHash> {
    let hash = |number: usize| {
        let mut hash = InfoHash([0; 20]);
        for (index, bytes) in hash.0.chunks_exact_mut(4).enumerate() {
            bytes.copy_from_slice(&word(number as u32, index as u32).to_be_bytes());
        }
        hash
    };
    (0..HASHES).map(hash).collect()
}

/// Only the topmost `bits` of each word differ. Products of such words with an odd constant differ
/// in those bits alone, whatever the constant is, and so do sums of the products.
fn high_bits(bits: u32) -> Vec<InfoHash> {
    hashes(|number, index| {
        let share = number >> (index * bits).min(31) & ((1 << bits) - 1);
        share << (32 - bits)
    })
    .into_iter()
    .collect::<BTreeSet<_>>()
    .into_iter()
    .collect()
}

#[test]
fn hashes_of_every_pattern_are_spread() {
    let mut rng = Rng::with_seed(2);
    let random = (0..HASHES).map(|_| InfoHash(std::array::from_fn(|_| rng.u8(..)))).collect();
    let sets = [
        ("random", random),
        ("counted in the first word", hashes(|number, index| if index == 0 { number } else { 0 })),
        ("counted in the last word", hashes(|number, index| if index == 4 { number } else { 7 })),
        ("the number in each word", hashes(|number, _| number)),
        ("the high 8 bits of each word", high_bits(8)),
        ("the high 4 bits of each word", high_bits(4)),
        ("the high 3 bits of each word", high_bits(3)),
    ];
    for (name, set) in sets {
        for workers in [2, 4, 16] {
            let busiest = busiest(workers, &set);
            println!("{name}, {} hashes, {workers} workers: {busiest:.2?}", set.len());
            assert!(busiest.average < SPREAD_AVERAGE_MAX, "{name}: {busiest:?}");
            assert!(busiest.worst < SPREAD_WORST_MAX, "{name}: {busiest:?}");
        }
    }
}

/// What `developer_docs/reliability.md` says, with room for other random numbers.
const SPREAD_AVERAGE_MAX: f64 = 1.2;
const SPREAD_WORST_MAX: f64 = 1.6;
