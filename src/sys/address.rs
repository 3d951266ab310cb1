//! Socket addresses and packet information in the kernel's layout, read and written as bytes
//! (ip(7), ipv6(7), cmsg(3)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The local address that a datagram was sent to, learned from `IP_PKTINFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// The address the client asked, and must be answered from.
    pub address: IpAddr,
    /// The interface it came in on; needed to answer IPv6 link-local addresses.
    pub interface: u32,
}

/// The parts of `struct tpacket_auxdata` that matter (packet(7), `PACKET_AUXDATA`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketAuxData {
    /// Whether a VLAN tag was taken off the frame.
    pub vlan: bool,
    /// Whether the checksum is still to be filled in: the packet was made on this host.
    pub checksum_pending: bool,
    /// Whether somebody verified the checksum already.
    pub checksum_valid: bool,
    /// When the kernel received the frame by the wall clock, in nanoseconds since the Unix epoch
    /// (`SO_TIMESTAMPNS`, socket(7)); 0 where it was not asked to say so.
    pub received_ns: u64,
}

/// Room for any address that [`read_address`] and [`write_address`] know: `sockaddr_in6`.
pub const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// Room for the control messages of one datagram: three of 24 bytes are the most that are sent,
/// one of 40 and one of 32 the most that are received.
pub const CONTROL_BYTES: usize = 72;

/// Reads a `sockaddr_in` or `sockaddr_in6`; `None` for other families and short ones.
pub fn read_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(array(bytes, 0)?);
    let port = u16::from_be_bytes(array(bytes, 2)?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(array::<4>(bytes, 4)?);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(array(bytes, 4)?);
            let ip = Ipv6Addr::from(array::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(array(bytes, 24)?);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
        }
        _ => None,
    }
}

/// Writes `address` as a `sockaddr_in` or `sockaddr_in6` and returns its length.
pub fn write_address(address: SocketAddr, out: &mut [u8; ADDRESS_BYTES]) -> usize {
    match address {
        SocketAddr::V4(v4) => {
            out[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[2..4].copy_from_slice(&v4.port().to_be_bytes());
            out[4..8].copy_from_slice(&v4.ip().octets());
            out[8..16].fill(0);
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            out[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out[2..4].copy_from_slice(&v6.port().to_be_bytes());
            // A reply carries no flow label of the request's.
            out[4..8].fill(0);
            out[8..24].copy_from_slice(&v6.ip().octets());
            out[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            size_of::<libc::sockaddr_in6>()
        }
    }
}

/// Finds the local address of a datagram in its control messages (`IP_PKTINFO` or
/// `IPV6_PKTINFO`).
///
/// For IPv4 it is `ipi_spec_dst`, the address to answer from; it equals the destination unless
/// that was a broadcast or multicast address.
pub fn read_local(control: &[u8]) -> Option<PacketInfo> {
    messages(control).find_map(|(level, kind, data)| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let interface = u32::from_ne_bytes(array(data, 0)?);
            let address = Ipv4Addr::from(array::<4>(data, 4)?);
            Some(PacketInfo { address: IpAddr::V4(address), interface })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let address = Ipv6Addr::from(array::<16>(data, 0)?);
            let interface = u32::from_ne_bytes(array(data, 16)?);
            Some(PacketInfo { address: IpAddr::V6(address), interface })
        }
        _ => None,
    })
}

/// Finds what a packet socket says of a frame (`PACKET_AUXDATA`), and when it came in.
pub fn read_auxiliary(control: &[u8]) -> Option<PacketAuxData> {
    let (mut found, mut received_ns) = (None, 0);
    for (level, kind, data) in messages(control) {
        match (level, kind) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                let status = u32::from_ne_bytes(array(data, 0)?);
                found = Some(PacketAuxData {
                    vlan: status & libc::TP_STATUS_VLAN_VALID != 0,
                    checksum_pending: status & libc::TP_STATUS_CSUMNOTREADY != 0,
                    checksum_valid: status & libc::TP_STATUS_CSUM_VALID != 0,
                    received_ns: 0,
                });
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let seconds = u64::from_ne_bytes(array(data, 0)?);
                let nanoseconds = u64::from_ne_bytes(array(data, 8)?);
                received_ns = seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds);
            }
            _ => {}
        }
    }
    found.map(|auxiliary| PacketAuxData { received_ns, ..auxiliary })
}

/// Whether a `sockaddr_ll` says that this host sent the frame itself.
pub fn is_outgoing(address: &[u8]) -> bool {
    matches!(address.get(10), Some(&(libc::PACKET_OUTGOING | libc::PACKET_LOOPBACK)))
}

