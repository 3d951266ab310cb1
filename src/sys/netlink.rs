//! The routing netlink socket (rtnetlink(7)): requests, and the parts of its messages that are
//! used.
//!
//! Only headers and a handful of attributes are looked at, so that an attribute of a newer kernel
//! is skipped, not stumbled over.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NlasIterator,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// An interface is there, or something about it changed.
    Link(LinkNews),
    /// An interface is gone.
    LinkGone { index: u32 },
    /// An address can be used, or no longer.
    Address { index: u32, address: IpAddr, usable: bool },
    /// The dump is complete.
    Done,
    /// The dump is torn: something changed while it was made.
    Torn,
    /// The kernel refuses the request, with this error number.
    Refused(i32),
}

/// What a message says of an interface; what it leaves out has not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkNews {
    pub(super) index: u32,
    pub(super) name: Option<String>,
    pub(super) mtu: Option<u32>,
    pub(super) up: bool,
    pub(super) ethernet: bool,
}

/// A socket to the kernel's routing tables.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: OwnedFd,
    buffer: Box<[u8; DATAGRAM_BYTES_MAX]>,
}

impl RouteSocket {
    /// Opens a socket that hears of changes in `groups`, which may be none.
    pub(super) fn open(groups: i32, flags: SockFlag) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        Ok(Self { socket, buffer: Box::new([0; DATAGRAM_BYTES_MAX]) })
    }

    /// Takes the next datagram and hands on what its messages say, in order.
    pub(super) fn receive(&mut self, take: impl FnMut(News)) -> io::Result<()> {
        let length = recv(self.socket.as_raw_fd(), &mut self.buffer[..], MsgFlags::MSG_TRUNC)?;
        let datagram = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        read_messages(datagram, take).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Asks for everything of a kind, `RTM_GETLINK` or `RTM_GETADDR`, and hands it on.
    ///
    /// # Errors
    /// `Interrupted` when something changed in between: ask again.
    pub(super) fn dump(&mut self, kind: u16, mut take: impl FnMut(News)) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &dump_request(kind), MsgFlags::empty())?;
        let mut end = None;
        let mut torn = false;
        while end.is_none() {
            self.receive(|news| match news {
                News::Done => end = Some(Ok(())),
                News::Refused(errno) => end = Some(Err(io::Error::from_raw_os_error(errno))),
                News::Torn => torn = true,
                news => take(news),
            })?;
        }
        match end {
            Some(Err(error)) => Err(error),
            _ if torn => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(()),
        }
    }
}

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An `nlmsghdr` and an empty `ifinfomsg`, whose first byte, the family, `ifaddrmsg` shares.
fn dump_request(kind: u16) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    let mut header = NetlinkBuffer::new(&mut request[..]);
    header.set_length(REQUEST_BYTES as u32);
    header.set_message_type(kind);
    header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    request
}

/// Hands on what the messages in `datagram` say; `None` when it is not well-formed.
fn read_messages(datagram: &[u8], mut take: impl FnMut(News)) -> Option<()> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        if message.flags() & NLM_F_DUMP_INTR != 0 {
            take(News::Torn);
        }
        let payload = message.payload();
        let news = match message.message_type() {
            NLMSG_DONE => Some(News::Done),
            NLMSG_ERROR => Some(News::Refused(-i32::from_ne_bytes(*payload.first_chunk()?))),
            libc::RTM_NEWLINK => read_link(payload)?,
            libc::RTM_DELLINK => {
                read_link_header(payload)?.map(|link| News::LinkGone { index: link.index })
            }
            libc::RTM_NEWADDR => read_address(payload, true)?,
            libc::RTM_DELADDR => read_address(payload, false)?,
            _ => None,
        };
        news.map(&mut take);
        rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(())
}

/// Reads an `ifinfomsg`. The inner `None` is for messages about something else: a bridge speaks
/// of its ports, and of their leaving, in the same words with another family.
fn read_link_header(payload: &[u8]) -> Option<Option<LinkNews>> {
    let header: &[u8; LINK_HEADER_BYTES] = payload.first_chunk()?;
    let family = i32::from(header[0]);
    let kind = u16::from_ne_bytes(*header[2..].first_chunk()?);
    let index = u32::from_ne_bytes(*header[4..].first_chunk()?);
    let flags = u32::from_ne_bytes(*header[8..].first_chunk()?);
    let link = LinkNews {
        index,
        up: flags & LINK_UP == LINK_UP,
        ethernet: [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&kind),
        ..LinkNews::default()
    };
    Some((family == libc::AF_UNSPEC).then_some(link))
}

fn read_link(payload: &[u8]) -> Option<Option<News>> {
    let Some(mut link) = read_link_header(payload)? else { return Some(None) };
    for attribute in NlasIterator::new(&payload[LINK_HEADER_BYTES..]) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                let name = attribute.value().strip_suffix(&[0]).unwrap_or(attribute.value());
                link.name = Some(String::from_utf8_lossy(name).into_owned());
            }
            libc::IFLA_MTU => {
                link.mtu = Some(u32::from_ne_bytes(*attribute.value().first_chunk()?))
            }
            _ => {}
        }
    }
    Some(Some(News::Link(link)))
}

