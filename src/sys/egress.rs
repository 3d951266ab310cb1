//! The UDP socket of one output of the relay (udp(7), ip(7), ipv6(7)).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::address::with_scope;
use super::errno::Cause;
use super::filter::FrameFilter;
use super::interface::Interface;
use super::options::{ask_send_buffer, fragment_freely, send_buffer_short, set_option, udp_socket};

/// Where an output sends and how.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressOptions {
    /// The destination: a group or a host.
    pub to: SocketAddr,
    /// The source address; `None` leaves it to routing.
    pub source: Option<IpAddr>,
    /// TTL or hop limit; `None` is 1 to a group, and the system's default to a host.
    pub ttl: Option<u8>,
    /// Differentiated-services code point, 0 to 63.
    pub dscp: u8,
    /// Wanted send buffer in bytes, as `SO_SNDBUF` counts them.
    pub send_buffer_bytes: usize,
}

/// A UDP socket for one output, which leaves by one interface only.
///
/// It is made for the interface as it is: open another when its index, its MTU or its addresses
/// change.
///
/// A receiver on this very host sees what is sent to a group, as `IP_MULTICAST_LOOP` is left on:
/// taking a local receiver's feed away would be a surprise. Where nobody on this host joined the
/// group, the kernel makes no copy; and where somebody did, our packet sockets do not see the
/// copy (the kernel keeps `PACKET_LOOPBACK` from them).
///
/// To a group it is connected, which spares a route lookup for each send. To a host it is not: one
/// that refuses a datagram by ICMP, as a host does where only a packet socket listens, would make
/// a later send on a connected socket fail, and those behind it overtake.
#[derive(Debug)]
pub struct EgressSocket {
    socket: Socket,
    local: SocketAddr,
    peer: SocketAddr,
    interface_index: u32,
    mtu: u32,
    send_buffer_short: Option<usize>,
}

/// Why an output's socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The interface went away.
    #[error("there is no interface {interface}")]
    Missing {
        /// Which one.
        interface: String,
    },
    /// The destination cannot be reached from the interface.
    #[error(
        "{to} cannot be reached from {interface}: the interface is down, has no address of this \
         family, or there is no route (`ip addr show {interface}` and `ip route get` show it)"
    )]
    NoRoute {
        /// The destination.
        to: SocketAddr,
        /// The interface to leave by.
        interface: String,
    },
    /// The source is not an address of this host.
    #[error(
        "{from} is no address of this host that {interface} can send from; give the interface \
         the address (`ip addr add`), or leave `source` out"
    )]
    SourceNotLocal {
        /// The source asked for.
        from: IpAddr,
        /// The interface to leave by.
        interface: String,
    },
    /// The source and the destination are of different families.
    #[error("source {from} and destination {to} are not of the same family")]
    Families {
        /// The source asked for.
        from: IpAddr,
        /// The destination.
        to: SocketAddr,
    },
    /// Not permitted.
    #[error(
        "no permission to send to {to} from {interface}; it needs root or CAP_NET_RAW, and \
         no firewall rule in the way"
    )]
    Permission {
        /// The destination.
        to: SocketAddr,
        /// The interface to leave by.
        interface: String,
    },
    /// The kernel has no IPv6.
    #[error("{to} cannot be sent to: this system has no IPv6")]
    NoIpv6 {
        /// The destination.
        to: SocketAddr,
    },
    /// Too many open files.
    #[error("too many open files while opening the output {to}; raise the limit (`ulimit -n`)")]
    TooManyFiles {
        /// The destination.
        to: SocketAddr,
    },
    /// The process that opens sockets does not open this one.
    #[error("no socket to send to {to} from {interface}: {reason}")]
    Broker {
        /// The destination.
        to: SocketAddr,
        /// The interface to leave by.
        interface: String,
        /// Why.
        reason: String,
    },
    /// Anything else.
    #[error("the output {to} on {interface} cannot be opened")]
    Other {
        /// The destination.
        to: SocketAddr,
        /// The interface to leave by.
        interface: String,
        /// The kernel's error.
        source: io::Error,
    },
}