/// Addresses of link-local scope mean nothing without their interface.
pub(super) fn with_scope(address: SocketAddr, interface_index: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if is_link_scoped(*v6.ip()) => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, interface_index).into()
        }
        other => other,
    }
}

fn is_link_scoped(address: Ipv6Addr) -> bool {
    let multicast_scope = address.octets()[1] & 0x0f;
    address.is_unicast_link_local() || address.is_multicast() && multicast_scope <= 2
}

/// The control messages in `control`: level, type, data.
fn messages(control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    let mut rest = control;
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(array(rest, 0)?);
        let level = i32::from_ne_bytes(array(rest, 8)?);
        let kind = i32::from_ne_bytes(array(rest, 12)?);
        // Data from the header's end on: a length shorter than the header ends the iteration, so
        // that each step consumes something.
        let data = rest.get(CMSG_HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(CMSG_ALIGN)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// Writes the control message that makes a reply leave from `local`, and returns its length.
///
/// Routing chooses the interface, except for link-local addresses, which mean nothing without.
pub fn write_local(local: PacketInfo, out: &mut [u8; CONTROL_BYTES]) -> usize {
    let (level, kind, data_bytes) = match local.address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, 12),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20),
    };
    let length = CMSG_HEADER_BYTES + data_bytes;
    out[0..8].copy_from_slice(&length.to_ne_bytes());
    out[8..12].copy_from_slice(&level.to_ne_bytes());
    out[12..16].copy_from_slice(&kind.to_ne_bytes());
    match local.address {
        IpAddr::V4(address) => {
            out[16..20].fill(0);
            out[20..24].copy_from_slice(&address.octets());
            out[24..28].fill(0);
        }
        IpAddr::V6(address) => {
            let interface = if address.is_unicast_link_local() { local.interface } else { 0 };
            out[16..32].copy_from_slice(&address.octets());
            out[32..36].copy_from_slice(&interface.to_ne_bytes());
        }
    }
    length.next_multiple_of(CMSG_ALIGN)
}

/// What a send asks the kernel beside its bytes and its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Cut the bytes into datagrams of this size, the last one possibly shorter (udp(7),
    /// `UDP_SEGMENT`). Without, they are one datagram.
    pub segment_bytes: Option<u16>,
    /// The TTL (ip(7), `IP_TTL`) or hop limit (ipv6(7), `IPV6_HOPLIMIT`), where it is not the
    /// socket's own.
    pub ttl: Option<u8>,
    /// The type of service (`IP_TOS`) or traffic class (`IPV6_TCLASS`), where it is not the
    /// socket's own.
    pub tos: Option<u8>,
}

/// Writes the control messages for `options` and returns their length. IPv4 and IPv6 sockets each
/// take their own kind and refuse the other.
pub fn write_send_options(
    options: SendOptions,
    ipv6: bool,
    out: &mut [u8; CONTROL_BYTES],
) -> usize {
    let mut end = 0;
    if let Some(size) = options.segment_bytes {
        end = write_message(out, end, libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }
    let (level, ttl_kind, tos_kind) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, libc::IPV6_TCLASS)
    } else {
        (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS)
    };
    for (kind, value) in [(ttl_kind, options.ttl), (tos_kind, options.tos)] {
        if let Some(value) = value {
            end = write_message(out, end, level, kind, &i32::from(value).to_ne_bytes());
        }
    }
    end
}

