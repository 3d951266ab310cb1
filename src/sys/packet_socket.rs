//! Packet sockets, which receive the frames of an interface before the IP stack (packet(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use super::errno::Cause;
use super::filter::FrameFilter;
use super::interface::Interface;
use super::options::{
    ask_receive_buffer, get_option, least, receive_buffer_short, resize_receive_buffer, set_option,
};

/// One packet socket, bound to an interface and a member of that interface's fanout group.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    interface_index: u32,
    /// What earlier reads of `PACKET_STATISTICS`, which resets itself, add up to.
    drops: Arc<AtomicU64>,
    /// Set when another process has the socket, which reads the statistics from then on.
    handed_over: AtomicBool,
}

/// The packet sockets of one interface, one per worker.
///
/// Each frame goes to one of them, each flow always to the same one, and fragments of an IPv4
/// datagram arrive as the whole datagram.
#[derive(Debug)]
pub struct PacketGroup {
    /// The sockets, in the order of the workers.
    pub sockets: Vec<PacketSocket>,
    /// The smallest receive buffer granted, when that is less than was wanted.
    pub receive_buffer_short: Option<usize>,
}

/// Why a packet socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// No right to see frames.
    #[error(
        "no permission to receive frames from {interface}; it needs root or CAP_NET_RAW \
         (`setcap cap_net_raw,cap_net_admin+ep` on the binary, or AmbientCapabilities= of systemd)"
    )]
    Permission {
        /// Which one.
        interface: String,
    },
    /// The interface went away.
    #[error("there is no interface {interface}")]
    Missing {
        /// Which one.
        interface: String,
    },
    /// The interface is down, and the kernel too old to join a fanout group then.
    #[error("{interface} is down; bring it up (`ip link set {interface} up`)")]
    Down {
        /// Which one.
        interface: String,
    },
    /// Its frames have no Ethernet header.
    #[error(
        "{interface} does not carry Ethernet frames (a tunnel, for example); the relay cannot \
         receive from it"
    )]
    NotEthernet {
        /// Which one.
        interface: String,
    },
    /// The kernel has no packet sockets.
    #[error("this kernel has no packet sockets; load the module af_packet (CONFIG_PACKET)")]
    Unsupported,
    /// The kernel has no memory for the filter or the socket.
    #[error(
        "the kernel has no memory to receive frames from {interface}; raise the sysctl \
             net.core.optmem_max, or lower the receive buffer"
    )]
    NoMemory {
        /// Which one.
        interface: String,
    },
    /// Too many open files.
    #[error("too many open files while opening {interface}; raise the limit (`ulimit -n`)")]
    TooManyFiles {
        /// Which one.
        interface: String,
    },
    /// The fanout group is full.
    #[error("more workers than the kernel lets share {interface}; set fewer `workers`")]
    TooManyWorkers {
        /// Which one.
        interface: String,
    },
    /// The process that opens sockets does not open this one.
    #[error("no packet socket on {interface}: {reason}")]
    Broker {
        /// Which one.
        interface: String,
        /// Why.
        reason: String,
    },
    /// Anything else.
    #[error("frames cannot be received from {interface}: {step} failed")]
    Other {
        /// Which one.
        interface: String,
        /// What was being done.
        step: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

impl PacketError {
    /// What an error of the kernel at one step means.
    pub fn at(interface: &str, step: PacketStep, source: io::Error) -> Self {
        Self::from_io(interface, step.name(), source)
    }

    fn from_io(interface: &str, step: &'static str, source: io::Error) -> Self {
        let interface = interface.to_owned();
        match Cause::of(&source) {
            Cause::Permission => Self::Permission { interface },
            Cause::NoDevice => Self::Missing { interface },
            Cause::Unsupported => Self::Unsupported,
            Cause::NoMemory => Self::NoMemory { interface },
            Cause::TooManyFiles => Self::TooManyFiles { interface },
            _ => match (source.raw_os_error(), step) {
                (Some(libc::ENETDOWN), _) | (Some(libc::EINVAL), FANOUT) => {
                    Self::Down { interface }
                }
                (Some(libc::ENOSPC), FANOUT) => Self::TooManyWorkers { interface },
                _ => Self::Other { interface, step, source },
            },
        }
    }
}

/// Opens `count` packet sockets on an interface, in one fanout group of their own.
///
/// Nothing arrives at any of them before all share the group and have the filter, so that no
/// frame arrives twice, as a fragment, or at a worker that its flow will leave.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub fn open_group(
    interface: &Interface,
    count: usize,
    receive_buffer_bytes: usize,
    filter: &FrameFilter,
) -> Result<PacketGroup, PacketError> {
    if !interface.ethernet {
        return Err(PacketError::NotEthernet { interface: interface.name.clone() });
    }
    let sockets = open_silent(interface, count, receive_buffer_bytes)
        .map_err(|(step, source)| PacketError::at(&interface.name, step, source))?;
    adopt_group(interface, sockets, receive_buffer_bytes, filter)
}

