//! A UDP socket that receives one group or address on one interface (udp(7), ip(7)). Only `tools`
//! use it; it is here because reading control messages needs unsafe code.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;

use super::address::with_scope;
use super::errno::Cause;
use super::interface::Interface;
use super::membership::{Membership, MembershipError, join_on};
use super::options::{ask_receive_buffer, kernel_drops, udp_socket};

/// A bound UDP socket that has joined its group.
///
/// It takes super-packets whole (udp(7), `UDP_GRO`): a control message of such a receive has the
/// size of the datagrams in it.
#[derive(Debug)]
pub struct UdpReceiver {
    socket: Socket,
    receive_buffer_short: Option<usize>,
}

/// Why a group or an address cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Another process has the port for itself.
    #[error(
        "{address} is in use by another process (`ss -ulpn sport = :{port}` shows it)",
        port = address.port()
    )]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address is neither a group nor one of this host.
    #[error(
        "{address} is neither a group nor an address of this host (`ip addr show {interface}` \
         lists those)"
    )]
    NotLocal {
        /// What was asked for.
        address: SocketAddr,
        /// The interface to receive on.
        interface: String,
    },
    /// The interface went away.
    #[error("there is no interface {interface}")]
    Missing {
        /// Which one.
        interface: String,
    },
    /// Not permitted.
    #[error(
        "no permission to receive {address} on {interface}; ports below 1024 need root or \
         CAP_NET_BIND_SERVICE"
    )]
    Permission {
        /// What was asked for.
        address: SocketAddr,
        /// The interface to receive on.
        interface: String,
    },
    /// The kernel has no IPv6.
    #[error("{address} cannot be received: this system has no IPv6")]
    NoIpv6 {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The group cannot be joined.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// Anything else.
    #[error("{address} cannot be received on {interface}")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// The interface to receive on.
        interface: String,
        /// The kernel's error.
        source: io::Error,
    },
}

impl ReceiverError {
    fn from_io(interface: &Interface, address: SocketAddr, source: io::Error) -> Self {
        let interface = interface.name.clone();
        match Cause::of(&source) {
            Cause::InUse => Self::InUse { address },
            Cause::NotLocal => Self::NotLocal { address, interface },
            Cause::NoDevice => Self::Missing { interface },
            Cause::Permission => Self::Permission { address, interface },
            Cause::Unsupported => Self::NoIpv6 { address },
            _ => Self::Other { address, interface, source },
        }
    }
}

impl UdpReceiver {
    /// Opens the socket and joins the group; with a `source`, only for what that one sends.
    ///
    /// Other sockets may receive the same group. A unicast address is for one socket alone.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub fn open(
        interface: &Interface,
        address: SocketAddr,
        source: Option<IpAddr>,
        receive_buffer_bytes: usize,
    ) -> Result<Self, ReceiverError> {
        let fail = |source| ReceiverError::from_io(interface, address, source);
        let socket = bound(interface, address).map_err(fail)?;
        let receive_buffer_short =
            ask_receive_buffer(&socket, receive_buffer_bytes).map_err(fail)?;
        let group = address.ip();
        if group.is_multicast() {
            join_on(&socket, Membership { group, source }, interface.index)?;
        }
        Ok(Self { socket, receive_buffer_short })
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, since the socket
    /// was opened. Zero when the kernel does not say.
    pub fn kernel_drops(&self) -> u64 {
        kernel_drops(self)
    }

    /// The receive buffer granted in bytes, when that is less than was wanted.
    pub fn receive_buffer_short(&self) -> Option<usize> {
        self.receive_buffer_short
    }
}

fn bound(interface: &Interface, address: SocketAddr) -> io::Result<Socket> {
    let socket = udp_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(address.ip().is_multicast())?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    // Bound to the group itself, the socket gets nothing of other groups on the same port.
    socket.bind(&with_scope(address, interface.index).into())?;
    Ok(socket)
}

impl AsRawFd for UdpReceiver {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

impl AsFd for UdpReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(address: &str, source: Option<&str>) -> Result<UdpReceiver, ReceiverError> {
        let loopback = Interface::find("lo").unwrap().unwrap();
        let source = source.map(|text| text.parse().unwrap());
        UdpReceiver::open(&loopback, address.parse().unwrap(), source, 1 << 16)
    }

    #[test]
    fn a_group_is_for_many_and_a_host_for_one() {
        let _first = open("239.7.7.7:5777", None).unwrap();
        let second = open("239.7.7.7:5777", Some("127.0.0.1")).unwrap();
        assert_eq!((second.kernel_drops(), second.receive_buffer_short()), (0, None));
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        assert!(matches!(open(&address, None), Err(ReceiverError::InUse { .. })));
    }

    #[test]
    fn what_cannot_be_received_is_named() {
        let error = open("198.51.100.1:5001", None).unwrap_err();
        assert!(error.to_string().contains("198.51.100.1:5001 is neither"), "{error}");
        let loopback = Interface::find("lo").unwrap().unwrap();
        let nowhere = Interface { name: "nowhere0".to_owned(), ..loopback };
        let group = "239.7.7.7:5001".parse().unwrap();
        let error = UdpReceiver::open(&nowhere, group, None, 1 << 16).unwrap_err();
        assert!(error.to_string().contains("nowhere0"), "{error}");
    }
}