impl EgressError {
    /// Whether it is over once the interface comes back, or has its addresses and routes.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::NoRoute { .. } | Self::SourceNotLocal { .. })
    }

    /// What an error of the kernel at one step means.
    pub fn at(
        interface: &Interface,
        options: &EgressOptions,
        step: EgressStep,
        source: io::Error,
    ) -> Self {
        match (step, options.source, source.raw_os_error()) {
            (EgressStep::Source, Some(from), Some(libc::EADDRNOTAVAIL)) => {
                Self::SourceNotLocal { from, interface: interface.name.clone() }
            }
            (EgressStep::Source, Some(from), Some(libc::EAFNOSUPPORT | libc::EINVAL))
                if from.is_ipv4() != options.to.is_ipv4() =>
            {
                Self::Families { from, to: options.to }
            }
            _ => Self::from_io(interface, options.to, source),
        }
    }

    fn from_io(interface: &Interface, to: SocketAddr, source: io::Error) -> Self {
        let interface = interface.name.clone();
        match Cause::of(&source) {
            Cause::NoDevice => Self::Missing { interface },
            Cause::Unreachable | Cause::NotLocal => Self::NoRoute { to, interface },
            Cause::Permission => Self::Permission { to, interface },
            Cause::Unsupported => Self::NoIpv6 { to },
            Cause::TooManyFiles => Self::TooManyFiles { to },
            _ => Self::Other { to, interface, source },
        }
    }
}

impl EgressSocket {
    /// Opens the socket of an output.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub fn open(interface: &Interface, options: &EgressOptions) -> Result<Self, EgressError> {
        let socket = open_ready(interface, options)
            .map_err(|(step, error)| EgressError::at(interface, options, step, error))?;
        Self::adopt(socket, interface, options)
    }

    /// Takes over what [`open_ready`] opened, here or in another process.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn adopt(
        socket: OwnedFd,
        interface: &Interface,
        options: &EgressOptions,
    ) -> Result<Self, EgressError> {
        let fail = |source| EgressError::from_io(interface, options.to, source);
        let socket = Socket::from(socket);
        let local = socket.local_addr().map_err(fail)?.as_socket();
        let local = local.ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
        let send_buffer_short =
            send_buffer_short(&socket, options.send_buffer_bytes).map_err(fail)?;
        Ok(Self {
            socket,
            local,
            peer: with_scope(options.to, interface.index),
            interface_index: interface.index,
            mtu: interface.mtu,
            send_buffer_short,
        })
    }

    /// The address and port that it sends from.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The address and port that it sends to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address to name in each send; `None` where the socket is connected.
    pub fn to(&self) -> Option<SocketAddr> {
        (!self.peer.ip().is_multicast()).then_some(self.peer)
    }

    /// The index of the interface that it leaves by.
    pub fn interface_index(&self) -> u32 {
        self.interface_index
    }

    /// Connects it to its destination, a host too: for a sender that wants to hear of refusals.
    ///
    /// # Errors
    /// When there is no route any more.
    pub fn connect(&self) -> io::Result<()> {
        self.socket.connect(&self.peer.into())
    }

    /// The interface's MTU when the socket was opened, in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// The longest payload in bytes that leaves in one piece, and so the longest segment that
    /// `UDP_SEGMENT` may ask for.
    pub fn segment_bytes_max(&self) -> usize {
        let ip_bytes = if self.peer.is_ipv6() { 40 } else { 20 };
        (self.mtu as usize).saturating_sub(ip_bytes + UDP_HEADER_BYTES)
    }

    /// The send buffer granted in bytes, when that is less than was wanted.
    pub fn send_buffer_short(&self) -> Option<usize> {
        self.send_buffer_short
    }
}

/// Opens the socket of an output. This is what needs privileges.
///
/// # Errors
/// The kernel's error, and the step that failed.
pub fn open_ready(
    interface: &Interface,
    options: &EgressOptions,
) -> Result<OwnedFd, (EgressStep, io::Error)> {
    let fail = |source| (EgressStep::Open, source);
    let mut socket = unbound(interface, options).map_err(fail)?;
    if let Some(from) = options.source {
        bind(&socket, interface, from)?;
    }
    let peer = with_scope(options.to, interface.index);
    socket.connect(&peer.into()).map_err(fail)?;
    let local = socket.local_addr().map_err(fail)?.as_socket();
    let local = local.filter(|local| !local.ip().is_unspecified());
    let local = local.ok_or_else(|| fail(io::Error::from_raw_os_error(libc::ENETUNREACH)))?;
    if !peer.ip().is_multicast() {
        // Connecting has found a route and the address to send from.
        socket = unbound(interface, options).map_err(fail)?;
        bind(&socket, interface, local.ip())?;
    }
    ask_send_buffer(&socket, options.send_buffer_bytes).map_err(fail)?;
    Ok(socket.into())
}

