//! Socket addresses and packet information as the kernel lays them out, read and written as
//! plain bytes (ip(7), ipv6(7), cmsg(3)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::handler::Local;

/// Room for any address that [`read_address`] and [`write_address`] know: `sockaddr_in6`.
pub const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// Room for the control messages of one datagram, packet information being the longest.
pub const CONTROL_BYTES: usize = 64;

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
pub fn read_local(control: &[u8]) -> Option<Local> {
    let mut rest = control;
    // A buffer of CONTROL_BYTES holds at most four headers; the bound keeps this loop finite.
    for _ in 0..CONTROL_BYTES / CMSG_HEADER_BYTES {
        let length = usize::from_ne_bytes(array(rest, 0)?);
        let level = i32::from_ne_bytes(array(rest, 8)?);
        let kind = i32::from_ne_bytes(array(rest, 12)?);
        let data = rest.get(CMSG_HEADER_BYTES..length)?;
        if level == libc::IPPROTO_IP && kind == libc::IP_PKTINFO {
            let interface = u32::from_ne_bytes(array(data, 0)?);
            let address = Ipv4Addr::from(array::<4>(data, 4)?);
            return Some(Local { address: IpAddr::V4(address), interface });
        }
        if level == libc::IPPROTO_IPV6 && kind == libc::IPV6_PKTINFO {
            let address = Ipv6Addr::from(array::<16>(data, 0)?);
            let interface = u32::from_ne_bytes(array(data, 16)?);
            return Some(Local { address: IpAddr::V6(address), interface });
        }
        rest = rest.get(length.next_multiple_of(CMSG_ALIGN)..)?;
    }
    None
}

/// Writes the control message that makes a reply leave from `local`, and returns its length.
///
/// Routing chooses the interface, except for link-local addresses, which mean nothing without.
pub fn write_local(local: Local, out: &mut [u8; CONTROL_BYTES]) -> usize {
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

/// Writes the control message that cuts a send into datagrams of `segment_bytes` (udp(7)).
pub fn write_segment_size(segment_bytes: u16, out: &mut [u8; CONTROL_BYTES]) -> usize {
    let length = CMSG_HEADER_BYTES + size_of::<u16>();
    out[0..8].copy_from_slice(&length.to_ne_bytes());
    out[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    out[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    out[16..18].copy_from_slice(&segment_bytes.to_ne_bytes());
    length.next_multiple_of(CMSG_ALIGN)
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
        let segment = write_segment_size(1400, &mut control);
        assert_eq!(segment, 24);
        let mut info = [0u8; CONTROL_BYTES];
        let local = Local { address: "127.0.0.5".parse().unwrap(), interface: 0 };
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
            let local = Local { address: text.parse().unwrap(), interface: 7 };
            let length = write_local(local, &mut raw);
            assert_eq!(read_local(&raw[..length]).unwrap().interface, wanted);
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
