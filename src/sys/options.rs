//! Socket options that the safe libraries have no call for, and the buffers of any socket
//! (socket(7)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// A UDP socket of the family of `address`, which never blocks and is closed on exec.
pub(super) fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))
}

/// Values made of integers alone, in the kernel's layout: nothing in them points anywhere.
pub(super) trait Plain: Copy {}

impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for libc::ip_mreqn {}
impl Plain for libc::group_req {}
impl Plain for libc::group_source_req {}

/// Sets one option from a value laid out as the kernel wants it.
pub(super) fn set_option<T: Plain>(
    socket: &impl AsRawFd,
    level: i32,
    name: i32,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; pointer and length
    // describe one live T, which the kernel only reads and which points to nothing else.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads one option that is a row of `N` 32-bit figures; those the kernel lacks stay 0.
pub(super) fn get_option<const N: usize>(
    socket: &impl AsRawFd,
    level: i32,
    name: i32,
) -> io::Result<[u32; N]> {
    let mut figures = [0u32; N];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; pointer and length describe
    // `figures`, which the kernel fills at most to that length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut figures).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(figures) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the kernel dropped because the receive buffer was full, since the socket was
/// opened. Zero when the kernel does not say.
pub(super) fn kernel_drops(socket: &impl AsRawFd) -> u64 {
    get_option::<MEMINFO_FIGURES>(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)
        .map_or(0, |figures| u64::from(figures[MEMINFO_DROPS]))
}

/// Lets the kernel and routers fragment what does not fit, whatever path MTU is reported
/// (ip(7), `IP_MTU_DISCOVER`; ipv6(7), `IPV6_MTU_DISCOVER`).
pub(super) fn fragment_freely(socket: &Socket, ipv6: bool) -> io::Result<()> {
    let (level, name) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    };
    set_option(socket, level, name, &libc::IP_PMTUDISC_OMIT)
}

/// Sets the receive buffer, past the sysctl limit where permitted. Returns what was granted, in
/// bytes, when that is less than was wanted.
pub(super) fn ask_receive_buffer(socket: &Socket, wanted: usize) -> io::Result<Option<usize>> {
    if setsockopt(socket, sockopt::RcvBufForce, &wanted).is_err() {
        socket.set_recv_buffer_size(wanted)?;
    }
    receive_buffer_short(socket, wanted)
}

/// Sets the receive buffer of a socket that another process opened, where it has another size.
/// Without the right to go past the sysctl limit it stays as it is: asking for it as others do
/// could take away what was granted before.
pub(super) fn resize_receive_buffer(socket: &impl AsFd, wanted: usize) -> io::Result<()> {
    if SockRef::from(socket).recv_buffer_size()? / 2 != wanted {
        let _ = setsockopt(socket, sockopt::RcvBufForce, &wanted);
    }
    Ok(())
}

/// What was granted of a receive buffer, in bytes, when that is less than was wanted.
pub(super) fn receive_buffer_short(socket: &Socket, wanted: usize) -> io::Result<Option<usize>> {
    Ok(short(socket.recv_buffer_size()?, wanted))
}

/// As [`ask_receive_buffer`], for the send buffer.
pub(super) fn ask_send_buffer(socket: &Socket, wanted: usize) -> io::Result<Option<usize>> {
    if setsockopt(socket, sockopt::SndBufForce, &wanted).is_err() {
        socket.set_send_buffer_size(wanted)?;
    }
    send_buffer_short(socket, wanted)
}

/// As [`receive_buffer_short`], for the send buffer.
pub(super) fn send_buffer_short(socket: &Socket, wanted: usize) -> io::Result<Option<usize>> {
    Ok(short(socket.send_buffer_size()?, wanted))
}

/// The lesser of two figures that are there only when a buffer is short.
pub(super) fn least(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// The kernel doubles what it grants, for its own bookkeeping.
fn short(doubled: usize, wanted: usize) -> Option<usize> {
    Some(doubled / 2).filter(|granted| *granted < wanted)
}

/// `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS` of linux/sock_diag.h.
const MEMINFO_FIGURES: usize = 9;
const MEMINFO_DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
