//! What goes wrong again and again, as one line in the log.

use std::io;
use std::time::Duration;

use super::Now;
use crate::telemetry::log::RateLimited;

/// Failures of one kind in one loop. They are noted where they happen and reported on a tick.
#[derive(Debug)]
pub(crate) struct Failures {
    what: &'static str,
    /// How many have not been reported.
    count: u64,
    /// The error number of the last.
    last: i32,
    reported: RateLimited,
}

impl Failures {
    /// `what` fails, as the log will say.
    pub(crate) const fn of(what: &'static str) -> Self {
        Self { what, count: 0, last: 0, reported: RateLimited::new(1, REPORT_INTERVAL) }
    }

    /// Notes a result below zero, an error number. Not what an interface that is down refuses: the
    /// relay's control side reports that.
    pub(crate) fn note(&mut self, result: i32) {
        if result < 0 && result != -libc::ENETDOWN {
            self.count += 1;
            self.last = -result;
        }
    }

    /// Logs what failed since the last line about it, if that was long enough ago.
    pub(crate) fn report(&mut self, worker: usize, now: Now) {
        if self.count > 0 && self.reported.admit(now.since_epoch()).is_some() {
            let (failed, what) = (self.count, self.what);
            let error = io::Error::from_raw_os_error(self.last);
            tracing::warn!(worker, failed, "{what} fail, the last with: {error}");
            self.count = 0;
        }
    }
}

/// At most one line of a kind and worker in this time; the counters count all.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
