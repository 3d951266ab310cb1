//! Frames that were received and wait to be handled: a queue for each socket, served alternately.

use std::collections::VecDeque;

use crate::io::Buffer;

/// The fifos of all sockets. Storage is allocated at the start: an entry for each frame buffer.
#[derive(Debug)]
pub(super) struct FrameQueue {
    entries: Box<[Entry]>,
    /// The first entry without a frame; the others follow through `next`.
    free: u16,
    /// Per socket.
    fifos: Box<[Fifo]>,
    /// Sockets with frames, each once; the first is served now.
    order: VecDeque<u16>,
    /// Frames taken from the first socket's queue in a row.
    consecutive: usize,
    count: usize,
}

#[derive(Debug)]
struct Entry {
    buffer: Option<Buffer>,
    next: u16,
}

#[derive(Clone, Copy, Debug)]
struct Fifo {
    first: u16,
    last: u16,
}

const EMPTY: Fifo = Fifo { first: NONE, last: NONE };

impl FrameQueue {
    /// Room for `frames_max` frames of `sockets_max` sockets.
    pub(super) fn new(frames_max: u16, sockets_max: u16) -> Self {
        assert!(frames_max > 0 && frames_max < NONE, "an entry's index never ends a queue");
        let entry = |index| Entry {
            buffer: None,
            next: if index + 1 < frames_max { index + 1 } else { NONE },
        };
        Self {
            entries: (0..frames_max).map(entry).collect(),
            free: 0,
            fifos: vec![EMPTY; usize::from(sockets_max)].into_boxed_slice(),
            order: VecDeque::with_capacity(usize::from(sockets_max)),
            consecutive: 0,
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a frame at the end of its socket's queue.
    pub(super) fn push(&mut self, socket: u16, buffer: Buffer) {
        let index = self.free;
        assert!(index != NONE, "there is an entry for each frame buffer");
        let entry = &mut self.entries[usize::from(index)];
        self.free = std::mem::replace(&mut entry.next, NONE);
        entry.buffer = Some(buffer);
        let fifo = &mut self.fifos[usize::from(socket)];
        if fifo.first == NONE {
            fifo.first = index;
            self.order.push_back(socket);
        } else {
            self.entries[usize::from(fifo.last)].next = index;
        }
        fifo.last = index;
        self.count += 1;
    }

    /// The next frame, and the socket that it came in on: up to [`CONSECUTIVE_MAX`] of one socket,
    /// oldest first, and then the next socket's.
    pub(super) fn pop(&mut self) -> Option<(u16, Buffer)> {
        if self.consecutive == CONSECUTIVE_MAX {
            self.order.rotate_left(1.min(self.order.len()));
            self.consecutive = 0;
        }
        let socket = *self.order.front()?;
        let buffer = self.take_first(socket)?;
        self.consecutive += 1;
        if self.fifos[usize::from(socket)].first == NONE {
            self.order.pop_front();
            self.consecutive = 0;
        }
        Some((socket, buffer))
    }

    /// Forgets what waits of a socket. Returns how many frames that were.
    pub(super) fn forget(&mut self, socket: u16) -> usize {
        let before = self.count;
        while self.take_first(socket).is_some() {}
        if before > self.count {
            if self.order.front() == Some(&socket) {
                self.consecutive = 0;
            }
            self.order.retain(|waiting| *waiting != socket);
        }
        before - self.count
    }

    /// Forgets everything. Returns how many frames that were.
    pub(super) fn forget_all(&mut self) -> usize {
        let before = self.count;
        while self.pop().is_some() {}
        before
    }

    /// Takes the oldest frame of a socket, whichever is served now.
    fn take_first(&mut self, socket: u16) -> Option<Buffer> {
        let fifo = &mut self.fifos[usize::from(socket)];
        let index = fifo.first;
        let entry = self.entries.get_mut(usize::from(index))?;
        fifo.first = std::mem::replace(&mut entry.next, self.free);
        self.free = index;
        self.count -= 1;
        entry.buffer.take()
    }
}

/// The end of a queue; no entry has this index.
const NONE: u16 = u16::MAX;

/// Frames of one socket that are handled before those of another that waits: as many as newer
/// kernels receive of one before they turn to the next.
pub(super) const CONSECUTIVE_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ReceivePool;

    fn push(
        waiting: &mut FrameQueue,
        pool: &ReceivePool,
        socket: u16,
        numbers: std::ops::Range<u8>,
    ) {
        numbers.for_each(|number| waiting.push(socket, pool.fill(&[number]).unwrap()));
    }

    fn pop(waiting: &mut FrameQueue) -> Option<(u16, u8)> {
        waiting.pop().map(|(socket, buffer)| (socket, buffer.bytes()[0]))
    }

    #[test]
    fn sockets_are_served_alternately_and_each_in_order() {
        let pool = ReceivePool::new(128, 64);
        let mut waiting = FrameQueue::new(128, 8);
        push(&mut waiting, &pool, 3, 0..70);
        push(&mut waiting, &pool, 5, 0..1);
        push(&mut waiting, &pool, 0, 0..40);
        let served: Vec<_> = std::iter::from_fn(|| pop(&mut waiting)).collect();
        let run = |socket: u16, numbers: std::ops::Range<u8>| numbers.map(move |n| (socket, n));
        let expected: Vec<_> = run(3, 0..32)
            .chain(run(5, 0..1))
            .chain(run(0, 0..32))
            .chain(run(3, 32..64))
            .chain(run(0, 32..40))
            .chain(run(3, 64..70))
            .collect();
        assert_eq!(served, expected);
        assert_eq!((waiting.len(), pool.held()), (0, 0));
    }

    #[test]
    fn a_socket_alone_is_served_without_end() {
        let pool = ReceivePool::new(128, 64);
        let mut waiting = FrameQueue::new(128, 8);
        push(&mut waiting, &pool, 1, 0..100);
        assert!((0..100).all(|number| pop(&mut waiting) == Some((1, number))));
        assert_eq!(pop(&mut waiting), None);
    }

    #[test]
    fn what_is_forgotten_frees_its_entries_and_no_others() {
        let pool = ReceivePool::new(4, 64);
        let mut waiting = FrameQueue::new(4, 8);
        for _ in 0..10 {
            push(&mut waiting, &pool, 1, 0..2);
            push(&mut waiting, &pool, 2, 7..9);
            assert_eq!((waiting.forget(7), waiting.forget(1), waiting.forget(1)), (0, 2, 0));
            assert_eq!((waiting.len(), pool.held()), (2, 2));
            assert_eq!(pop(&mut waiting), Some((2, 7)));
            push(&mut waiting, &pool, 1, 3..4);
            assert_eq!((pop(&mut waiting), pop(&mut waiting)), (Some((2, 8)), Some((1, 3))));
        }
        push(&mut waiting, &pool, 6, 0..4);
        assert_eq!((waiting.forget_all(), pool.held(), waiting.is_empty()), (4, 0, true));
    }
}
