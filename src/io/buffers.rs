//! Receive buffers, provided to the kernel and counted while handlers hold them.
//!
//! A pool is one allocation cut into equal buffers. A buffer is either provided to the kernel,
//! which may write to it at any time, or held by one or more [`Buffer`] guards, which only read.
//! The engine completes a buffer when the kernel has filled it; when the last guard drops, the
//! buffer's ID waits in the free list until the engine provides it again, once per iteration.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::sys::memory::{MapError, Region};

/// Buffers start on cache lines.
const BUFFER_ALIGN: usize = 64;

#[derive(Debug)]
struct Memory {
    region: Region,
    buffer_bytes: usize,
    /// Guards alive per buffer.
    guards: Box<[Cell<u32>]>,
    /// The first so many buffers are in use; the others wait for [`ReceivePool::widen`].
    open: Cell<u16>,
    /// Buffers with at least one guard.
    held: Cell<usize>,
    /// Buffers whose last guard went, and (at first) all of them. Never grows past its capacity,
    /// one entry per buffer.
    free_list: RefCell<Vec<u16>>,
}

impl Memory {
    fn start_of(&self, id: u16) -> NonNull<u8> {
        let offset = usize::from(id) * self.buffer_bytes;
        assert!(usize::from(id) < self.guards.len());
        // SAFETY: `id` is below the number of buffers, so the offset is inside the region, which
        // `new` sized as count times buffer_bytes and which lives as long as `self`.
        unsafe { self.region.base().add(offset) }
    }
}

/// The pool that an engine receives into. Belongs to one thread.
#[derive(Clone, Debug)]
pub struct ReceivePool {
    memory: Rc<Memory>,
}

impl ReceivePool {
    /// As [`Self::map`] with all buffers in use, for tests and for callers without a kernel.
    ///
    /// # Panics
    /// Where that is an error.
    pub fn new(count: u16, buffer_bytes: usize) -> Self {
        let pool = Self::map(count, buffer_bytes).unwrap_or_else(|error| panic!("{error}"));
        pool.widen(usize::from(count));
        pool
    }

    /// Maps `count` buffers of at least `buffer_bytes` each, none of them in use yet. Pages are
    /// touched on first use.
    ///
    /// # Errors
    /// When the process may map no more memory.
    ///
    /// # Panics
    /// When either is zero: the caller sizes pools by a written sum.
    pub fn map(count: u16, buffer_bytes: usize) -> Result<Self, MapError> {
        assert!(count > 0 && buffer_bytes > 0, "a pool holds at least one byte");
        let buffer_bytes = buffer_bytes.next_multiple_of(BUFFER_ALIGN);
        let region = Region::map(usize::from(count) * buffer_bytes)?;
        let guards = (0..count).map(|_| Cell::new(0)).collect();
        let free_list = RefCell::new(Vec::with_capacity(usize::from(count)));
        let (open, held) = (Cell::new(0), Cell::new(0));
        Ok(Self { memory: Rc::new(Memory { region, buffer_bytes, guards, open, held, free_list }) })
    }

    /// Takes more buffers into use, `count` in all, as far as the pool has them. It never has
    /// fewer in use than before.
    pub fn widen(&self, count: usize) {
        let count = count.min(self.capacity()) as u16;
        let open = self.memory.open.get();
        if count > open {
            self.memory.free_list.borrow_mut().extend((open..count).rev());
            self.memory.open.set(count);
        }
    }

    /// How many buffers the pool can have in use.
    pub fn capacity(&self) -> usize {
        self.memory.guards.len()
    }

    /// How many buffers are in use.
    pub fn count(&self) -> usize {
        usize::from(self.memory.open.get())
    }

