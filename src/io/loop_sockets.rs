//! How an event loop serves the sockets of `sys`.

use super::socket_table::{LoopSocket, SocketKind};
use crate::sys::egress::EgressSocket;
use crate::sys::packet_socket::PacketSocket;
use crate::sys::socket::BoundSocket;

impl LoopSocket for BoundSocket {
    fn kind(&self) -> SocketKind {
        if self.is_wildcard() { SocketKind::DatagramsWithPacketInfo } else { SocketKind::Datagrams }
    }
}

impl LoopSocket for EgressSocket {
    fn kind(&self) -> SocketKind {
        SocketKind::SendOnly
    }
}

impl LoopSocket for PacketSocket {
    fn kind(&self) -> SocketKind {
        SocketKind::Frames
    }
}
