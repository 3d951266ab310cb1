//! What the turns of an event loop are like: how much each takes, how long it is busy with that,
//! and what is left in its pools. Written once a turn by the loop's own thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bump::bump;
use crate::sync::AtomicU64;

/// What one loop tells of its turns.
#[derive(Debug, Default)]
pub struct LoopFigures {
    packets: Sizes,
    busy_us: Sizes,
    receive_buffers_free: AtomicU64,
    frame_buffers_free: AtomicU64,
    send_slots_free: AtomicU64,
    frames_waiting: AtomicU64,
}

/// What a loop has at hand at the end of a turn that took packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopGauges {
    /// Receive buffers for datagrams that nobody holds on to.
    pub receive_buffers_free: u64,
    /// Receive buffers for frames that nobody holds on to.
    pub frame_buffers_free: u64,
    /// Send slots that are not in flight.
    pub send_slots_free: u64,
    /// Frames that wait for send slots.
    pub frames_waiting: u64,
}

/// Counts by size, in powers of two, written by one thread and read by any.
#[derive(Debug)]
pub struct Sizes<const BUCKETS: usize = SIZE_BUCKETS> {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl<const BUCKETS: usize> Default for Sizes<BUCKETS> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl<const BUCKETS: usize> Sizes<BUCKETS> {
    /// Counts one. Only the owning thread may call this.
    #[inline]
    pub fn add(&self, size: u64) {
        bump(&self.buckets[bucket_of::<BUCKETS>(size)], 1);
        bump(&self.sum, size);
    }

    /// The counts as they are now.
    pub fn snapshot(&self) -> SizesSnapshot<BUCKETS> {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        SizesSnapshot { buckets: self.buckets.each_ref().map(read), sum: read(&self.sum) }
    }
}

/// The bucket of 0 and 1 is the first, that of 2 the second, that of 3 and 4 the third.
#[inline]
fn bucket_of<const BUCKETS: usize>(size: u64) -> usize {
    let bucket = u64::BITS - (size.max(1) - 1).leading_zeros();
    (bucket as usize).min(BUCKETS - 1)
}

/// Counts of one moment, or of one thread's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizesSnapshot<const BUCKETS: usize = SIZE_BUCKETS> {
    /// How many were at most 1, 2, 4, 8 and so on, but more than the one before; the last takes
    /// all that is larger.
    pub buckets: [u64; BUCKETS],
    /// The sum of all sizes.
    pub sum: u64,
}

impl<const BUCKETS: usize> Default for SizesSnapshot<BUCKETS> {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl<const BUCKETS: usize> SizesSnapshot<BUCKETS> {
    /// Counts one.
    pub fn add(&mut self, size: u64) {
        self.buckets[bucket_of::<BUCKETS>(size)] += 1;
        self.sum += size;
    }

    /// The sum of two threads' counts.
    pub fn plus(mut self, other: &Self) -> Self {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, part)| *sum += part);
        self.sum += other.sum;
        self
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoopSnapshot {
    /// Packets and frames of a turn. EventLoop without any are left out.
    pub packets: SizesSnapshot,
    /// Microseconds from the end of a wait to the submission of what came of it.
    pub busy_us: SizesSnapshot,
    /// What the last turn left.
    pub gauges: LoopGauges,
}

impl LoopFigures {
    /// Counts a turn that took `packets`, at least one, and was busy for so long with them. Only
    /// the owning worker may call this.
    pub fn turned(&self, packets: u64, busy: Duration) {
        self.packets.add(packets);
        self.busy_us.add(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes what a turn left. Only the owning worker may call this.
    pub fn left(&self, gauges: LoopGauges) {
        let LoopGauges {
            receive_buffers_free,
            frame_buffers_free,
            send_slots_free,
            frames_waiting,
        } = gauges;
        self.receive_buffers_free.store(receive_buffers_free, Ordering::Relaxed);
        self.frame_buffers_free.store(frame_buffers_free, Ordering::Relaxed);
        self.send_slots_free.store(send_slots_free, Ordering::Relaxed);
        self.frames_waiting.store(frames_waiting, Ordering::Relaxed);
    }

    /// The figures as they are now.
    pub fn snapshot(&self) -> LoopSnapshot {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        LoopSnapshot {
            packets: self.packets.snapshot(),
            busy_us: self.busy_us.snapshot(),
            gauges: LoopGauges {
                receive_buffers_free: read(&self.receive_buffers_free),
                frame_buffers_free: read(&self.frame_buffers_free),
                send_slots_free: read(&self.send_slots_free),
                frames_waiting: read(&self.frames_waiting),
            },
        }
    }
}

/// Up to 16,384 of anything, and whatever is more.
pub const SIZE_BUCKETS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_counts_in_the_bucket_of_the_next_power_of_two() {
        let figures = LoopFigures::default();
        for packets in [1, 2, 3, 4, 5, 16_384, 16_385, 1 << 40] {
            figures.turned(packets, Duration::from_micros(3));
        }
        let LoopSnapshot { packets, busy_us, .. } = figures.snapshot();
        assert_eq!(packets.buckets[..5], [1, 1, 2, 1, 0]);
        assert_eq!(packets.buckets[SIZE_BUCKETS - 2..], [1, 2]);
        assert_eq!(packets.sum, 15 + 16_384 + 16_385 + (1 << 40));
        assert_eq!((busy_us.buckets[2], busy_us.sum), (8, 24));
    }

    #[test]
    fn gauges_are_what_the_last_turn_left() {
        let figures = LoopFigures::default();
        let gauges = LoopGauges { send_slots_free: 7, frames_waiting: 3, ..LoopGauges::default() };
        figures.left(LoopGauges::default());
        figures.left(gauges);
        assert_eq!(figures.snapshot().gauges, gauges);
    }
}
