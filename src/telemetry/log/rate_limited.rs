//! A bound on the log lines that traffic can trigger.

use std::fmt;
use std::time::Duration;

/// Lets a number of lines per interval through and counts the rest.
///
/// One of these belongs to one kind of line in one thread. It neither allocates nor reads a
/// clock.
///
/// ```
/// # use std::time::Duration;
/// # use ringtide::telemetry::log::RateLimited;
/// # let now = Duration::from_secs(1_000);
/// let mut limit = RateLimited::new(1, Duration::from_secs(10));
/// if let Some(admitted) = limit.admit(now) {
///     tracing::warn!("no free transmit slot{admitted}");
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimited {
    lines_max: u32,
    interval: Duration,
    interval_start: Option<Duration>,
    lines: u32,
    suppressed: u64,
}

impl RateLimited {
    /// Lets `lines_max` lines through in each `interval`.
    pub const fn new(lines_max: u32, interval: Duration) -> Self {
        Self { lines_max, interval, interval_start: None, lines: 0, suppressed: 0 }
    }

    /// Whether a line may be logged at `now`, the time since any fixed moment; if not, it is
    /// counted.
    ///
    /// An interval starts with the first line after the previous one has ended, so that a rare
    /// line is never held back.
    pub fn admit(&mut self, now: Duration) -> Option<Admitted> {
        let is_over = |start| now.saturating_sub(start) >= self.interval;
        if self.interval_start.is_none_or(is_over) {
            self.interval_start = Some(now);
            self.lines = 0;
        }
        if self.lines >= self.lines_max {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(Admitted { suppressed: std::mem::take(&mut self.suppressed) })
    }
}

/// Permission to log one line; printed at its end it says how many were suppressed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Lines suppressed since the last one that was let through.
    pub suppressed: u64,
}

impl fmt::Display for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.suppressed {
            0 => Ok(()),
            1 => f.write_str(" (1 more such line was suppressed)"),
            count => write!(f, " ({count} more such lines were suppressed)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn suppressed(limit: &mut RateLimited, milliseconds: u64) -> Option<u64> {
        limit.admit(Duration::from_millis(milliseconds)).map(|admitted| admitted.suppressed)
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_later() {
        let mut limit = RateLimited::new(2, Duration::from_secs(1));
        assert_eq!(suppressed(&mut limit, 5_000), Some(0));
        assert_eq!(suppressed(&mut limit, 5_100), Some(0));
        for milliseconds in 5_200..5_300 {
            assert_eq!(suppressed(&mut limit, milliseconds), None);
        }
        assert_eq!(suppressed(&mut limit, 5_999), None);
        assert_eq!(suppressed(&mut limit, 6_000), Some(101));
        assert_eq!(suppressed(&mut limit, 6_001), Some(0));
        assert_eq!(suppressed(&mut limit, 6_002), None);
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_only_suppresses() {
        let mut limit = RateLimited::new(1, Duration::from_secs(1));
        assert_eq!(suppressed(&mut limit, 5_000), Some(0));
        assert_eq!(suppressed(&mut limit, 4_000), None);
        assert_eq!(suppressed(&mut limit, 5_000), None);
    }

    #[test]
    fn the_count_reads_as_an_end_of_a_line() {
        let text = |suppressed| Admitted { suppressed }.to_string();
        assert_eq!(text(0), "");
        assert_eq!(text(1), " (1 more such line was suppressed)");
        assert_eq!(text(12), " (12 more such lines were suppressed)");
    }

    proptest! {
        /// Every line is either let through, told as suppressed, or still to be told.
        #[test]
        fn no_line_is_forgotten(
            lines_max in 0..5_u32,
            steps in proptest::collection::vec(0..700_u64, 0..200),
        ) {
            let mut limit = RateLimited::new(lines_max, Duration::from_secs(1));
            let (mut now, mut logged, mut told) = (0, 0, 0);
            for step in &steps {
                now += step;
                if let Some(count) = suppressed(&mut limit, now) {
                    logged += 1;
                    told += count;
                }
            }
            prop_assert_eq!(logged + told + limit.suppressed, steps.len() as u64);
            let intervals = now / 1000 + 1;
            prop_assert!(logged <= intervals * u64::from(lines_max));
        }
    }
}
