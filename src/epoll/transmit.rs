//! Sending: messages wait in a queue for each socket, and each queue is sent by `sendmmsg`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use super::receive::no_message;
use super::sockets::Sockets;
use crate::io::fault_injection::sends_until_refusal;
use crate::io::send_slots::SendSlots;
use crate::io::transmit::{Message, SlotSender, end_reply};
use crate::io::{Failures, LoopSizes, ServiceId, SocketId, TransmitError};
use crate::sys::errno;
use crate::sys::memory::MapError;
use crate::telemetry::Counters;

/// The slots that wait at one socket, oldest first: a list through [`SendQueue::next`].
#[derive(Clone, Copy)]
struct Fifo {
    first: u16,
    last: u16,
}

/// Send slots, and the order in which they leave.
pub(super) struct SendQueue {
    pub(super) slots: SendSlots,
    /// Per slot: the one behind it in its queue.
    next: Box<[u16]>,
    /// Per socket.
    fifos: Box<[Fifo]>,
    /// Sockets with messages in their queue, in the order of the first one. Each is here once.
    waiting: Vec<SocketId>,
    /// Slots of forwards that have ended, and how: the bytes sent, or an error number below zero.
    /// Each stays taken until its service is told.
    ended: VecDeque<(u16, i32)>,
    headers: Box<[libc::mmsghdr]>,
    pub(super) failures: Failures,
}

impl SendQueue {
    /// With the slots and for the sockets of a loop of these sizes.
    ///
    /// # Errors
    /// When the process may map no more memory.
    pub(super) fn new(sizes: &LoopSizes) -> Result<Self, MapError> {
        let LoopSizes { send_slots: count, forwards, segments, .. } = *sizes;
        let sockets = usize::from(sizes.sockets);
        assert!(count < NONE, "a slot's index never ends a queue");
        Ok(Self {
            slots: SendSlots::new(count, forwards, segments)?,
            next: vec![NONE; usize::from(count)].into_boxed_slice(),
            fifos: vec![Fifo { first: NONE, last: NONE }; sockets].into_boxed_slice(),
            waiting: Vec::with_capacity(sockets),
            ended: VecDeque::with_capacity(if forwards { usize::from(count) } else { 0 }),
            headers: vec![no_message(); SEND_BATCH_MAX].into_boxed_slice(),
            failures: Failures::of("sends"),
        })
    }

    /// Whether nothing waits to be sent or to be reported.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.ended.is_empty()
    }

    /// Puts a filled slot at the end of its socket's queue.
    fn enqueue(&mut self, socket: SocketId, slot: u16, counters: &Counters) {
        self.next[usize::from(slot)] = NONE;
        let Some(fifo) = self.fifos.get_mut(usize::from(socket.0)) else {
            return self.finish(slot, -libc::EBADF, counters);
        };
        if fifo.first == NONE {
            fifo.first = slot;
            self.waiting.push(socket);
        } else {
            self.next[usize::from(fifo.last)] = slot;
        }
        fifo.last = slot;
    }

    /// Sends all that waits: for each socket in order.
    pub(super) fn send_all(&mut self, sockets: &Sockets, counters: &Counters) {
        for index in 0..self.waiting.len() {
            let socket = self.waiting[index];
            let fifo = &mut self.fifos[usize::from(socket.0)];
            let first = std::mem::replace(&mut fifo.first, NONE);
            let descriptor = sockets.get(socket).map(|(_, _, descriptor)| descriptor);
            self.send_fifo(first, descriptor, counters);
        }
        self.waiting.clear();
    }

    fn send_fifo(&mut self, first: u16, descriptor: Option<RawFd>, counters: &Counters) {
        let mut slot = first;
        while slot != NONE {
            let batch = slot;
            let mut count = 0;
            while slot != NONE && count < self.headers.len() {
                // SAFETY: the slot was filled and is not released before its queue is sent.
                self.headers[count].msg_hdr = unsafe { *self.slots.message(slot) };
                slot = self.next[usize::from(slot)];
                count += 1;
            }
            self.send_batch(batch, count, descriptor, counters);
        }
    }

    /// Sends the first `count` headers, which are those of the slots from `first` on.
    fn send_batch(
        &mut self,
        first: u16,
        count: usize,
        descriptor: Option<RawFd>,
        counters: &Counters,
    ) {
        let (mut slot, mut done) = (first, 0);
        while done < count {
            let sent = match descriptor {
                Some(descriptor) => send(descriptor, &mut self.headers[done..count]),
                None => Err(libc::EBADF),
            };
            // The kernel stops at the first message that fails and reports why only when that is
            // the first of a call: it is the first of the next one.
            let ended = *sent.as_ref().unwrap_or(&1);
            for header in done..done + ended {
                let result = match sent {
                    Ok(_) => self.headers[header].msg_len as i32,
                    Err(errno) => -errno,
                };
                let behind = self.next[usize::from(slot)];
                self.finish(slot, result, counters);
                slot = behind;
            }
            done += ended;
        }
    }

    /// Takes note of how a send ended: replies are counted and their slots free, forwards wait
    /// for their service.
    fn finish(&mut self, slot: u16, result: i32, counters: &Counters) {
        if self.slots.is_forward(slot) {
            self.ended.push_back((slot, result));
        } else {
            end_reply(&mut self.slots, slot, result, &mut self.failures, counters);
        }
    }

    /// The forwards that have ended so far.
    pub(super) fn ended(&self) -> usize {
        self.ended.len()
    }

    /// The oldest forward that has ended: its slot, and how. The caller tells its service.
    pub(super) fn take_ended(&mut self) -> Option<(u16, i32)> {
        self.ended.pop_front()
    }
}