/// What is done for an output's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EgressStep {
    /// Everything but its source.
    Open,
    /// Binding it to its source.
    Source,
}

/// A socket that can leave by the interface only, with everything set but its addresses.
fn unbound(interface: &Interface, options: &EgressOptions) -> io::Result<Socket> {
    let EgressOptions { to, ttl, dscp, .. } = *options;
    let socket = udp_socket(to)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    let tos = u32::from(dscp) << 2;
    let ttl = ttl.map(u32::from);
    match to.ip() {
        IpAddr::V4(address) => {
            let multicast_interface = libc::ip_mreqn {
                imr_multiaddr: libc::in_addr { s_addr: 0 },
                imr_address: libc::in_addr { s_addr: 0 },
                imr_ifindex: interface.index as i32,
            };
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &multicast_interface)?;
            socket.set_tos_v4(tos)?;
            match ttl {
                Some(ttl) if address.is_multicast() => socket.set_multicast_ttl_v4(ttl)?,
                Some(ttl) => socket.set_ttl_v4(ttl)?,
                None => {}
            }
        }
        IpAddr::V6(address) => {
            socket.set_only_v6(true)?;
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_tclass_v6(tos)?;
            match ttl {
                Some(hops) if address.is_multicast() => socket.set_multicast_hops_v6(hops)?,
                Some(hops) => socket.set_unicast_hops_v6(hops)?,
                None => {}
            }
        }
    }
    // What the peer may answer is not wanted, and nobody would take it out of the buffer.
    FrameFilter::nothing().attach(&socket)?;
    // A datagram longer than the MTU leaves in fragments, as it came in.
    fragment_freely(&socket, to.is_ipv6())?;
    Ok(socket)
}

fn bind(
    socket: &Socket,
    interface: &Interface,
    from: IpAddr,
) -> Result<(), (EgressStep, io::Error)> {
    let address = with_scope(SocketAddr::new(from, 0), interface.index);
    socket.bind(&address.into()).map_err(|error| (EgressStep::Source, error))
}

impl AsRawFd for EgressSocket {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

impl AsFd for EgressSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const UDP_HEADER_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn loopback() -> Interface {
        Interface::find("lo").unwrap().unwrap()
    }

    fn options(to: &str) -> EgressOptions {
        let to = to.parse().unwrap();
        EgressOptions { to, source: None, ttl: None, dscp: 0, send_buffer_bytes: 65_536 }
    }

    #[test]
    fn what_is_sent_arrives() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap().to_string();
        let source = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let options = EgressOptions { source, ..options(&to) };
        let egress = EgressSocket::open(&loopback(), &options).unwrap();
        egress.socket.send_to(b"hello", &egress.peer().into()).unwrap();
        let mut bytes = [0; 16];
        assert_eq!(receiver.recv_from(&mut bytes).unwrap(), (5, egress.local()));
        assert_eq!(egress.segment_bytes_max(), loopback().mtu as usize - 28);
        assert_eq!(egress.send_buffer_short(), None);
    }

    #[test]
    fn sources_that_cannot_be_are_named() {
        for (source, wanted) in [("192.0.2.1", "192.0.2.1"), ("::1", "same family")] {
            let source = Some(source.parse().unwrap());
            let options = EgressOptions { source, ..options("127.0.0.1:9") };
            let error = EgressSocket::open(&loopback(), &options).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_missing_interface_is_named() {
        let interface = Interface { name: "nowhere0".to_owned(), ..loopback() };
        let error = EgressSocket::open(&interface, &options("127.0.0.1:9")).unwrap_err();
        assert!(matches!(error, EgressError::Missing { .. }), "{error}");
    }
}
