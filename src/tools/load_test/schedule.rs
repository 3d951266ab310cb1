//! When requests are due in an open loop: at fixed times, whatever the answers do.

/// The schedule of the clients of one worker, which take turns at a common period.
///
/// Client i of n has its k-th request due (k n + i) / (n rate) seconds after the start, so that
/// clients do not send in step and the order over all of them is the order of their turns.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start_ns: u64,
    clients: u64,
    /// Requests per second of each client, in millionths.
    rate_micro: u64,
    /// Turns handed out so far.
    turns: u64,
}

impl Schedule {
    /// `rate` requests per second of each of `clients`, from `start_ns` on.
    pub(super) fn new(start_ns: u64, clients: usize, rate: f64) -> Self {
        let rate_micro = ((rate * 1e6).round() as u64).max(1);
        Self { start_ns, clients: clients as u64, rate_micro, turns: 0 }
    }

    /// When the next turn is due.
    pub(super) fn next_ns(&self) -> u64 {
        self.turn_ns(self.turns)
    }

    /// The client of the next turn, if it is due.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<usize> {
        if self.next_ns() > now_ns {
            return None;
        }
        let client = self.turns % self.clients;
        self.turns += 1;
        Some(client as usize)
    }

    /// When the `k`-th request of `client`, counted from 0, is due.
    pub(super) fn due_ns(&self, client: usize, k: u64) -> u64 {
        self.turn_ns(k * self.clients + client as u64)
    }

    fn turn_ns(&self, turn: u64) -> u64 {
        let per_second = u128::from(self.clients) * u128::from(self.rate_micro);
        let after = u128::from(turn) * 1_000_000_000 * 1_000_000 / per_second;
        self.start_ns.saturating_add(after as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_at_the_rate() {
        let mut schedule = Schedule::new(1000, 4, 100.0);
        assert_eq!(schedule.next_ns(), 1000);
        let due: Vec<_> = std::iter::from_fn(|| schedule.take(1000 + 10_000_000)).collect();
        // 10 ms hold four turns of 2.5 ms, and the one at their end.
        assert_eq!(due, [0, 1, 2, 3, 0]);
        assert_eq!(schedule.due_ns(0, 1), 1000 + 10_000_000);
        assert_eq!(schedule.due_ns(3, 2), 1000 + 27_500_000);
        assert_eq!(schedule.next_ns(), 1000 + 12_500_000);
    }

    #[test]
    fn no_rounding_adds_up() {
        let schedule = Schedule::new(0, 3, 0.1);
        assert_eq!(schedule.due_ns(0, 360), 3_600_000_000_000);
        let schedule = Schedule::new(0, 7, 1000.0 / 3.0);
        let hour = schedule.due_ns(0, 1_200_000);
        assert!(hour.abs_diff(3_600_000_000_000) < 10_000_000, "{hour}");
    }

    #[test]
    fn a_stall_is_caught_up_in_order() {
        let mut schedule = Schedule::new(0, 2, 10.0);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(0), None);
        let after: Vec<_> = std::iter::from_fn(|| schedule.take(200_000_000)).collect();
        assert_eq!(after, [1, 0, 1, 0]);
    }
}
