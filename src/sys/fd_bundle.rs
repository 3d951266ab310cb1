//! Sockets that one process hands over to another, each with their purpose, and checks that they
//! are what they are meant to be (socket(7), packet(7)).
//!
//! A message has sockets of one purpose:
//!
//! ```text
//!  0  u32 BE   kind: 0 the end, 1 listening, 2 packets, 3 memberships
//!  4  u32 BE   number of sockets in this message
//!  8  u32 BE   packets: the interface's index; 0 otherwise
//! 12  16 bytes packets: the interface's name, filled up with zeros; zeros otherwise
//! ```
//!
//! Sockets that do not fit into one message follow in others of the same kind, index and name.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use socket2::{Domain, SockRef, Socket, Type};

use super::fd_passing::{DESCRIPTORS_MAX, receive_descriptors, send_descriptors};
use super::interface::Interface;
use super::options::get_option;
use super::packet_socket::FANOUT_MODE;

/// The purpose of sockets that are handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They receive requests: those of all listen addresses for one worker, then for the next.
    Listening,
    /// They receive the frames of an interface, one for each worker, in the order of the workers.
    Packets {
        /// The interface's name.
        interface: String,
        /// Its index.
        index: u32,
    },
    /// They hold group memberships, and receive nothing.
    Memberships,
}

/// Sockets for one purpose: borrowed where they come from, owned where they arrive.
#[derive(Debug)]
pub struct FdBundle<S> {
    /// Their purpose.
    pub purpose: Purpose,
    /// The sockets, in order.
    pub sockets: Vec<S>,
}

/// Sends all sockets, then the message that ends them.
///
/// # Errors
/// The system's; `InvalidInput` when an interface's name is too long.
pub fn send_bundles<S: AsFd>(stream: &UnixStream, bundles: &[FdBundle<S>]) -> io::Result<()> {
    for FdBundle { purpose, sockets } in bundles {
        for batch in sockets.chunks(DESCRIPTORS_MAX) {
            let descriptors: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
            send_descriptors(stream, &head(Some(purpose), batch.len())?, &descriptors)?;
        }
    }
    send_descriptors(stream, &head(None, 0)?, &[])
}