    /// The size of one buffer in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.memory.buffer_bytes
    }

    /// How many buffers are neither provided to the kernel nor held by a guard.
    pub fn free(&self) -> usize {
        self.memory.free_list.borrow().len()
    }

    /// How many buffers handlers and sends hold right now.
    pub fn held(&self) -> usize {
        self.memory.held.get()
    }

    /// Hands every buffer of the free list to `provide`, as its ID and its start.
    ///
    /// The caller gives them to the kernel; each comes back through [`Self::complete`].
    pub fn provide(&self, mut provide: impl FnMut(u16, *mut u8)) -> usize {
        let mut free_list = self.memory.free_list.borrow_mut();
        let provided = free_list.len();
        for id in free_list.drain(..) {
            provide(id, self.memory.start_of(id).as_ptr());
        }
        provided
    }

    /// Takes a buffer back from the kernel, with `length` bytes written.
    ///
    /// # Safety
    /// The buffer must have been provided since it was last completed, the kernel must have said
    /// that it is done with it, and its first `length` bytes are what the kernel wrote.
    ///
    /// # Panics
    /// When the ID or the length cannot be right.
    pub unsafe fn complete(&self, id: u16, length: usize) -> Buffer {
        assert!(length <= self.memory.buffer_bytes, "the kernel wrote past a buffer");
        let guards = &self.memory.guards[usize::from(id)];
        assert_eq!(guards.get(), 0, "the kernel handed over a buffer that we hold");
        guards.set(1);
        self.memory.held.set(self.memory.held.get() + 1);
        Buffer { memory: Rc::clone(&self.memory), id, length }
    }

    /// Copies `bytes` into a buffer of the free list; `None` when there is none or it is too
    /// small. For tests and for callers without a kernel.
    pub fn fill(&self, bytes: &[u8]) -> Option<Buffer> {
        if bytes.len() > self.memory.buffer_bytes {
            return None;
        }
        let id = self.memory.free_list.borrow_mut().pop()?;
        // SAFETY: the buffer was in the free list: the kernel does not know it and no guard exists,
        // so this is the only access; the length was checked above.
        unsafe {
            let start = self.memory.start_of(id).as_ptr();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
            Some(self.complete(id, bytes.len()))
        }
    }
}

/// A received buffer, readable until the last clone is dropped; then it returns to its pool.
#[derive(Debug)]
pub struct Buffer {
    memory: Rc<Memory>,
    id: u16,
    length: usize,
}

impl Buffer {
    /// What the kernel wrote.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: between `complete` and the last guard's drop the buffer is ours: the kernel does
        // not write, and guards only read. `complete` checked the length.
        unsafe { std::slice::from_raw_parts(self.memory.start_of(self.id).as_ptr(), self.length) }
    }
}

impl Clone for Buffer {
    #[inline]
    fn clone(&self) -> Self {
        let guards = &self.memory.guards[usize::from(self.id)];
        guards.set(guards.get().checked_add(1).expect("fewer than 2^32 guards of one buffer"));
        Self { memory: Rc::clone(&self.memory), id: self.id, length: self.length }
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        let guards = &self.memory.guards[usize::from(self.id)];
        guards.set(guards.get() - 1);
        if guards.get() == 0 {
            self.memory.held.set(self.memory.held.get() - 1);
            self.memory.free_list.borrow_mut().push(self.id);
        }
    }
}

/// A stretch of a received buffer, to be sent from where it lies.
#[derive(Clone, Debug)]
pub struct BufferSlice {
    /// The buffer, kept alive until the kernel has sent it.
    pub buffer: Buffer,
    /// The bytes of it to send.
    pub range: Range<usize>,
}

impl BufferSlice {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_free_with_its_last_clone() {
        let pool = ReceivePool::new(2, 100);
        assert_eq!((pool.count(), pool.buffer_bytes(), pool.free()), (2, 128, 2));
        let first = pool.fill(b"tide").unwrap();
        let clone = first.clone();
        drop(first);
        assert_eq!((pool.free(), pool.held()), (1, 1));
        assert_eq!(clone.bytes(), b"tide");
        drop(clone);
        assert_eq!((pool.free(), pool.held()), (2, 0));
    }

    #[test]
    fn provided_buffers_are_distinct_and_come_back_completed() {
        let pool = ReceivePool::new(4, 64);
        let mut provided = Vec::new();
        assert_eq!(pool.provide(|id, start| provided.push((id, start as usize))), 4);
        provided.sort_unstable();
        assert_eq!(provided.iter().map(|entry| entry.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(provided.windows(2).all(|pair| pair[1].1 - pair[0].1 == 64));
        assert_eq!(pool.free(), 0);
        assert!(pool.fill(b"none left").is_none());
        // SAFETY: no kernel is involved; buffer 2 was provided and is not written any more.
        drop(unsafe { pool.complete(2, 10) });
        assert_eq!(pool.free(), 1);
    }

    #[test]
    fn a_pool_widens_as_far_as_it_was_mapped_and_never_back() {
        let pool = ReceivePool::map(8, 64).unwrap();
        assert_eq!((pool.capacity(), pool.count(), pool.free()), (8, 0, 0));
        assert!(pool.fill(b"tide").is_none());
        pool.widen(2);
        let first = pool.fill(b"tide").unwrap();
        pool.widen(1);
        assert_eq!((pool.count(), pool.free(), pool.held()), (2, 1, 1));
        pool.widen(1000);
        assert_eq!((pool.count(), pool.free()), (8, 7));
        drop(first);
        let mut provided = Vec::new();
        pool.provide(|id, _| provided.push(id));
        provided.sort_unstable();
        assert_eq!(provided, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn too_much_does_not_fit() {
        assert!(ReceivePool::new(1, 64).fill(&[0; 65]).is_none());
    }
}
