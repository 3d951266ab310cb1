//! UDP sockets for the tracker: one `SO_REUSEPORT` group per listen address, one socket per worker
//! (udp(7), socket(7)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Socket, Type};

use super::errno::Cause;
use super::options::{
    ask_receive_buffer, ask_send_buffer, fragment_freely, kernel_drops, least, udp_socket,
};
use super::steering::SteeringProgram;

/// How the sockets of a group are set up.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Wanted receive buffer of each socket, in bytes of payload as `SO_RCVBUF` counts them.
    pub receive_buffer_bytes: usize,
    /// Wanted send buffer of each socket, in bytes.
    pub send_buffer_bytes: usize,
}

/// One bound UDP socket.
#[derive(Debug)]
pub struct BoundSocket {
    socket: Socket,
    address: SocketAddr,
    /// What the kernel had dropped when this process got the socket.
    drops_before: u64,
}

impl BoundSocket {
    fn new(socket: Socket, address: SocketAddr) -> Self {
        let drops_before = kernel_drops(&socket);
        Self { socket, address, drops_before }
    }

    /// The address it is bound to, with the port that was chosen when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, since this
    /// process has the socket. Zero when the kernel does not say.
    pub fn kernel_drops(&self) -> u64 {
        kernel_drops(self).saturating_sub(self.drops_before)
    }

    /// Whether datagrams for any local address arrive here, so that replies must name the one
    /// that was asked.
    pub fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }
}