/// Receives what [`send_bundles`] sends.
///
/// # Errors
/// The system's; `UnexpectedEof` when the stream ends early, `InvalidData` for anything but such
/// messages.
pub fn receive_bundles(stream: &UnixStream) -> io::Result<Vec<FdBundle<OwnedFd>>> {
    let mut bundles = Vec::new();
    for _ in 0..MESSAGES_MAX {
        let mut head = [0; HEAD_BYTES];
        let (length, sockets) = receive_descriptors(stream, &mut head)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (purpose, count) = read_head(&head).ok_or(io::ErrorKind::InvalidData)?;
        if length != HEAD_BYTES || count != sockets.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match purpose {
            Some(purpose) => bundles.push(FdBundle { purpose, sockets }),
            None => return Ok(bundles),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The bytes of a message; without a purpose, of the last one.
fn head(purpose: Option<&Purpose>, count: usize) -> io::Result<[u8; HEAD_BYTES]> {
    let (kind, index, name) = match purpose {
        None => (END, 0, ""),
        Some(Purpose::Listening) => (LISTENING, 0, ""),
        Some(Purpose::Packets { interface, index }) => (PACKETS, *index, interface.as_str()),
        Some(Purpose::Memberships) => (MEMBERSHIPS, 0, ""),
    };
    if name.len() >= NAME_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut head = [0; HEAD_BYTES];
    for (field, value) in head.as_chunks_mut::<4>().0.iter_mut().zip([kind, count as u32, index]) {
        *field = value.to_be_bytes();
    }
    head[NAME_AT..][..name.len()].copy_from_slice(name.as_bytes());
    Ok(head)
}

/// Parses a message: the purpose of its sockets, unless it is the last message, and their number.
fn read_head(head: &[u8; HEAD_BYTES]) -> Option<(Option<Purpose>, usize)> {
    let words = head.as_chunks::<4>().0;
    let [kind, count, index] = [0, 1, 2].map(|at| u32::from_be_bytes(words[at]));
    let name = std::str::from_utf8(&head[NAME_AT..]).ok()?.trim_end_matches('\0');
    let purpose = match (kind, index, name) {
        (END, 0, "") if count == 0 => None,
        (LISTENING, 0, "") => Some(Purpose::Listening),
        (PACKETS, 1.., name) if !name.is_empty() => {
            Some(Purpose::Packets { interface: name.to_owned(), index })
        }
        (MEMBERSHIPS, 0, "") => Some(Purpose::Memberships),
        _ => return None,
    };
    Some((purpose, count as usize))
}

/// The sockets that another process handed over, until they are taken. Those that are left are
/// closed with this value, and their memberships end.
#[derive(Debug, Default)]
pub struct Inherited(Vec<FdBundle<OwnedFd>>);

/// Why packet sockets of another process cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The other process had another number of workers.
    #[error("there are {sockets} for {workers} workers")]
    Workers {
        /// How many were handed over.
        sockets: usize,
        /// How many there must be.
        workers: usize,
    },
    /// The interface was recreated.
    #[error("they are of an interface that is gone")]
    Gone,
    /// One of them differs from what it must be.
    #[error("one of them {0}")]
    Strange(&'static str),
    /// The kernel does not report enough.
    #[error("one of them cannot be looked at: {0}")]
    Unknown(#[from] io::Error),
}

impl Inherited {
    /// Joins the sockets of `bundles` that have the same purpose.
    pub fn new(bundles: impl IntoIterator<Item = FdBundle<OwnedFd>>) -> Self {
        let mut all: Vec<FdBundle<OwnedFd>> = Vec::new();
        for bundle in bundles {
            match all.iter_mut().find(|earlier| earlier.purpose == bundle.purpose) {
                Some(earlier) => earlier.sockets.extend(bundle.sockets),
                None => all.push(bundle),
            }
        }
        Self(all)
    }

    /// Takes the sockets that receive requests.
    pub fn take_listening(&mut self) -> Vec<OwnedFd> {
        let is_listening = |bundle: &FdBundle<_>| bundle.purpose == Purpose::Listening;
        let at = self.0.iter().position(is_listening);
        at.map_or_else(Vec::new, |at| self.0.swap_remove(at).sockets)
    }

    /// Takes the packet sockets of an interface, if there are any.
    ///
    /// # Errors
    /// Why they cannot be used by `workers` workers on this interface. They stay here then, so that
    /// nothing is closed before others are open.
    pub fn take_packets(
        &mut self,
        interface: &Interface,
        workers: usize,
    ) -> Result<Option<Vec<OwnedFd>>, Unfit> {
        let named = |bundle: &FdBundle<_>| match &bundle.purpose {
            Purpose::Packets { interface: name, .. } => *name == interface.name,
            _ => false,
        };
        let Some(at) = self.0.iter().position(named) else { return Ok(None) };
        let FdBundle { purpose, sockets } = &self.0[at];
        match purpose {
            Purpose::Packets { index, .. } if *index == interface.index => {}
            _ => return Err(Unfit::Gone),
        }
        if sockets.len() != workers {
            return Err(Unfit::Workers { sockets: sockets.len(), workers });
        }
        check_group(sockets, interface.index)?;
        Ok(Some(self.0.swap_remove(at).sockets))
    }
}

/// Checks that these are packet sockets of one fanout group on this interface, in this process's
/// network namespace, as [`open_silent`](crate::sys::packet_socket::open_silent) opens them.
fn check_group(sockets: &[OwnedFd], interface_index: u32) -> Result<(), Unfit> {
    let here = namespace_of(&Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None)?)?;
    let mut group = None;
    for socket in sockets {
        let [domain] = get_option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        let [kind] = get_option(socket, libc::SOL_SOCKET, libc::SO_TYPE)?;
        if (domain, kind) != (libc::AF_PACKET as u32, libc::SOCK_RAW as u32) {
            return Err(Unfit::Strange("is no packet socket"));
        }
        if namespace_of(socket)? != here {
            return Err(Unfit::Strange("is of another network namespace"));
        }
        let expected = (interface_index as i32, (libc::ETH_P_ALL as u16).to_be());
        if bound_to(socket)? != expected {
            return Err(Unfit::Strange("is not bound to the interface"));
        }
        for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA] {
            if get_option(socket, libc::SOL_PACKET, option)? != [1] {
                return Err(Unfit::Strange("does not report enough about frames"));
            }
        }
        let [fanout] = get_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
        if fanout >> 16 != FANOUT_MODE || *group.get_or_insert(fanout) != fanout {
            return Err(Unfit::Strange("is in no fanout group with the others"));
        }
    }
    Ok(())
}

/// The interface's index and the protocol that a packet socket is bound to.
fn bound_to(socket: &OwnedFd) -> io::Result<(i32, u16)> {
    let mut storage = SockRef::from(socket).local_addr()?.as_storage();
    // SAFETY: a `sockaddr_ll` is shorter than the storage and made of integers, for which any bytes
    // are valid.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    Ok((address.sll_ifindex, address.sll_protocol))
}

/// The identity of a socket's network namespace (`SO_NETNS_COOKIE`).
fn namespace_of(socket: &impl AsRawFd) -> io::Result<[u32; 2]> {
    get_option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE)
}

const END: u32 = 0;
const LISTENING: u32 = 1;
const PACKETS: u32 = 2;
const MEMBERSHIPS: u32 = 3;

const HEAD_BYTES: usize = 28;
const NAME_AT: usize = 12;
/// The longest name of an interface with a zero at its end (netdevice(7), `IFNAMSIZ`).
const NAME_BYTES: usize = HEAD_BYTES - NAME_AT;

/// More than any number of workers and interfaces needs.
const MESSAGES_MAX: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::UdpSocket;

    use super::*;

    fn packets(interface: &str, index: u32) -> Purpose {
        Purpose::Packets { interface: interface.to_owned(), index }
    }

    fn sockets(count: usize) -> Vec<UdpSocket> {
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect()
    }

    #[test]
    fn golden_heads() {
        let golden = |words: [u8; 12], name: &[u8; 16]| [&words[..], name].concat();
        let nameless = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        for (purpose, count, expected) in [
            (None, 0, golden([0; 12], nameless)),
            (Some(Purpose::Listening), 4, golden([0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0], nameless)),
            (
                Some(packets("eth0", 0x0102)),
                250,
                golden([0, 0, 0, 2, 0, 0, 0, 250, 0, 0, 1, 2], b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ),
            (
                Some(packets("fifteen-letters", 7)),
                1,
                golden([0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7], b"fifteen-letters\0"),
            ),
            (Some(Purpose::Memberships), 1, golden([0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0], nameless)),
        ] {
            assert_eq!(head(purpose.as_ref(), count).unwrap()[..], expected[..]);
            assert_eq!(read_head(expected[..].try_into().unwrap()), Some((purpose, count)));
        }
        assert!(head(Some(&packets("sixteen--letters", 7)), 1).is_err());
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let at = |changes: &[(usize, u8)]| {
            let mut head = head(Some(&packets("eth0", 7)), 1).unwrap();
            changes.iter().for_each(|(place, byte)| head[*place] = *byte);
            read_head(&head)
        };
        assert!(at(&[]).is_some());
        for changes in [
            &[(3, 4)][..],                         // no such kind
            &[(0, 1)],                             // nor this
            &[(3, 1)],                             // listening on an interface
            &[(11, 0)],                            // an interface without an index
            &[(12, 0), (13, 0), (14, 0), (15, 0)], // one without a name
            &[(13, 0xff)],                         // one with no UTF-8
            &[(3, 0), (11, 0)],                    // an end with sockets and a name
        ] {
            assert_eq!(at(changes), None, "{changes:?}");
        }
    }

    #[test]
    fn many_sockets_arrive_each_with_its_purpose() {
        let given = [
            FdBundle { purpose: Purpose::Listening, sockets: sockets(600) },
            FdBundle { purpose: packets("a", 3), sockets: sockets(2) },
            FdBundle { purpose: packets("b", 4), sockets: Vec::new() },
            FdBundle { purpose: Purpose::Memberships, sockets: sockets(1) },
        ];
        let (old, new) = UnixStream::pair().unwrap();
        send_bundles(&old, &given).unwrap();
        let received = receive_bundles(&new).unwrap();
        let purposes: Vec<_> = received.iter().map(|bundle| bundle.purpose.clone()).collect();
        let listening = Purpose::Listening;
        assert_eq!(
            purposes,
            [&listening, &listening, &listening, &packets("a", 3), &Purpose::Memberships]
                .map(Clone::clone)
        );
        let address = |socket: UdpSocket| socket.local_addr().unwrap();
        let arrived = received.into_iter().flat_map(|bundle| bundle.sockets);
        let arrived = arrived.map(|socket| address(socket.into()));
        assert!(arrived.eq(given.into_iter().flat_map(|bundle| bundle.sockets).map(address)));
    }

    #[test]
    fn cut_streams_are_noticed() {
        let (mut old, new) = UnixStream::pair().unwrap();
        let one = sockets(1);
        // Fewer than it says.
        let two = head(Some(&Purpose::Listening), 2).unwrap();
        send_descriptors(&old, &two, &[one[0].as_fd()]).unwrap();
        assert_eq!(receive_bundles(&new).unwrap_err().kind(), io::ErrorKind::InvalidData);
        old.write_all(&[0; 5]).unwrap();
        assert_eq!(receive_bundles(&new).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(old);
        assert_eq!(receive_bundles(&new).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
