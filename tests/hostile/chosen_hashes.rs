//! Info hashes that somebody chose, without the secret constants of the process: how evenly they
//! spread over workers. What these print is in `developer_docs/reliability.md`.

use fastrand::Rng;
use ringtide::tracker::InfoHash;
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

/// Only the topmost `bits` of each word differ: products of them with an odd constant differ in
/// those bits alone, whatever the constant is.
fn high_bits(bits: u32) -> Vec<InfoHash> {
    hashes(|number, index| {
        let share = number >> (index * bits).min(31) & ((1 << bits) - 1);
        share << (32 - bits)
    })
}

#[test]
fn hashes_that_differ_anywhere_but_in_high_bits_alone_are_spread() {
    let mut rng = Rng::with_seed(2);
    let random: Vec<_> =
        (0..HASHES).map(|_| InfoHash(std::array::from_fn(|_| rng.u8(..)))).collect();
    let sets = [
        ("random", random),
        ("counted in the first word", hashes(|number, index| if index == 0 { number } else { 0 })),
        ("counted in the last word", hashes(|number, index| if index == 4 { number } else { 7 })),
        ("the number in each word", hashes(|number, _| number)),
        ("bytes repeated", hashes(|number, _| (number & 0xff) * 0x0101_0101 ^ number >> 8)),
    ];
    for (name, set) in sets {
        for workers in [2, 4, 16] {
            let busiest = busiest(workers, &set);
            println!("{name}, {workers} workers: {busiest:.2?}");
            assert!(busiest.average < SPREAD_AVERAGE_MAX, "{name}: {busiest:?}");
        }
    }
}

/// A flood for a single torrent meets one worker whatever is done: it is the bound for any choice.
#[test]
fn hashes_chosen_against_the_steering_are_no_worse_than_one_torrent() {
    for bits in [1, 2, 4] {
        let set = high_bits(bits);
        for workers in [2, 4, 16] {
            let busiest = busiest(workers, &set);
            println!("{bits} high bits of each word, {workers} workers: {busiest:.2?}");
            assert!(busiest.average <= workers as f64);
            assert!(bits < 4 || busiest.average < HIGH_BITS_AVERAGE_MAX, "{busiest:?}");
        }
    }
}

/// Bounds of what `developer_docs/reliability.md` says, with room for other random numbers.
const SPREAD_AVERAGE_MAX: f64 = 1.5;
const HIGH_BITS_AVERAGE_MAX: f64 = 5.0;