/// Opens the sockets of a group, which receive nothing yet. This is what needs privileges.
///
/// # Errors
/// The kernel's error, and the step that failed.
pub fn open_silent(
    interface: &Interface,
    count: usize,
    receive_buffer_bytes: usize,
) -> Result<Vec<OwnedFd>, (PacketStep, io::Error)> {
    let fail = |step| move |source| (step, source);
    let mut sockets = Vec::with_capacity(count);
    let mut fanout = None;
    for _ in 0..count {
        let socket = open(receive_buffer_bytes).map_err(fail(PacketStep::Open))?;
        bind(&socket, interface.index).map_err(fail(PacketStep::Bind))?;
        fanout = Some(join(&socket, fanout).map_err(fail(PacketStep::Fanout))?);
        sockets.push(socket.into());
    }
    Ok(sockets)
}

/// Makes a group of sockets that receive already, with all that waits in them: those of a process
/// before this one. Their buffers get the size that is wanted, where that is permitted.
///
/// # Errors
/// As for [`adopt_group`]. The sockets are closed then.
pub fn adopt_receiving(
    interface: &Interface,
    sockets: Vec<OwnedFd>,
    receive_buffer_bytes: usize,
    filter: &FrameFilter,
) -> Result<PacketGroup, PacketError> {
    for socket in &sockets {
        resize_receive_buffer(socket, receive_buffer_bytes)
            .map_err(|error| PacketError::at(&interface.name, PacketStep::Open, error))?;
    }
    adopt_group(interface, sockets, receive_buffer_bytes, filter)
}

/// Makes a group of what [`open_silent`] opened, here or in another process, and lets frames in.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub fn adopt_group(
    interface: &Interface,
    sockets: Vec<OwnedFd>,
    receive_buffer_bytes: usize,
    filter: &FrameFilter,
) -> Result<PacketGroup, PacketError> {
    if !interface.ethernet {
        return Err(PacketError::NotEthernet { interface: interface.name.clone() });
    }
    let mut group =
        PacketGroup { sockets: Vec::with_capacity(sockets.len()), receive_buffer_short: None };
    for socket in sockets {
        let socket = Socket::from(socket);
        let short = receive_buffer_short(&socket, receive_buffer_bytes)
            .map_err(|error| PacketError::at(&interface.name, PacketStep::Open, error))?;
        group.receive_buffer_short = least(group.receive_buffer_short, short);
        let (interface_index, drops, handed_over) =
            (interface.index, Arc::default(), AtomicBool::new(false));
        group.sockets.push(PacketSocket { socket, interface_index, drops, handed_over });
    }
    for socket in &group.sockets {
        let attached = socket.replace_filter(filter);
        attached.map_err(|error| PacketError::at(&interface.name, PacketStep::Filter, error))?;
    }
    Ok(group)
}

/// What is done for a packet socket, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PacketStep {
    /// The socket itself and its options.
    Open,
    /// Binding it to its interface.
    Bind,
    /// Joining the fanout group.
    Fanout,
    /// Attaching the filter.
    Filter,
}

impl PacketStep {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "opening a packet socket",
            Self::Bind => "binding to the interface",
            Self::Fanout => FANOUT,
            Self::Filter => "attaching a filter",
        }
    }
}

/// A socket that receives nothing yet: it has no protocol, and a filter that passes nothing.
fn open(receive_buffer_bytes: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA] {
        set_option(&socket, libc::SOL_PACKET, option, &1)?;
    }
    ask_receive_buffer(&socket, receive_buffer_bytes)?;
    FrameFilter::nothing().attach(&socket)?;
    Ok(socket)
}

fn bind(socket: &Socket, interface_index: u32) -> io::Result<()> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a `sockaddr_ll` is shorter than the storage and made of integers, for which all
    // zeros are valid.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface_index as i32;
    // SAFETY: the storage holds the `sockaddr_ll` written above, of this length.
    let address =
        unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
    socket.bind(&address)
}

