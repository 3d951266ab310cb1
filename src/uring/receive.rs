//! The provided-buffer ring: receive buffers that the kernel picks from by itself.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::handler::ReceivePool;

/// A pool and the ring of entries through which its buffers are lent to the kernel.
#[derive(Debug)]
pub(super) struct BufferRing {
    pool: ReceivePool,
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    group: u16,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    /// Registers `pool` as a buffer group of the ring and lends all of it.
    ///
    /// # Safety
    /// The caller keeps the result until the kernel has ended every receive of this group, and
    /// leaks it when it cannot find out.
    pub(super) unsafe fn register(
        submitter: &Submitter<'_>,
        group: u16,
        pool: ReceivePool,
    ) -> io::Result<Self> {
        let count = u16::try_from(pool.count()).map_err(|_| io::ErrorKind::InvalidInput)?;
        assert!(count.is_power_of_two(), "a buffer ring's size is a power of two");
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, PAGE_BYTES)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: `count` is a power of two and so not zero: the layout has a size.
        let Some(entries) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let mut ring =
            Self { pool, entries: entries.cast(), layout, group, mask: count - 1, tail: 0 };
        // SAFETY: the memory is page aligned, holds `count` entries, and lives in `ring`, which
        // the caller keeps until no receive can use the group any more.
        unsafe {
            submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, 0)?;
        }
        ring.recycle();
        Ok(ring)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    pub(super) fn pool(&self) -> &ReceivePool {
        &self.pool
    }

    /// Lends every buffer that came home, with one update of the tail. Returns how many.
    pub(super) fn recycle(&mut self) -> usize {
        if self.pool.at_home() == 0 {
            return 0;
        }
        let (entries, mask, length) = (self.entries, self.mask, self.pool.buffer_bytes() as u32);
        let mut tail = self.tail;
        let lent = self.pool.lend(|id, start| {
            // SAFETY: the masked tail indexes inside the allocation. Entries from the kernel's
            // head up to our tail are the kernel's; there are as many entries as buffers and this
            // buffer was not lent, so the entry at the tail is ours.
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
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        // Release: the kernel that sees the tail sees the entries.
        shared_tail.store(tail, Ordering::Release);
        lent
    }

    /// Buffers that the kernel has or that completions not yet reaped name.
    pub(super) fn lent(&self) -> usize {
        self.pool.count() - self.pool.at_home() - self.pool.held()
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with this layout; by the contract of `register` the
        // kernel is done with the group.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}

const PAGE_BYTES: usize = 4096;
