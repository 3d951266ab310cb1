//! Which shard, and so which worker, owns a torrent.
//!
//! The kernel runs the same function on every datagram, as a classic BPF program on the
//! SO_REUSEPORT group, to hand requests to the worker that owns their torrent. It is therefore
//! made only of what such a program has: one 32-bit accumulator, one 32-bit register beside it,
//! wrapping arithmetic, shifts and an unsigned remainder.
//!
//! The constants are secret and differ per process, so that nobody can choose info hashes that
//! all belong to one worker.

use crate::values::InfoHash;

/// The secret constants of the function from info hash to shard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Steering {
    multipliers: [u32; 6],
    addend: u32,
}

impl Steering {
    /// Bytes of secret that the constants are made from.
    pub const SEED_BYTES: usize = 28;

    /// Constants that follow from `seed` alone; multipliers are made odd, so that no bit of the
    /// hash is lost.
    pub fn from_seed(seed: &[u8; Self::SEED_BYTES]) -> Self {
        let mut words = [0_u32; 7];
        for (word, bytes) in words.iter_mut().zip(seed.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let [m0, m1, m2, m3, m4, m5, addend] = words;
        Self { multipliers: [m0, m1, m2, m3, m4, m5].map(|word| word | 1), addend }
    }

    /// The five multipliers of the hash's words, then the one of the final mix; all odd.
    pub fn multipliers(&self) -> [u32; 6] {
        self.multipliers
    }

    /// What the accumulator starts from.
    pub fn addend(&self) -> u32 {
        self.addend
    }

    /// The index of the shard that owns `hash`, of `shards` in all.
    ///
    /// With `a` as the accumulator and `w0..w4` as the hash's big-endian words:
    /// `a = addend`, for each word `a = (a + wi) * mi` and `a ^= a >> 16`, then `a *= m5`,
    /// `a ^= a >> 16`, `a %= shards`. The fold after each word carries differences in high bits,
    /// which a product leaves where they are, to all others.
    pub fn owner(&self, hash: &InfoHash, shards: usize) -> usize {
        let mut accumulator = self.addend;
        for (bytes, multiplier) in hash.0.as_chunks::<4>().0.iter().zip(self.multipliers) {
            let word = u32::from_be_bytes(*bytes);
            accumulator = fold(accumulator.wrapping_add(word).wrapping_mul(multiplier));
        }
        accumulator = fold(accumulator.wrapping_mul(self.multipliers[5]));
        accumulator as usize % shards.max(1)
    }
}

/// The high half folded into the low one.
#[inline]
fn fold(word: u32) -> u32 {
    word ^ word >> 16
}

/// Secret constants stay out of logs.
impl std::fmt::Debug for Steering {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Steering(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steering(seed: u64) -> Steering {
        let mut bytes = [0; Steering::SEED_BYTES];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        Steering::from_seed(&bytes)
    }

    /// The largest and smallest share of `hashes` over `shards`, as a fraction of an equal share.
    fn spread(shards: usize, hashes: impl Iterator<Item = InfoHash>, seed: u64) -> (f64, f64) {
        let steering = steering(seed);
        let mut counts = vec![0_u32; shards];
        hashes.for_each(|hash| counts[steering.owner(&hash, shards)] += 1);
        let equal = f64::from(counts.iter().sum::<u32>()) / shards as f64;
        let share = |count: Option<&u32>| f64::from(*count.expect("a shard")) / equal;
        (share(counts.iter().max()), share(counts.iter().min()))
    }

    #[test]
    fn constants_worked_by_hand() {
        let mut seed = [0; Steering::SEED_BYTES];
        seed[3] = 3; // m0 = 3
        seed[27] = 7; // addend = 7
        let steering = Steering::from_seed(&seed);
        assert_eq!(steering.multipliers(), [3, 1, 1, 1, 1, 1]);
        assert_eq!(steering.addend(), 7);
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&[0x01, 0x00, 0x00, 0x00]);
        hash[19] = 2;
        // (7 + 0x01000000) * 3 = 0x03000015; ^ 0x0300 = 0x03000315. Three zero words fold back and
        // forth to 0x03000015; + 2 = 0x03000017; ^ 0x0300 = 0x03000317; ^ 0x0300 = 0x03000017.
        assert_eq!(steering.owner(&InfoHash(hash), 1000), 0x0300_0017 % 1000);
        assert_eq!(steering.owner(&InfoHash(hash), 1), 0);
    }

    #[test]
    fn random_hashes_are_balanced() {
        for shards in [1, 2, 3, 4, 7, 16, 64] {
            let mut rng = fastrand::Rng::with_seed(1);
            let mut random = || InfoHash(std::array::from_fn(|_| rng.u8(..)));
            let hashes = (0..200_000).map(|_| random());
            let (most, least) = spread(shards, hashes, 2);
            assert!(most < 1.1 && least > 0.9, "{shards} shards: {most} and {least}");
        }
    }

    #[test]
    fn neighbouring_hashes_are_balanced() {
        // 256 hashes cannot be spread evenly by every choice of constants, so the bounds are
        // for the average over many.
        for shards in [2, 4, 8] {
            let (mut most, mut least) = (0.0, 0.0);
            for seed in 0..100 {
                let last_byte = |byte| InfoHash(std::array::from_fn(|at| [7, byte][at / 19]));
                let shares = spread(shards, (0..=255).map(last_byte), seed);
                (most, least) = (most + shares.0 / 100.0, least + shares.1 / 100.0);
            }
            assert!(most < 1.5 && least > 0.5, "{shards} shards: {most} and {least}");
        }
    }
}
