//! When each datagram of a fixed rate is due.

use std::num::NonZeroU64;

/// A rate as a row of due times: datagram `n`, counted from 0, is due `n / rate` seconds after
/// the start. Times are computed from the start each time, so that nothing adds up to a drift: the
/// average is exact for as long as the machine keeps up, and what a delay held back is caught up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: NonZeroU64,
}

impl Schedule {
    /// A schedule of `rate` datagrams per second.
    pub(super) fn new(rate: NonZeroU64) -> Self {
        Self { rate }
    }

    /// How many datagrams are due `elapsed_ns` after the start. The first is due at once.
    pub(super) fn due(&self, elapsed_ns: u64) -> u64 {
        let due = u128::from(elapsed_ns) * u128::from(self.rate.get()) / NS_PER_S + 1;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// When datagram `index`, counted from 0, is due: nanoseconds after the start, rounded up.
    pub(super) fn due_at_ns(&self, index: u64) -> u64 {
        let at = (u128::from(index) * NS_PER_S).div_ceil(u128::from(self.rate.get()));
        u64::try_from(at).unwrap_or(u64::MAX)
    }
}

const NS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(rate: u64) -> Schedule {
        Schedule::new(NonZeroU64::new(rate).unwrap())
    }

    #[test]
    fn a_second_holds_the_rate() {
        for rate in [1, 3, 7, 1000, 999_983, 1_000_000_000] {
            assert_eq!(schedule(rate).due(0), 1);
            assert_eq!(schedule(rate).due(999_999_999), rate, "before the next second begins");
            assert_eq!(schedule(rate).due_at_ns(rate), 1_000_000_000);
        }
        assert_eq!(schedule(3).due_at_ns(1), 333_333_334);
        assert_eq!(schedule(u64::MAX).due(u64::MAX), u64::MAX);
        assert_eq!(schedule(1).due_at_ns(u64::MAX), u64::MAX);
    }

    /// A sender that obeys the schedule but is held up now and then, in virtual time.
    #[test]
    fn delays_are_caught_up() {
        let schedule = schedule(123_457);
        let (mut now, mut sent) = (0, 0u64);
        let mut random = fastrand::Rng::with_seed(1);
        while now < 10_000_000_000 {
            let due = schedule.due(now) - sent;
            sent += due.min(64);
            let held_up = if random.u32(0..1000) == 0 { random.u64(0..5_000_000) } else { 0 };
            now = (now + 50).max(schedule.due_at_ns(sent)) + held_up;
        }
        assert!(sent.abs_diff(1_234_570) <= 5 * 124 + 64, "{sent}");
    }

    proptest! {
        #[test]
        fn both_views_agree(rate in 1..=1_000_000_000_u64, index in 0..1_u64 << 50) {
            let schedule = schedule(rate);
            let at = schedule.due_at_ns(index);
            prop_assume!(at < u64::MAX);
            prop_assert!(schedule.due(at) > index);
            prop_assert!(at == 0 || schedule.due(at - 1) <= index);
        }
    }
}