/// Sends messages until one fails. Returns how many were sent, which is at least one, or the
/// error number of the first.
fn send(descriptor: RawFd, headers: &mut [libc::mmsghdr]) -> Result<usize, i32> {
    let flags = libc::MSG_DONTWAIT;
    let count = match sends_until_refusal(headers.len()) {
        (count, None) => count as u32,
        (_, Some(errno)) => return Err(errno),
    };
    // SAFETY: each header was copied from a filled slot: what it points to, receive buffers
    // included, stays in place and unwritten until that slot is released, after this call. The
    // kernel forgets it when the call returns.
    let sent = unsafe { libc::sendmmsg(descriptor, headers.as_mut_ptr(), count, flags as _) };
    match usize::try_from(sent) {
        // No call with messages returns 0; counted as a failure, it could not keep us here.
        Ok(0) => Err(libc::EIO),
        Ok(sent) => Ok(sent),
        Err(_) => Err(errno::number(&io::Error::last_os_error())),
    }
}

/// The epoll side of [`Transmit`](crate::io::Transmit).
pub(super) struct QueueTransmit<'a> {
    pub(super) queue: &'a mut SendQueue,
    pub(super) sockets: &'a Sockets,
    pub(super) counters: &'a Counters,
}

impl SlotSender for QueueTransmit<'_> {
    #[inline]
    fn slots(&mut self) -> &mut SendSlots {
        &mut self.queue.slots
    }

    #[inline]
    fn counters(&self) -> &Counters {
        self.counters
    }

    #[inline]
    fn service_of(&self, socket: SocketId) -> Option<ServiceId> {
        self.sockets.get(socket).map(|(_, service, _)| service)
    }

    /// Sends early when the last slot is taken. Forwards keep theirs until their service is told.
    #[inline]
    fn make_room(&mut self) {
        if self.queue.slots.free() == 0 {
            self.queue.send_all(self.sockets, self.counters);
        }
    }

    #[inline]
    fn send(&mut self, socket: SocketId, slot: u16, _: Message) -> Result<(), TransmitError> {
        self.queue.enqueue(socket, slot, self.counters);
        Ok(())
    }
}

/// The end of a queue; no slot has this index.
const NONE: u16 = u16::MAX;

/// Messages in one call: the most that the kernel takes.
const SEND_BATCH_MAX: usize = libc::UIO_MAXIOV as usize;
