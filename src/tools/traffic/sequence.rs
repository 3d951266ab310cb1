//! Which sequence numbers have arrived: lost, duplicated, reordered.

/// What the arrival of one sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The first with this number, in order.
    Fresh,
    /// The first with this number, after a higher one.
    Reordered,
    /// This number has arrived before.
    Duplicate,
    /// So far behind the highest that nobody remembers whether it has arrived before.
    Late,
}

/// The sequence numbers of one stream.
///
/// It remembers exactly the [`WINDOW`] numbers up to the highest; what arrives further behind is
/// counted as late, and as lost as well unless it had arrived before.
#[derive(Debug)]
pub(super) struct Sequences {
    /// One bit for each number of the window, at the number's remainder.
    seen: Vec<u64>,
    /// Lowest and highest number, once there is one.
    range: Option<(u64, u64)>,
    /// How many different numbers arrived.
    pub(super) distinct: u64,
    /// How many arrived again.
    pub(super) duplicated: u64,
    /// How many arrived for the first time after a higher one.
    pub(super) reordered: u64,
    /// How many arrived too late to be classified.
    pub(super) late: u64,
}

impl Default for Sequences {
    fn default() -> Self {
        // Zeroed memory from the system: pages that no number touches are never there.
        let seen = vec![0; (WINDOW / BITS) as usize];
        Self { seen, range: None, distinct: 0, duplicated: 0, reordered: 0, late: 0 }
    }
}

impl Sequences {
    /// Notes one arrival.
    pub(super) fn arrive(&mut self, sequence: u64) -> Arrival {
        let Some((lowest, highest)) = self.range else {
            self.range = Some((sequence, sequence));
            self.mark(sequence);
            self.distinct += 1;
            return Arrival::Fresh;
        };
        if sequence > highest {
            self.forget(highest, sequence);
            self.range = Some((lowest, sequence));
            self.mark(sequence);
            self.distinct += 1;
            return Arrival::Fresh;
        }
        if highest - sequence >= WINDOW {
            self.late += 1;
            return Arrival::Late;
        }
        if self.mark(sequence) {
            self.duplicated += 1;
            return Arrival::Duplicate;
        }
        self.range = Some((lowest.min(sequence), highest));
        self.distinct += 1;
        self.reordered += 1;
        Arrival::Reordered
    }

    /// How many numbers between the lowest and the highest that arrived are missing. What was
    /// lost before the first or after the last arrival cannot be known.
    pub(super) fn lost(&self) -> u64 {
        self.range
            .map_or(0, |(lowest, highest)| (highest - lowest).saturating_add(1))
            .saturating_sub(self.distinct)
    }

    /// Sets a number's bit and returns whether it was set.
    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        let was_set = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        was_set
    }

    /// Clears the bits of the numbers after `highest` up to `next`, which enter the window.
    fn forget(&mut self, highest: u64, next: u64) {
        if next - highest >= WINDOW {
            self.seen.fill(0);
            return;
        }
        let mut number = highest + 1;
        while number <= next {
            let (word, bit) = place(number);
            if bit == 1 && next - number >= BITS {
                self.seen[word] = 0;
                number += BITS;
            } else {
                self.seen[word] &= !bit;
                // The last of all numbers has none after it.
                let Some(after) = number.checked_add(1) else { return };
                number = after;
            }
        }
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let index = sequence % WINDOW;
    ((index / BITS) as usize, 1 << (index % BITS))
}

/// How many sequence numbers up to the highest are remembered: 2^20, half a second of two million
/// datagrams a second. A power of two, so that remainders go on evenly.
pub(super) const WINDOW: u64 = 1 << 20;

const BITS: u64 = u64::BITS as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The same by a set that forgets nothing.
    #[derive(Default)]
    struct Naive {
        seen: BTreeSet<u64>,
    }

    impl Naive {
        fn arrive(&mut self, sequence: u64) -> Arrival {
            let highest = self.seen.last().copied();
            if highest.is_some_and(|highest| sequence + WINDOW <= highest) {
                return Arrival::Late;
            }
            if !self.seen.insert(sequence) {
                return Arrival::Duplicate;
            }
            match highest.is_none_or(|highest| sequence > highest) {
                true => Arrival::Fresh,
                false => Arrival::Reordered,
            }
        }

        fn lost(&self) -> u64 {
            let (Some(lowest), Some(highest)) = (self.seen.first(), self.seen.last()) else {
                return 0;
            };
            highest - lowest + 1 - self.seen.len() as u64
        }
    }

    fn agree(numbers: impl IntoIterator<Item = u64>) {
        let (mut real, mut naive) = (Sequences::default(), Naive::default());
        let mut counted = [0; 4];
        for number in numbers {
            let expected = naive.arrive(number);
            assert_eq!(real.arrive(number), expected, "{number}");
            counted[expected as usize] += 1;
        }
        let [fresh, reordered, duplicated, late] = counted;
        assert_eq!(real.distinct, fresh + reordered);
        let others = (real.reordered, real.duplicated, real.late);
        assert_eq!(others, (reordered, duplicated, late));
        assert_eq!(real.lost(), naive.lost());
    }

    #[test]
    fn the_kinds_of_arrival_are_distinguished() {
        let mut sequences = Sequences::default();
        let arrivals: Vec<_> =
            [5, 6, 9, 7, 6, 4, 5 + WINDOW, 5, 6].map(|number| sequences.arrive(number)).to_vec();
        use Arrival::*;
        assert_eq!(
            arrivals,
            [Fresh, Fresh, Fresh, Reordered, Duplicate, Reordered, Fresh, Late, Duplicate]
        );
        // From 4 to 5 + WINDOW, of which six arrived in time to be known.
        assert_eq!(sequences.lost(), WINDOW + 2 - 6);
    }

    #[test]
    fn the_last_of_all_numbers_is_one_like_others() {
        let mut sequences = Sequences::default();
        for (number, arrival) in [
            (u64::MAX - 1, Arrival::Fresh),
            (u64::MAX, Arrival::Fresh),
            (u64::MAX, Arrival::Duplicate),
            (0, Arrival::Late),
        ] {
            assert_eq!(sequences.arrive(number), arrival);
        }
        let mut all = Sequences::default();
        all.arrive(0);
        all.arrive(u64::MAX);
        assert_eq!(all.lost(), u64::MAX - 2);
    }

    #[test]
    fn several_windows_in_order_agree() {
        let mut sequences = Sequences::default();
        for number in 0..3 * WINDOW {
            assert_eq!(sequences.arrive(number), Arrival::Fresh);
        }
        assert_eq!((sequences.lost(), sequences.distinct), (0, 3 * WINDOW));
    }

    proptest! {
        #[test]
        fn close_numbers_agree(numbers in prop::collection::vec(0..300u64, 0..600)) {
            agree(numbers);
        }

        #[test]
        fn steps_around_the_window_agree(
            steps in prop::collection::vec(
                prop_oneof![-200..200i64, 60..70i64, WINDOW as i64 - 100..WINDOW as i64 + 100,
                    -(WINDOW as i64) - 100..-(WINDOW as i64) + 100], 0..60),
        ) {
            let mut number = 10 * WINDOW as i64;
            agree(steps.into_iter().map(|step| {
                number = (number + step).max(0);
                number as u64
            }));
        }
    }
}
