//! The load of `scripts/overload.sh`: announces at a rate that does not wait for the tracker.
//!
//! First it looks for the most that is answered: with one phase at each of many rates, then with
//! several at each of a few around the best, in turns. Then it offers that much once, twice and
//! three times, in turns, and after each three times a quarter, to see how soon everything is
//! answered again.
#![allow(clippy::unwrap_used)]

mod figures;
mod load;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use figures::{Figures, Rounds};
use load::Load;

/// Floods a tracker and prints what became of it as one JSON object.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    target: SocketAddr,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each of once, twice and three times is offered.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The first rate of the search for the peak, in announces per second.
    #[arg(long, default_value_t = 20_000.0)]
    from: f64,
    /// Nothing but this rate, in announces per second.
    #[arg(long)]
    rate: Option<f64>,
    /// The tracker's process, to tell how much of a processor it got.
    #[arg(long)]
    server: Option<u32>,
}

fn main() {
    let arguments = Arguments::parse();
    let mut load = Load::connect(arguments.target, arguments.server);
    let length = Duration::from_secs(arguments.seconds);
    if let Some(rate) = arguments.rate {
        return println!("{}", load.offer(rate, length).json());
    }
    let peak = find_peak(&mut load, arguments.from);
    let mut rounds: [Rounds; 3] = Default::default();
    let mut recoveries_ms = Vec::new();
    for _ in 0..arguments.rounds {
        let once = peak.answered();
        rounds[0].push(load.offer(once, length));
        rounds[1].push(load.offer(2.0 * once, length));
        let (thrice, recovery_ms) = load.flood(3.0 * once, length, once / 4.0);
        rounds[2].push(thrice);
        recoveries_ms.push(recovery_ms);
    }
    let [once, twice, thrice] = rounds.map(|rounds| rounds.json());
    let summary = json!({
        "peak": peak.json(),
        "1x": once, "2x": twice, "3x": thrice,
        "recovery_ms": recoveries_ms,
        "sent": load.sent(),
    });
    println!("{summary}");
}

/// The rate around which to look closer, then the best of several by the medians of their repeats.
fn find_peak(load: &mut Load, from: f64) -> Rounds {
    let coarse = find_knee(load, from);
    let mut tried: Vec<Rounds> = NEAR.iter().map(|_| Rounds::default()).collect();
    for _ in 0..NEAR_REPEATS {
        for (rounds, times) in tried.iter_mut().zip(NEAR) {
            rounds.push(load.offer(times * coarse, SEARCH_PHASE));
        }
    }
    tried.into_iter().max_by(|a, b| a.answered().total_cmp(&b.answered())).unwrap()
}

/// Raises the rate until twice as much is offered as was ever answered, or this load can make no
/// more. Returns the most that was answered.
fn find_knee(load: &mut Load, from: f64) -> f64 {
    let (mut rate, mut best, mut short) = (from, 0.0_f64, 0);
    while short < SHORT_MAX {
        let Figures { offered, answered, .. } = load.offer(rate, SEARCH_PHASE);
        best = best.max(answered);
        if offered > 2.0 * best {
            break;
        }
        short += usize::from(offered < 0.9 * rate);
        rate *= 1.25;
    }
    best
}

/// Rates around the knee that are tried several times.
const NEAR: [f64; 5] = [0.85, 0.95, 1.05, 1.2, 1.4];
const NEAR_REPEATS: usize = 3;
const SEARCH_PHASE: Duration = Duration::from_secs(1);
/// Phases in which the load may fall short of its rate.
const SHORT_MAX: usize = 3;
