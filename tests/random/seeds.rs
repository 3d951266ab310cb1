//! Seeds to run: fixed ones, fresh ones, or the one that is asked for.

use std::io::Write;

/// Fresh seeds of a run, unless `RINGTIDE_SEEDS` says otherwise.
const FRESH_SEEDS: u64 = 4;

/// The seed to run and nothing else.
pub(crate) fn requested_seed() -> Option<u64> {
    number("RINGTIDE_SEED")
}

/// Runs seeds that differ each time, and says which.
pub(crate) fn for_fresh_seeds(simulation: &str, mut run: impl FnMut(u64)) {
    if requested_seed().is_some() {
        return;
    }
    for _ in 0..number("RINGTIDE_SEEDS").unwrap_or(FRESH_SEEDS) {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        let seed = u64::from_be_bytes(bytes);
        // Past the test harness, which keeps what successful tests print to itself.
        let line = format!("{simulation}: fresh seed {seed}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        run(seed);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a decimal number")))
}