/// Reads an `ifaddrmsg`. A point-to-point interface has its own address beside the peer's.
fn read_address(payload: &[u8], present: bool) -> Option<Option<News>> {
    let header: &[u8; ADDRESS_HEADER_BYTES] = payload.first_chunk()?;
    let index = u32::from_ne_bytes(*header[4..].first_chunk()?);
    let mut flags = u32::from(header[2]);
    let (mut local, mut either) = (None, None);
    for attribute in NlasIterator::new(&payload[ADDRESS_HEADER_BYTES..]) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            libc::IFA_LOCAL => local = read_ip(attribute.value()),
            libc::IFA_ADDRESS => either = read_ip(attribute.value()),
            libc::IFA_FLAGS => flags = u32::from_ne_bytes(*attribute.value().first_chunk()?),
            _ => {}
        }
    }
    let pending = flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC);
    let unusable = pending == libc::IFA_F_TENTATIVE || flags & libc::IFA_F_DADFAILED != 0;
    let news = |address| News::Address { index, address, usable: present && !unusable };
    Some(local.or(either).map(news))
}

fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6)
}

/// The kernel's dumps come in datagrams of up to 32 KiB, its news in shorter ones.
const DATAGRAM_BYTES_MAX: usize = 65_536;

const LINK_HEADER_BYTES: usize = size_of::<libc::ifinfomsg>();
const ADDRESS_HEADER_BYTES: usize = size_of::<libc::ifaddrmsg>();
const REQUEST_BYTES: usize = 16 + LINK_HEADER_BYTES;

/// Administratively up, and operating. With a carrier alone (`IFF_LOWER_UP`) an interface may
/// still drop what is sent, until the kernel has started its queues.
const LINK_UP: u32 = (libc::IFF_UP | libc::IFF_RUNNING) as u32;

#[cfg(test)]
mod tests {
    use super::*;

    /// `RTM_NEWLINK` for `veth0`, index 5, up and running, MTU 9000, and an attribute of
    /// a kind that does not exist.
    const NEW_LINK: [u8; 60] = [
        60, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
        0, 0, 1, 0, 5, 0, 0, 0, 0x43, 0x10, 0x01, 0, 0, 0, 0, 0, // ifinfomsg
        10, 0, 3, 0, b'v', b'e', b't', b'h', b'0', 0, 0, 0, // IFLA_IFNAME
        8, 0, 4, 0, 0x28, 0x23, 0, 0, // IFLA_MTU
        5, 0, 0xff, 0x3f, 1, 0, 0, 0, // unknown
    ];

    /// `RTM_NEWADDR` for index 5: 10.0.0.1, the peer 10.0.0.2.
    const NEW_ADDRESS: [u8; 40] = [
        40, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
        2, 32, 0, 0, 5, 0, 0, 0, // ifaddrmsg
        8, 0, 1, 0, 10, 0, 0, 2, // IFA_ADDRESS
        8, 0, 2, 0, 10, 0, 0, 1, // IFA_LOCAL
    ];

    fn read(datagram: &[u8]) -> Option<Vec<News>> {
        let mut all = Vec::new();
        read_messages(datagram, |news| all.push(news)).map(|()| all)
    }

    fn with(message: &[u8], at: usize, byte: u8) -> Vec<u8> {
        let mut message = message.to_vec();
        message[at] = byte;
        message
    }

    #[test]
    fn several_messages_are_read_from_one_datagram() {
        let datagram = [&NEW_LINK[..], &NEW_ADDRESS].concat();
        let link = LinkNews {
            index: 5,
            name: Some("veth0".to_owned()),
            mtu: Some(9000),
            up: true,
            ethernet: true,
        };
        let address = "10.0.0.1".parse().unwrap();
        let expected = vec![News::Link(link), News::Address { index: 5, address, usable: true }];
        assert_eq!(read(&datagram), Some(expected));
    }

    #[test]
    fn a_bridge_that_loses_a_port_is_not_a_lost_interface() {
        let gone = with(&NEW_LINK, 4, 17);
        assert_eq!(read(&gone), Some(vec![News::LinkGone { index: 5 }]));
        assert_eq!(read(&with(&gone, 16, 7)), Some(vec![]));
        assert_eq!(read(&with(&NEW_LINK, 16, 7)), Some(vec![]));
    }

    #[test]
    fn what_does_not_run_or_is_still_probed_is_not_usable() {
        let down = read(&with(&NEW_LINK, 24, 0x03)).unwrap();
        assert!(matches!(down[..], [News::Link(LinkNews { up: false, .. })]), "{down:?}");
        let tentative = read(&with(&NEW_ADDRESS, 18, 0x40)).unwrap();
        assert!(matches!(tentative[..], [News::Address { usable: false, .. }]), "{tentative:?}");
        let removed = read(&with(&NEW_ADDRESS, 4, 21)).unwrap();
        assert!(matches!(removed[..], [News::Address { usable: false, .. }]), "{removed:?}");
    }

    #[test]
    fn a_refusal_carries_its_error_number() {
        let refused = [
            36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // nlmsgerr
        ];
        assert_eq!(read(&refused), Some(vec![News::Refused(libc::EPERM)]));
    }

    #[test]
    fn cut_messages_are_not_well_formed() {
        for message in [&NEW_LINK[..], &NEW_ADDRESS] {
            for length in 1..message.len() {
                assert_eq!(read(&message[..length]), None, "{length} bytes");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0usize..60, byte in 0u8..=255, more in 0usize..60, other in 0u8..)
        {
            let mut message = with(&NEW_LINK, at, byte);
            message[more] = other;
            let _ = read(&message);
            let mut message = with(&NEW_ADDRESS, at % 40, byte);
            message[more % 40] = other;
            let _ = read(&message);
        }
    }
}
