//! The provided-buffer ring: receive buffers that the kernel picks from by itself.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::io::ReceivePool;
use crate::sys::memory::Region;

/// A pool and the ring of entries through which its buffers are provided to the kernel.
#[derive(Debug)]
pub(super) struct BufferRing {
    pool: ReceivePool,
    /// How much of each buffer the kernel may fill.
    message_bytes: u32,
    region: Region,
    group: u16,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    /// Registers `pool` as a buffer group of the ring, for messages of at most `message_bytes`,
    /// prefix included, and provides what of it is in use.
    ///
    /// # Safety
    /// The caller keeps the result until the kernel has ended every receive of this group, and
    /// leaks it when it cannot find out.
    pub(super) unsafe fn register(
        submitter: &Submitter<'_>,
        group: u16,
        pool: ReceivePool,
        message_bytes: usize,
    ) -> io::Result<Self> {
        let count = u16::try_from(pool.capacity()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let message_bytes =
            u32::try_from(message_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        assert!(count.is_power_of_two(), "a buffer ring's size is a power of two");
        let region = Region::map(usize::from(count) * size_of::<BufRingEntry>())?;
        let mut ring = Self { pool, message_bytes, region, group, mask: count - 1, tail: 0 };
        // SAFETY: the memory is page aligned, holds `count` entries, and lives in `ring`, which
        // the caller keeps until no receive can use the group any more.
        unsafe {
            submitter.register_buf_ring_with_flags(
                ring.entries().as_ptr() as u64,
                count,
                group,
                0,
            )?;
        }
        ring.recycle();
        Ok(ring)
    }

    fn entries(&self) -> NonNull<BufRingEntry> {
        self.region.base().cast()
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    pub(super) fn pool(&self) -> &ReceivePool {
        &self.pool
    }

    /// Provides more buffers, as [`ReceivePool::widen`] says. The ring has an entry for each that
    /// the pool can have.
    pub(super) fn widen(&mut self, count: usize) {
        self.pool.widen(count);
        self.recycle();
    }

    /// Provides every free buffer, with one update of the tail. Returns how many.
    pub(super) fn recycle(&mut self) -> usize {
        if self.pool.free() == 0 {
            return 0;
        }
        let (entries, mask, length) = (self.entries(), self.mask, self.message_bytes);
        let mut tail = self.tail;
        let provided = self.pool.provide(|id, start| {
            // SAFETY: the masked tail indexes inside the allocation. Entries from the kernel's
            // head up to our tail are the kernel's; there are as many entries as buffers and this
            // buffer was not provided, so the entry at the tail is ours.
            let entry = unsafe { entries.add(usize::from(tail & mask)).as_mut() };
            entry.set_addr(start as u64);
            entry.set_len(length);
            entry.set_bid(id);
            tail = tail.wrapping_add(1);
        });
        self.tail = tail;
        // SAFETY: the tail field overlays the first entry's reserved bytes, which `set_*` above
        // leaves alone; it is 2-byte aligned and the kernel reads it as an atomic.
        let shared_tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries.as_ptr()).cast_mut()) };
        // Release: the kernel that sees the tail sees the entries.
        shared_tail.store(tail, Ordering::Release);
        provided
    }

    /// Buffers that the kernel has or that completions not yet reaped name.
    pub(super) fn provided(&self) -> usize {
        self.pool.count() - self.pool.free() - self.pool.held()
    }
}