/// Joins a fanout group, or founds one under a number that the kernel chooses, and returns its
/// number. A group of one is of use too: it defragments.
fn join(socket: &Socket, group: Option<u16>) -> io::Result<u16> {
    let (number, mode) = match group {
        Some(number) => (number, FANOUT_MODE),
        None => (0, FANOUT_MODE | libc::PACKET_FANOUT_FLAG_UNIQUEID),
    };
    let argument = u32::from(number) | mode << 16;
    set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &argument)?;
    let [joined] = get_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
    Ok(joined as u16)
}

impl PacketSocket {
    /// Replaces the filter in one step. Frames that wait in the receive buffer passed the old one.
    ///
    /// # Errors
    /// When the kernel refuses even the coarsest program; the old one then stays.
    pub fn replace_filter(&self, filter: &FrameFilter) -> io::Result<()> {
        filter.attach(&self.socket)
    }

    /// Frames that the filter passed and the kernel dropped, because the receive buffer was full,
    /// since the socket was opened (packet(7), `PACKET_STATISTICS`); over all sockets that count
    /// in the same place, where there are several.
    pub fn kernel_drops(&self) -> u64 {
        self.count_drops();
        self.drops.load(Ordering::Relaxed)
    }

    /// Counts what the kernel drops in `total`, beside others that do. What it drops until the
    /// socket closes is in there afterwards.
    pub fn counting_drops_in(mut self, total: &Arc<AtomicU64>) -> Self {
        self.drops = Arc::clone(total);
        self
    }

    /// Counts a last time: from now on another process does, which has the socket, too.
    pub fn leave_to_successor(&self) {
        self.count_drops();
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Adds what the kernel dropped since this was called last.
    pub fn count_drops(&self) {
        if self.handed_over.load(Ordering::Relaxed) {
            return;
        }
        // Reading resets, in one step: whoever reads adds what it got.
        let read = get_option(self, libc::SOL_PACKET, libc::PACKET_STATISTICS);
        if let Ok([_packets, drops]) = read {
            self.drops.fetch_add(u64::from(drops), Ordering::Relaxed);
        }
    }

    /// Whether the kernel says when each frame came in ([`PacketAuxData::received_ns`]).
    ///
    /// # Errors
    /// When the kernel refuses.
    ///
    /// [`PacketAuxData::received_ns`]: crate::sys::address::PacketAuxData::received_ns
    pub fn stamp_arrivals(&self, wanted: bool) -> io::Result<()> {
        set_option(self, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &i32::from(wanted))
    }

    /// The index of the interface that it is bound to.
    pub fn interface_index(&self) -> u32 {
        self.interface_index
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        self.count_drops();
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether the running kernel can hand over UDP super-packets with the size of their segments:
/// 6.2 or later. Earlier ones fail such a receive with EINVAL, and the frame is lost.
pub fn supports_udp_segmentation() -> bool {
    nix::sys::utsname::uname().is_ok_and(|name| is_new_enough(&name.release().to_string_lossy()))
}

/// What to run on a kernel that does not, so that no super-packets form on `interface`.
pub fn segmentation_advice(interface: &str) -> String {
    format!("ethtool -K {interface} gro off rx-udp-gro-forwarding off rx-gro-list off")
}

fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= (6, 2)
}

/// How a group spreads frames: by flow, with fragments put together. What this host sends is left
/// out for the group as a whole: in a group the kernel does not look at the PACKET_IGNORE_OUTGOING
/// of its members.
pub(super) const FANOUT_MODE: u32 = libc::PACKET_FANOUT_HASH
    | libc::PACKET_FANOUT_FLAG_DEFRAG
    | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;

/// The step whose errors mean something of their own.
const FANOUT: &str = "joining the fanout group";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.2.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0-rc1", true),
            ("6.1.0-13-amd64", false),
            ("5.15.0", false),
            ("", false),
            ("6", false),
        ] {
            assert_eq!(is_new_enough(release), expected, "{release:?}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = |step, errno| {
            PacketError::from_io("veth0", step, io::Error::from_raw_os_error(errno)).to_string()
        };
        assert!(text("opening", libc::EPERM).contains("CAP_NET_RAW"));
        assert!(text("binding", libc::ENODEV).contains("no interface veth0"));
        assert!(text("filter", libc::ENOMEM).contains("net.core.optmem_max"));
        assert!(text(FANOUT, libc::EINVAL).contains("ip link set veth0 up"));
        assert!(text(FANOUT, libc::ENOSPC).contains("workers"));
        assert!(text("opening", libc::EIO).contains("opening failed"));
    }
}