/// Writes one control message of at most 8 bytes of data at `start` and returns where it ends.
fn write_message(
    out: &mut [u8; CONTROL_BYTES],
    start: usize,
    level: i32,
    kind: i32,
    data: &[u8],
) -> usize {
    let length = CMSG_HEADER_BYTES + data.len();
    let message = &mut out[start..start + length.next_multiple_of(CMSG_ALIGN)];
    message[0..8].copy_from_slice(&length.to_ne_bytes());
    message[8..12].copy_from_slice(&level.to_ne_bytes());
    message[12..16].copy_from_slice(&kind.to_ne_bytes());
    message[16..].fill(0);
    message[16..length].copy_from_slice(data);
    start + message.len()
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

const CMSG_ALIGN: usize = size_of::<usize>();
const CMSG_HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

// The offsets above are those of 64-bit Linux, the only platform this program is for.
const _: () = assert!(CMSG_HEADER_BYTES == 16 && CMSG_ALIGN == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["192.0.2.7:6969", "[2001:db8::7]:1", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = [0xaa; ADDRESS_BYTES];
            let length = write_address(address, &mut raw);
            assert_eq!(read_address(&raw[..length]), Some(address), "{text}");
            assert_eq!(read_address(&raw[..length - 9]), None, "{text} cut short");
        }
        assert_eq!(read_address(&[]), None);
        assert_eq!(read_address(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn packet_information_is_found_behind_other_messages() {
        let mut control = [0u8; CONTROL_BYTES];
        let options = SendOptions { segment_bytes: Some(1400), ..SendOptions::default() };
        let segment = write_send_options(options, false, &mut control);
        assert_eq!(segment, 24);
        let mut info = [0u8; CONTROL_BYTES];
        let local = PacketInfo { address: "127.0.0.5".parse().unwrap(), interface: 0 };
        let length = write_local(local, &mut info);
        assert_eq!(length, 32);
        control[segment..segment + length].copy_from_slice(&info[..length]);
        assert_eq!(read_local(&control[..segment + length]), Some(local));
        assert_eq!(read_local(&control[..segment]), None);
    }

    #[test]
    fn link_local_replies_name_their_interface_and_others_do_not() {
        for (text, wanted) in [("fe80::5", 7), ("2001:db8::5", 0)] {
            let mut raw = [0u8; CONTROL_BYTES];
            let local = PacketInfo { address: text.parse().unwrap(), interface: 7 };
            let length = write_local(local, &mut raw);
            assert_eq!(read_local(&raw[..length]).unwrap().interface, wanted);
        }
    }

    #[test]
    fn send_options_are_messages_of_their_family() {
        let options = SendOptions { segment_bytes: Some(64), ttl: Some(7), tos: Some(0x88) };
        for (ipv6, level, kinds) in [
            (false, libc::IPPROTO_IP, [libc::IP_TTL, libc::IP_TOS]),
            (true, libc::IPPROTO_IPV6, [libc::IPV6_HOPLIMIT, libc::IPV6_TCLASS]),
        ] {
            let mut control = [0xff; CONTROL_BYTES];
            let length = write_send_options(options, ipv6, &mut control);
            assert_eq!(length, 72);
            let read: Vec<_> = messages(&control[..length]).collect();
            assert_eq!(read[0], (libc::SOL_UDP, libc::UDP_SEGMENT, &[64, 0][..]));
            assert_eq!(read[1], (level, kinds[0], &[7, 0, 0, 0][..]));
            assert_eq!(read[2], (level, kinds[1], &[0x88, 0, 0, 0][..]));
        }
    }

    #[test]
    fn auxiliary_data_is_read_by_its_bits() {
        let mut control = [0u8; 40];
        control[0..8].copy_from_slice(&36usize.to_ne_bytes());
        control[8..12].copy_from_slice(&libc::SOL_PACKET.to_ne_bytes());
        control[12..16].copy_from_slice(&libc::PACKET_AUXDATA.to_ne_bytes());
        assert_eq!(read_auxiliary(&control), Some(PacketAuxData::default()));
        control[16] = 1 << 4 | 1 << 3;
        let tagged =
            PacketAuxData { vlan: true, checksum_pending: true, ..PacketAuxData::default() };
        assert_eq!(read_auxiliary(&control), Some(tagged));
        let mut stamped = [0u8; CONTROL_BYTES];
        stamped[0..8].copy_from_slice(&32usize.to_ne_bytes());
        stamped[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        stamped[12..16].copy_from_slice(&libc::SCM_TIMESTAMPNS.to_ne_bytes());
        stamped[16..24].copy_from_slice(&1_700_000_000_u64.to_ne_bytes());
        stamped[24..32].copy_from_slice(&5_u64.to_ne_bytes());
        stamped[32..].copy_from_slice(&control);
        let received_ns = 1_700_000_000_000_000_005;
        assert_eq!(read_auxiliary(&stamped), Some(PacketAuxData { received_ns, ..tagged }));
        assert_eq!(read_auxiliary(&stamped[..32]), None);
        assert_eq!(read_auxiliary(&[]), None);
    }

    #[test]
    fn link_scope_is_told_by_the_address() {
        for (text, expected) in
            [("fe80::1", true), ("ff02::1", true), ("ff15::1", false), ("2001:db8::2", false)]
        {
            assert_eq!(is_link_scoped(text.parse().unwrap()), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_control_bytes_panic(bytes in proptest::collection::vec(0u8..=255, 0..80)) {
            let _ = read_local(&bytes);
            let _ = read_address(&bytes);
        }
    }
}
