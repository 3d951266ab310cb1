//! Statistics of an event loop: packets per iteration, how long handling them takes, and what is
//! free in its pools. Written once per iteration by the loop's own thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bump::bump;
use crate::sync::AtomicU64;

/// Statistics of one loop's iterations.
#[derive(Debug, Default)]
pub struct LoopStats {
    packets: Sizes,
    busy_us: Sizes,
    receive_buffers_free: AtomicU64,
    frame_buffers_free: AtomicU64,
    send_slots_free: AtomicU64,
    frames_waiting: AtomicU64,
}

/// The state of a loop's pools at the end of an iteration that took packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopGauges {
    /// Free receive buffers for datagrams.
    pub receive_buffers_free: u64,
    /// Free receive buffers for frames.
    pub frame_buffers_free: u64,
    /// Send slots that are not in flight.
    pub send_slots_free: u64,
    /// Frames waiting for send slots.
    pub frames_waiting: u64,
}

/// A histogram in powers of two, written by one thread and read by any.
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
    /// Counts one value. Only the owning thread may call this.
    #[inline]
    pub fn add(&self, size: u64) {
        bump(&self.buckets[bucket_of::<BUCKETS>(size)], 1);
        bump(&self.sum, size);
    }

    /// The current counts.
    pub fn snapshot(&self) -> SizesSnapshot<BUCKETS> {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        SizesSnapshot { buckets: self.buckets.each_ref().map(read), sum: read(&self.sum) }
    }
}

/// 0 and 1 are in the first bucket, 2 in the second, 3 and 4 in the third.
#[inline]
fn bucket_of<const BUCKETS: usize>(size: u64) -> usize {
    let bucket = u64::BITS - (size.max(1) - 1).leading_zeros();
    (bucket as usize).min(BUCKETS - 1)
}

/// A histogram as plain numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizesSnapshot<const BUCKETS: usize = SIZE_BUCKETS> {
    /// Values up to 1, 2, 4, 8 and so on, each above the previous bound; the last bucket holds
    /// everything larger.
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
    /// Counts one value.
    pub fn add(&mut self, size: u64) {
        self.buckets[bucket_of::<BUCKETS>(size)] += 1;
        self.sum += size;
    }

    /// The sum of two histograms.
    pub fn plus(mut self, other: &Self) -> Self {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, part)| *sum += part);
        self.sum += other.sum;
        self
    }
}

/// All statistics of a loop at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoopSnapshot {
    /// Packets and frames per iteration; iterations without any are not counted.
    pub packets: SizesSnapshot,
    /// Microseconds from the end of the wait until all packets are handled and submitted.
    pub busy_us: SizesSnapshot,
    /// The pools after the last iteration that took packets.
    pub gauges: LoopGauges,
}

impl LoopStats {
    /// Counts an iteration that took `packets` (at least one) and was `busy` with them. Only the
    /// owning worker may call this.
    pub fn iteration(&self, packets: u64, busy: Duration) {
        self.packets.add(packets);
        self.busy_us.add(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
    }

    /// Stores the state of the pools. Only the owning worker may call this.
    pub fn set_gauges(&self, gauges: LoopGauges) {
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

    /// The current values.
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

/// Buckets up to 16,384, and one for everything larger.
pub const SIZE_BUCKETS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_counts_in_the_bucket_of_the_next_power_of_two() {
        let stats = LoopStats::default();
        for packets in [1, 2, 3, 4, 5, 16_384, 16_385, 1 << 40] {
            stats.iteration(packets, Duration::from_micros(3));
        }
        let LoopSnapshot { packets, busy_us, .. } = stats.snapshot();
        assert_eq!(packets.buckets[..5], [1, 1, 2, 1, 0]);
        assert_eq!(packets.buckets[SIZE_BUCKETS - 2..], [1, 2]);
        assert_eq!(packets.sum, 15 + 16_384 + 16_385 + (1 << 40));
        assert_eq!((busy_us.buckets[2], busy_us.sum), (8, 24));
    }

    #[test]
    fn gauges_are_those_of_the_last_iteration() {
        let stats = LoopStats::default();
        let gauges = LoopGauges { send_slots_free: 7, frames_waiting: 3, ..LoopGauges::default() };
        stats.set_gauges(LoopGauges::default());
        stats.set_gauges(gauges);
        assert_eq!(stats.snapshot().gauges, gauges);
    }
}
