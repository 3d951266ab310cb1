//! The one way in which tests wait: for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Far beyond anything that a working program takes, even on a machine busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks `condition` until it has something, and returns that.
///
/// # Panics
/// When there is nothing by [`DEADLINE`]; the message says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(5);
