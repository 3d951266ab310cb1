//! The one way in which tests wait: for a condition, with a deadline.

use std::io;
use std::time::{Duration, Instant};

/// Far beyond anything that a working program takes, even on a machine that is very busy with other
/// things: there a network namespace with its cables alone may take half a minute.
pub const DEADLINE: Duration = Duration::from_secs(120);

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

/// Repeats a call that a signal ended before its time. A receive with a time limit is not taken up
/// again by itself (signal(7)), not even after a signal without an effect, as SIGCHLD is: any
/// thread of a test gets that when a child of another one ends.
///
/// # Errors
/// Those of the call, except for [`io::ErrorKind::Interrupted`].
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => return ended,
        }
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(5);