impl AsRawFd for BoundSocket {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

/// Sockets bound to the same address, in the order that steering indexes.
#[derive(Debug)]
pub struct SocketGroup {
    /// One socket per worker.
    pub sockets: Vec<BoundSocket>,
    /// Whether the kernel took the steering program.
    pub steered: bool,
    /// The smallest receive buffer granted, when that is less than was wanted.
    pub receive_buffer_short: Option<usize>,
    /// The smallest send buffer granted, when that is less than was wanted.
    pub send_buffer_short: Option<usize>,
}

/// Why a listen address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error(
        "{address} is in use by another process; stop it or listen elsewhere \
         (`ss -ulpn sport = :{port}` shows it)", port = address.port()
    )]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// A port below 1024 without the right to it.
    #[error(
        "no permission to bind {address}; ports below net.ipv4.ip_unprivileged_port_start need \
         root or CAP_NET_BIND_SERVICE"
    )]
    Permission {
        /// What was asked for.
        address: SocketAddr,
    },
    /// No interface carries the address.
    #[error("{address} cannot be bound: no interface has this address")]
    NotLocal {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The kernel has no such family.
    #[error("{address} cannot be bound: this system has no IPv6; remove the address from `listen`")]
    NoIpv6 {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Too many open files.
    #[error("too many open files while binding {address}; raise the limit (`ulimit -n`)")]
    TooManyFiles {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Another process handed over something else.
    #[error("a socket at {bound} was handed over for {address}")]
    NotAdoptable {
        /// What was asked for.
        address: SocketAddr,
        /// Where it is bound.
        bound: SocketAddr,
    },
    /// Anything else.
    #[error("{address} cannot be bound")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
}

impl BindError {
    fn from_io(address: SocketAddr, source: io::Error) -> Self {
        match Cause::of(&source) {
            Cause::InUse => Self::InUse { address },
            Cause::Permission => Self::Permission { address },
            Cause::NotLocal => Self::NotLocal { address },
            Cause::Unsupported => Self::NoIpv6 { address },
            Cause::TooManyFiles => Self::TooManyFiles { address },
            _ => Self::Other { address, source },
        }
    }
}

/// Binds `count` sockets to `address` and attaches the steering program to them.
///
/// With port 0 the kernel chooses one port for the whole group. A program that the kernel
/// refuses is no error: requests are then spread by flow, and shards are locked across workers.
pub fn bind_group(
    address: SocketAddr,
    count: usize,
    options: SocketOptions,
    steering: Option<&SteeringProgram>,
) -> Result<SocketGroup, BindError> {
    let fail = |source| BindError::from_io(address, source);
    let shared = count > 1;
    let mut group = SocketGroup {
        sockets: Vec::with_capacity(count),
        steered: false,
        receive_buffer_short: None,
        send_buffer_short: None,
    };
    let mut bound = address;
    for index in 0..count {
        // The first is bound alone and shares the port from then on. Bound with SO_REUSEPORT it
        // would join any group of this user's on that port, which with port 0 the kernel may
        // well choose, and both would get half of the requests.
        let socket = bind_one(bound, index > 0).map_err(fail)?;
        if shared && index == 0 {
            socket.set_reuse_port(true).map_err(fail)?;
        }
        bound = local_address(&socket).map_err(fail)?;
        ask_for_buffers(&socket, options, &mut group).map_err(fail)?;
        group.sockets.push(BoundSocket::new(socket, bound));
    }
    steer(&mut group, address, steering);
    Ok(group)
}

/// Makes a group of sockets that another process bound with [`bind_group`] to `address`, or to a
/// port that was chosen for it, in the order in which they were bound.
///
/// # Errors
/// When one of them is something else, or does not take the options.
pub fn adopt_group(
    address: SocketAddr,
    sockets: Vec<OwnedFd>,
    options: SocketOptions,
    steering: Option<&SteeringProgram>,
) -> Result<SocketGroup, BindError> {
    let fail = |source| BindError::from_io(address, source);
    let mut group = SocketGroup {
        sockets: Vec::with_capacity(sockets.len()),
        steered: false,
        receive_buffer_short: None,
        send_buffer_short: None,
    };
    for socket in sockets.into_iter().map(Socket::from) {
        let bound = local_address(&socket).map_err(fail)?;
        let is_udp = socket.r#type().map_err(fail)? == Type::DGRAM;
        let is_port = address.port() == 0 || bound.port() == address.port();
        if !is_udp || bound.ip() != address.ip() || !is_port {
            return Err(BindError::NotAdoptable { address, bound });
        }
        ask_for_buffers(&socket, options, &mut group).map_err(fail)?;
        group.sockets.push(BoundSocket::new(socket, bound));
    }
    steer(&mut group, address, steering);
    Ok(group)
}

/// Attaches the program to the group, in place of the one that it may have.
fn steer(group: &mut SocketGroup, address: SocketAddr, steering: Option<&SteeringProgram>) {
    if let (Some(program), [first, _, ..]) = (steering, &group.sockets[..]) {
        match program.attach(first) {
            Ok(()) => group.steered = true,
            Err(error) => tracing::warn!(
                %address, %error,
                "the kernel refuses the steering program; requests are spread by flow instead"
            ),
        }
    }
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = udp_socket(address)?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own: swarms are apart, and mapped addresses would mix them.
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.ip().is_unspecified() {
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
    }
    // Replies fit an unfragmented Ethernet datagram; on narrower paths let routers or the kernel
    // fragment, and ignore path MTU news, which anybody could forge.
    fragment_freely(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Sets both buffers, past the sysctl limits where permitted, and notes what was not granted.
fn ask_for_buffers(
    socket: &Socket,
    options: SocketOptions,
    group: &mut SocketGroup,
) -> io::Result<()> {
    let receive_short = ask_receive_buffer(socket, options.receive_buffer_bytes)?;
    let send_short = ask_send_buffer(socket, options.send_buffer_bytes)?;
    group.receive_buffer_short = least(group.receive_buffer_short, receive_short);
    group.send_buffer_short = least(group.send_buffer_short, send_short);
    Ok(())
}

impl std::os::fd::AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SocketOptions =
        SocketOptions { receive_buffer_bytes: 65_536, send_buffer_bytes: 65_536 };

    #[test]
    fn a_group_shares_the_port_the_kernel_chose() {
        let group = bind_group("127.0.0.1:0".parse().unwrap(), 3, OPTIONS, None).unwrap();
        let address = group.sockets[0].address();
        assert_ne!(address.port(), 0);
        assert!(group.sockets.iter().all(|socket| socket.address() == address));
        assert!(!group.steered);
    }

    #[test]
    fn a_group_does_not_join_another_processs_port() {
        let first = bind_group("127.0.0.1:0".parse().unwrap(), 2, OPTIONS, None).unwrap();
        let address = first.sockets[0].address();
        for count in [1, 2] {
            let error = bind_group(address, count, OPTIONS, None).unwrap_err();
            assert!(matches!(error, BindError::InUse { .. }), "{error}");
        }
    }

    #[test]
    fn what_a_full_buffer_drops_is_known() {
        let options = SocketOptions { receive_buffer_bytes: 4096, send_buffer_bytes: 4096 };
        let group = bind_group("127.0.0.1:0".parse().unwrap(), 1, options, None).unwrap();
        let socket = &group.sockets[0];
        assert_eq!(socket.kernel_drops(), 0);
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            client.send_to(&[0; 512], socket.address()).unwrap();
        }
        assert!(socket.kernel_drops() > 900, "{}", socket.kernel_drops());
    }

    #[test]
    fn a_group_is_adopted_with_its_port_and_what_waits_in_it() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind_group(any, 2, OPTIONS, None).unwrap();
        let address = first.sockets[0].address();
        let hand_over = |group: &SocketGroup| -> Vec<OwnedFd> {
            let sockets = group.sockets.iter();
            sockets.map(|socket| socket.socket.try_clone().unwrap().into()).collect()
        };
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"early", address).unwrap();
        let sockets = hand_over(&first);
        drop(first);
        let second = adopt_group(any, sockets, OPTIONS, None).unwrap();
        assert!(second.sockets.iter().all(|socket| socket.address() == address));
        let waiting = second.sockets.iter().filter(|socket| {
            let mut bytes = [0; 8];
            let socket = std::net::UdpSocket::from(socket.socket.try_clone().unwrap());
            socket.recv(&mut bytes).is_ok_and(|length| &bytes[..length] == b"early")
        });
        assert_eq!(waiting.count(), 1);
        for other in ["127.0.0.1:1", "127.0.0.2:0", "[::1]:0"] {
            let error = adopt_group(other.parse().unwrap(), hand_over(&second), OPTIONS, None);
            assert!(matches!(error, Err(BindError::NotAdoptable { .. })), "{other}");
        }
    }

    #[test]
    fn groups_on_chosen_ports_stay_apart() {
        // As many that the kernel, if it were free to, would put two of them on one port.
        let any = "127.0.0.1:0".parse().unwrap();
        let groups: Vec<_> = (0..300).map(|_| bind_group(any, 2, OPTIONS, None).unwrap()).collect();
        let mut ports: Vec<_> =
            groups.iter().map(|group| group.sockets[0].address().port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), groups.len());
    }

    #[test]
    fn an_address_of_no_interface_is_named() {
        let error = bind_group("192.0.2.1:0".parse().unwrap(), 1, OPTIONS, None).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1:0"), "{error}");
    }
}
