//! The shapes of a send: what a service asks for, what its slot keeps, and what comes back.

use std::net::SocketAddr;

use super::buffers::BufferSlice;
use super::socket_table::{ServiceId, SocketId};
pub use crate::sys::address::SendOptions;

/// A send straight from receive buffers.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The socket to send on. Its service gets the completion.
    pub socket: SocketId,
    /// Where to, for a socket that is not connected.
    pub to: Option<SocketAddr>,
    /// Whether it is an IPv6 socket.
    pub ipv6: bool,
    /// What to send, in order; at most [`FORWARD_SLICES_MAX`] slices.
    pub slices: &'a [BufferSlice],
    /// Segment size, TTL and type of service.
    pub options: SendOptions,
    /// Comes back with the [`SendCompletion`].
    pub tag: u32,
}

/// A forward from its push to its completion.
#[derive(Default)]
pub(crate) struct InFlightSend {
    /// The bytes of the receive buffers that the kernel reads.
    pub(crate) slices: Vec<BufferSlice>,
    pub(crate) options: SendOptions,
    pub(crate) tag: u32,
    /// Who gets the completion; `None` in a slot that holds no forward.
    pub(crate) service: Option<ServiceId>,
}

impl InFlightSend {
    /// What to tell the service when it ended with `result`: the bytes sent, or an error number
    /// below zero.
    pub(crate) fn completion(&self, result: i32) -> SendCompletion<'_> {
        SendCompletion {
            tag: self.tag,
            result: usize::try_from(result).map_err(|_| -result),
            slices: &self.slices,
            options: self.options,
        }
    }
}

/// How a [`Forward`] ended.
#[derive(Clone, Copy, Debug)]
pub struct SendCompletion<'a> {
    /// From the forward.
    pub tag: u32,
    /// The bytes sent, or the error number.
    pub result: Result<usize, i32>,
    /// From the forward; they return to their pool afterwards unless cloned.
    pub slices: &'a [BufferSlice],
    /// From the forward.
    pub options: SendOptions,
}

/// Whether a send failed with an error number that says that its socket, or a queue below it, is
/// full just now.
pub(crate) const fn is_socket_full(error: i32) -> bool {
    matches!(error, libc::EAGAIN | libc::ENOBUFS)
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransmitError {
    /// The transmit side had no free slot.
    #[error("no free send slot")]
    Full,
    /// The socket of a forward is not registered (any more).
    #[error("no socket is registered under this ID")]
    NoSocket,
}

/// The largest datagram that a slot holds: the UDP payload of an unfragmented IPv4 datagram on
/// Ethernet (1,500 bytes less 20 of IP and 8 of UDP header).
pub const REPLY_BYTES_MAX: usize = 1472;

/// The most slices that one send takes: the kernel's limit on UDP segments in a send.
pub const FORWARD_SLICES_MAX: usize = 64;

/// The most bytes that one slot holds for several datagrams in one send: 64 announces (BEP 15)
/// and their like.
pub const SEGMENTS_BYTES_MAX: usize = 64 * 98;
