//! Which torrents are asked for how often.

use std::str::FromStr;

use fastrand::Rng;

/// How requests spread over torrents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// Every torrent as often as any other.
    Uniform,
    /// The torrent of rank r in proportion to r to the power of minus the exponent (Zipf's law).
    Zipf(f64),
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("\"{text}\" is not uniform, zipf or zipf:EXPONENT with an exponent of 0.1 to 5")
        };
        match text.split_once(':') {
            None if text == "uniform" => Ok(Self::Uniform),
            None if text == "zipf" => Ok(Self::Zipf(1.0)),
            Some(("zipf", exponent)) => match exponent.parse() {
                Ok(exponent) if (0.1..=5.0).contains(&exponent) => Ok(Self::Zipf(exponent)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Popularity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// Picks torrents by their popularity.
#[derive(Clone, Debug)]
pub(super) struct Picker {
    torrents: u32,
    /// The share of the ranks up to each; empty for uniform.
    cumulative: Vec<f64>,
}

impl Picker {
    pub(super) fn new(torrents: u32, popularity: Popularity) -> Self {
        let cumulative = match popularity {
            Popularity::Uniform => Vec::new(),
            Popularity::Zipf(exponent) => cumulative(torrents, exponent),
        };
        Self { torrents, cumulative }
    }

    /// The torrent for choice number `turn` over all clients. Uniform cycles, so that all are
    /// chosen equally often; Zipf draws at random.
    pub(super) fn pick(&self, turn: u64, random: &mut Rng) -> u32 {
        if self.cumulative.is_empty() {
            return (turn % u64::from(self.torrents)) as u32;
        }
        let drawn = random.f64();
        let rank = self.cumulative.partition_point(|share| *share <= drawn);
        (rank as u32).min(self.torrents - 1)
    }
}

fn cumulative(torrents: u32, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (1..=torrents)
        .map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        })
        .collect();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_goes_round() {
        let picker = Picker::new(3, Popularity::Uniform);
        let mut random = Rng::with_seed(1);
        let picked: Vec<_> = (0..7).map(|turn| picker.pick(turn, &mut random)).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn zipf_halves_from_the_first_rank_to_the_second() {
        let picker = Picker::new(1000, Popularity::Zipf(1.0));
        let mut random = Rng::with_seed(2);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..200_000 {
            counts[picker.pick(0, &mut random) as usize] += 1;
        }
        // The first of 1,000 ranks has 1 / 7.485 of all.
        assert!((26_000..27_500).contains(&counts[0]), "{}", counts[0]);
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert!(counts.iter().all(|count| *count > 0));
        let steep = Picker::new(1000, Popularity::Zipf(2.0));
        let firsts = (0..1000).filter(|_| steep.pick(0, &mut random) == 0).count();
        assert!((560..660).contains(&firsts), "{firsts}");
    }

    #[test]
    fn names_are_read_and_written() {
        for text in ["uniform", "zipf:1", "zipf:0.8"] {
            assert_eq!(text.parse::<Popularity>().unwrap().to_string(), text);
        }
        assert_eq!("zipf".parse(), Ok(Popularity::Zipf(1.0)));
        for text in ["", "zipf:", "zipf:0", "zipf:9", "zipf:x", "normal", "uniform:1"] {
            assert!(text.parse::<Popularity>().is_err(), "{text}");
        }
    }
}
