//! How the relay gets its sockets: from this process, or from one that kept the right to open them.

use std::os::fd::BorrowedFd;

use crate::sys::egress::{EgressError, EgressOptions, EgressSocket};
use crate::sys::filter::FrameFilter;
use crate::sys::interface::Interface;
use crate::sys::packet_socket::{PacketError, PacketGroup, open_group};

/// Opens the relay's sockets.
pub trait SocketFactory: Send + Sync {
    /// Opens `count` packet sockets on an interface that share its frames, as [`open_group`] does.
    ///
    /// # Errors
    /// When they cannot be opened.
    fn open_group(
        &mut self,
        interface: &Interface,
        count: usize,
        receive_buffer_bytes: usize,
        filter: &FrameFilter,
    ) -> Result<PacketGroup, PacketError>;

    /// Opens a socket that sends out of an interface, as [`EgressSocket::open`] does.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open_output(
        &mut self,
        interface: &Interface,
        options: &EgressOptions,
    ) -> Result<EgressSocket, EgressError>;

    /// Readable once the process that opens sockets has ended, until [`Self::ended`] has returned
    /// how; `None` without one.
    fn end(&self) -> Option<BorrowedFd<'_>>;

    /// How the process that opens sockets ended. Returns it once, after it did.
    fn ended(&mut self) -> Option<String>;
}

/// Opens sockets in this process, with its own rights.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnSockets;

impl SocketFactory for OwnSockets {
    fn open_group(
        &mut self,
        interface: &Interface,
        count: usize,
        receive_buffer_bytes: usize,
        filter: &FrameFilter,
    ) -> Result<PacketGroup, PacketError> {
        open_group(interface, count, receive_buffer_bytes, filter)
    }

    fn open_output(
        &mut self,
        interface: &Interface,
        options: &EgressOptions,
    ) -> Result<EgressSocket, EgressError> {
        EgressSocket::open(interface, options)
    }

    fn end(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn ended(&mut self) -> Option<String> {
        None
    }
}
