//! One `recvmmsg` at a time: where it puts messages, and the messages it got.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use crate::io::Arrival;
use crate::io::fault_injection::{Operation, refusal};
use crate::io::{Buffer, ReceivePool, SocketId};
use crate::sys::address::{ADDRESS_BYTES, CONTROL_BYTES};
use crate::sys::memory::MapError;

/// Where the kernel puts what comes with a payload.
#[derive(Clone)]
#[repr(C, align(8))]
struct Ancillary {
    control: [u8; CONTROL_BYTES],
    name: [u8; ADDRESS_BYTES],
}

/// Receives batches from any socket of one kind, into buffers of one size.
pub(super) struct RecvBatch {
    pool: ReceivePool,
    /// How much of a buffer the kernel may fill.
    message_bytes: usize,
    /// Buffers taken from the pool that hold nothing yet. At most all of the pool's.
    empty: Vec<(u16, *mut u8)>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    ancillary: Box<[Ancillary]>,
    /// What the last batch brought and nobody took yet, with its index in the arrays above.
    arrived: VecDeque<(usize, Buffer)>,
    /// The socket that it came from.
    socket: SocketId,
}

impl RecvBatch {
    /// A batch with `count` buffers for messages of up to `message_bytes`, none in use yet.
    ///
    /// # Errors
    /// When the process may map no more memory.
    pub(super) fn new(count: u16, message_bytes: usize) -> Result<Self, MapError> {
        let batch = usize::from(count).min(RECEIVE_BATCH_MAX);
        let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let ancillary = Ancillary { control: [0; CONTROL_BYTES], name: [0; ADDRESS_BYTES] };
        Ok(Self {
            pool: ReceivePool::map(count, message_bytes)?,
            message_bytes,
            empty: Vec::with_capacity(usize::from(count)),
            headers: vec![no_message(); batch].into_boxed_slice(),
            vectors: vec![none; batch].into_boxed_slice(),
            ancillary: vec![ancillary; batch].into_boxed_slice(),
            arrived: VecDeque::with_capacity(batch),
            socket: SocketId(0),
        })
    }

    /// Takes more buffers into use, as [`ReceivePool::widen`] says.
    pub(super) fn widen(&mut self, count: usize) {
        self.pool.widen(count);
    }

    /// Whether a buffer is empty.
    pub(super) fn has_room(&self) -> bool {
        !self.empty.is_empty() || self.pool.free() > 0
    }

    /// Buffers that nobody holds.
    pub(super) fn free(&self) -> usize {
        self.empty.len() + self.pool.free()
    }

    /// Takes what the socket has, up to a batch and to the buffers that are free, with room for
    /// `control_bytes` of control messages each. Returns how many messages that were.
    ///
    /// # Errors
    /// Those of recvmmsg(2); `WouldBlock` when there is nothing.
    pub(super) fn receive(
        &mut self,
        socket: SocketId,
        descriptor: RawFd,
        control_bytes: usize,
    ) -> io::Result<usize> {
        if let Some(errno) = refusal(Operation::Receive) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        debug_assert!(self.arrived.is_empty(), "the arrays still describe the last batch");
        let empty = &mut self.empty;
        self.pool.provide(|id, start| empty.push((id, start)));
        let count = self.empty.len().min(self.headers.len());
        self.prepare(count, control_bytes.min(CONTROL_BYTES));
        // SAFETY: the first `count` headers point to vectors, names and control areas in boxes
        // of this batch and to as many empty buffers of the pool, all of their stated lengths.
        // Nothing refers to them during the call, and the kernel forgets them when it returns.
        let received = unsafe {
            libc::recvmmsg(
                descriptor,
                self.headers.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.socket = socket;
        for index in 0..received {
            let Some((id, _)) = self.empty.pop() else { break };
            let length = self.headers[index].msg_len as usize;
            // SAFETY: this buffer was provided and given to the call here; the call is over
            // and says that it wrote so many bytes.
            self.arrived.push_back((index, unsafe { self.pool.complete(id, length) }));
        }
        Ok(received)
    }

    /// Points the first `count` headers to empty buffers, the last of the list first.
    fn prepare(&mut self, count: usize, control_bytes: usize) {
        let empty = self.empty.iter().rev();
        let messages = self.headers.iter_mut().zip(&mut self.vectors).zip(&mut self.ancillary);
        for (((header, vector), ancillary), (_, start)) in messages.zip(empty).take(count) {
            *vector = libc::iovec { iov_base: start.cast(), iov_len: self.message_bytes };
            let header = &mut header.msg_hdr;
            header.msg_name = ancillary.name.as_mut_ptr().cast();
            header.msg_namelen = ADDRESS_BYTES as libc::socklen_t;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = ancillary.control.as_mut_ptr().cast();
            header.msg_controllen = control_bytes;
            header.msg_flags = 0;
        }
    }

    /// The next message of the batch.
    pub(super) fn take(&mut self) -> Option<(Arrival<'_>, Buffer)> {
        let (index, buffer) = self.arrived.pop_front()?;
        let (header, ancillary) = (&self.headers[index].msg_hdr, &self.ancillary[index]);
        // The kernel reports the whole length of a name that did not fit.
        let name_bytes = ADDRESS_BYTES.min(header.msg_namelen as usize);
        let arrival = Arrival {
            socket: self.socket,
            name: &ancillary.name[..name_bytes],
            control: &ancillary.control[..CONTROL_BYTES.min(header.msg_controllen)],
            payload: 0..buffer.bytes().len(),
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        };
        Some((arrival, buffer))
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &ReceivePool {
        &self.pool
    }
}

/// A header that names nothing.
pub(super) fn no_message() -> libc::mmsghdr {
    // SAFETY: integers and pointers; all zero means "none".
    unsafe { std::mem::zeroed() }
}

/// Messages taken from one socket before others are served.
const RECEIVE_BATCH_MAX: usize = 128;
