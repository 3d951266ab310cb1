//! IPv6 and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use super::bytes::{read, read_u16};
use super::udp::PROTOCOL_UDP;
use crate::relay::stats::RelayDrop;

/// The header's length without extension headers.
pub const IPV6_HEADER_BYTES: usize = 40;

/// The most extension headers that are walked; more make a packet malformed. RFC 8504, 5.3
/// permits such a limit: senders have no use for more than one of each.
pub const IPV6_EXTENSIONS_MAX: usize = 8;

/// Byte ranges from the start of the header.
mod field {
    use std::ops::Range;

    /// u4: version; u8: traffic class, across the first two bytes.
    pub(crate) const VERSION_AND_CLASS: Range<usize> = 0..2;
    /// u16: everything behind this header, extension headers included.
    pub(crate) const PAYLOAD_LENGTH: Range<usize> = 4..6;
    /// u8: what comes next, an extension header or a protocol.
    pub(crate) const NEXT_HEADER: usize = 6;
    /// u8.
    pub(crate) const HOP_LIMIT: usize = 7;
    /// Both addresses.
    pub(crate) const ADDRESSES: Range<usize> = 8..40;
    /// Where it comes from.
    pub(crate) const SOURCE: Range<usize> = 8..24;
    /// Where it goes.
    pub(crate) const DESTINATION: Range<usize> = 24..40;
}

/// Bytes of an extension header, from its start.
mod extension_field {
    use std::ops::Range;

    /// u8: what comes next.
    pub(crate) const NEXT_HEADER: usize = 0;
    /// u8: the length in units of eight bytes, the first eight not counted.
    pub(crate) const LENGTH: usize = 1;
    /// u13: offset; u2: reserved; u1: more fragments. Of the fragment header.
    pub(crate) const FRAGMENT: Range<usize> = 2..4;
    /// u32: what the fragments of a packet have in common. Of the fragment header.
    pub(crate) const IDENTIFICATION: Range<usize> = 4..8;
}

/// Numbers of the next-header field.
mod next {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
}

/// The offset in bytes, and the "more fragments" flag, of the fragment header's field.
const OFFSET_MASK: u16 = 0xfff8;
const MORE_MASK: u16 = 0x0001;

/// The unit of extension headers, and the least that one takes.
const EXTENSION_BYTES: usize = 8;

/// A view of the header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Header<'a> {
    bytes: &'a [u8; IPV6_HEADER_BYTES],
}

impl<'a> Ipv6Header<'a> {
    /// Parts the header from the payload, which starts with the extension headers; padding
    /// behind it is left out.
    ///
    /// A super-packet may have a payload length of 0, as a larger one would not fit the field:
    /// its payload then goes on to the end of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Malformed`] when the version is not 6, or the header or the packet is longer
    /// than `bytes`.
    #[inline]
    pub fn split(bytes: &'a [u8], super_packet: bool) -> Result<(Self, &'a [u8]), RelayDrop> {
        let (bytes, rest): (&[u8; IPV6_HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(RelayDrop::Malformed)?;
        let header = Self { bytes };
        if header.version_and_class() >> 12 != 6 {
            return Err(RelayDrop::Malformed);
        }
        let payload_bytes = match usize::from(read_u16(bytes, field::PAYLOAD_LENGTH)) {
            0 if super_packet => rest.len(),
            payload_bytes => payload_bytes,
        };
        Ok((header, rest.get(..payload_bytes).ok_or(RelayDrop::Malformed)?))
    }

    /// Looks for the UDP header behind the extension headers in `payload`, and returns how many
    /// bytes these take.
    ///
    /// Options and routes are skipped, not followed. A fragment header that marks no fragment
    /// (RFC 6946) is skipped as well.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::NotUdp`] for another protocol, [`RelayDrop::Fragment`] for a piece of a
    /// packet, [`RelayDrop::Malformed`] when an extension header is cut short or there are more
    /// than [`IPV6_EXTENSIONS_MAX`].
    #[inline]
    pub fn extension_bytes(&self, payload: &[u8]) -> Result<usize, RelayDrop> {
        match self.bytes[field::NEXT_HEADER] {
            PROTOCOL_UDP => Ok(0),
            first => udp_behind(first, payload),
        }
    }

    /// The first header in `payload` that makes the packet a fragment, and how many bytes it and
    /// what stands before it take.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Fragment`] when there is none, and otherwise as for
    /// [`Self::extension_bytes`].
    pub(crate) fn fragment(&self, payload: &[u8]) -> Result<(FragmentHeader, usize), RelayDrop> {
        match walk(self.bytes[field::NEXT_HEADER], payload)? {
            Walked::Fragment(header, taken) => Ok((header, taken)),
            Walked::Udp(_) => Err(RelayDrop::Fragment),
        }
    }

    /// Code point and congestion notification.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.version_and_class() >> 4) as u8
    }

    /// How many more routers it may pass.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.bytes[field::HOP_LIMIT]
    }

    /// Source and destination as they stand.
    #[inline]
    pub fn addresses(&self) -> [u8; 32] {
        read(self.bytes, field::ADDRESSES)
    }

    /// Where it comes from.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(read::<16>(self.bytes, field::SOURCE))
    }

    /// Where it goes.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(read::<16>(self.bytes, field::DESTINATION))
    }

    #[inline]
    fn version_and_class(&self) -> u16 {
        read_u16(self.bytes, field::VERSION_AND_CLASS)
    }
}

/// A fragment header (RFC 8200, 4.5) of a packet that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FragmentHeader {
    /// What the cut part of the packet starts with: an extension header or a protocol.
    pub(crate) next_header: u8,
    /// Where this fragment's bytes belong in it; a multiple of eight.
    pub(crate) offset: usize,
    /// Whether others follow.
    pub(crate) more: bool,
    /// What all fragments of the packet have in common.
    pub(crate) identification: u32,
}

/// Where a walk over extension headers ended.
enum Walked {
    /// At a UDP header, so many bytes on.
    Udp(usize),
    /// Behind the header of a fragment, so many bytes on.
    Fragment(FragmentHeader, usize),
}

/// Looks for the UDP header behind the extension headers in `payload`, of which `first` is the
/// first, as [`Ipv6Header::extension_bytes`] does.
#[cold]
pub(crate) fn udp_behind(first: u8, payload: &[u8]) -> Result<usize, RelayDrop> {
    match walk(first, payload)? {
        Walked::Udp(taken) => Ok(taken),
        Walked::Fragment(..) => Err(RelayDrop::Fragment),
    }
}

fn walk(first: u8, payload: &[u8]) -> Result<Walked, RelayDrop> {
    let mut next = first;
    let mut taken = 0;
    for _ in 0..IPV6_EXTENSIONS_MAX {
        if !is_extension(next) {
            break;
        }
        let rest = payload.get(taken..).unwrap_or_default();
        let extension: &[u8; EXTENSION_BYTES] = rest.first_chunk().ok_or(RelayDrop::Malformed)?;
        taken += EXTENSION_BYTES;
        let next_header = extension[extension_field::NEXT_HEADER];
        if next == next::FRAGMENT {
            let place = read_u16(extension, extension_field::FRAGMENT);
            let (offset, more) = (usize::from(place & OFFSET_MASK), place & MORE_MASK != 0);
            if offset > 0 || more {
                let identification = read(extension, extension_field::IDENTIFICATION);
                let identification = u32::from_be_bytes(identification);
                let header = FragmentHeader { next_header, offset, more, identification };
                return Ok(Walked::Fragment(header, taken));
            }
        } else {
            taken += usize::from(extension[extension_field::LENGTH]) * EXTENSION_BYTES;
        }
        next = next_header;
    }
    match next {
        PROTOCOL_UDP if taken <= payload.len() => Ok(Walked::Udp(taken)),
        PROTOCOL_UDP => Err(RelayDrop::Malformed),
        next if is_extension(next) => Err(RelayDrop::Malformed),
        _ => Err(RelayDrop::NotUdp),
    }
}

fn is_extension(next: u8) -> bool {
    use next::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fd00::1 to ff15::1, traffic class 0xb9, hop limit 7.
    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6b, 0x91, 0x23, 0x45, 0x00, payload.len() as u8, next, 0x07];
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn walk_over(next: u8, payload: &[u8]) -> Result<usize, RelayDrop> {
        let bytes = packet(next, payload);
        let (header, payload) = Ipv6Header::split(&bytes, false).unwrap();
        header.extension_bytes(payload)
    }

    #[test]
    fn golden_header() {
        let mut bytes = packet(17, b"tide");
        bytes.extend(b"padding");
        let (header, payload) = Ipv6Header::split(&bytes, false).unwrap();
        assert_eq!(payload, b"tide");
        assert_eq!((header.traffic_class(), header.hop_limit()), (0xb9, 7));
        assert_eq!(header.source(), "fd00::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.destination(), "ff15::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.addresses(), bytes[8..40]);
        assert_eq!(header.extension_bytes(payload), Ok(0));
    }

    #[test]
    fn golden_extension_headers() {
        // Hop-by-hop with a router alert, a routing header of 24 bytes, destination options.
        let mut payload = vec![43, 0, 5, 2, 0, 0, 1, 0];
        payload.extend([60, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(walk_over(0, &payload), Ok(40));
        payload.extend([0xaa; 8]);
        assert_eq!(walk_over(0, &payload), Ok(40));
        for length in 0..40 {
            assert_eq!(walk_over(0, &payload[..length]), Err(RelayDrop::Malformed), "{length}");
        }
    }

    #[test]
    fn golden_fragments() {
        let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(walk_over(44, &atomic), Ok(8));
        let reserved = [17, 0xff, 0, 6, 0, 0, 0, 9];
        assert_eq!(walk_over(44, &reserved), Ok(8), "reserved bits are ignored, not a length");
        assert_eq!(walk_over(44, &[17, 0, 0, 1, 0, 0, 0, 9]), Err(RelayDrop::Fragment), "first");
        assert_eq!(walk_over(44, &[17, 0, 5, 0xa9, 0, 0, 0, 9]), Err(RelayDrop::Fragment));
        assert_eq!(walk_over(44, &[17, 0, 0, 8, 0, 0, 0, 9]), Err(RelayDrop::Fragment), "last");
        assert_eq!(walk_over(44, &atomic[..7]), Err(RelayDrop::Malformed));
        assert_eq!(walk_over(60, &[&[44, 0, 1, 4, 0, 0, 0, 0], &atomic[..]].concat()), Ok(16));
    }

    #[test]
    fn golden_fragment_headers() {
        let of = |next: u8, payload: &[u8]| {
            let bytes = packet(next, payload);
            let (header, payload) = Ipv6Header::split(&bytes, false).unwrap();
            header.fragment(payload)
        };
        let header = |offset, more| FragmentHeader {
            next_header: 17,
            offset,
            more,
            identification: 0xaabb_ccdd,
        };
        let first = [17, 0, 0, 1, 0xaa, 0xbb, 0xcc, 0xdd];
        assert_eq!(of(44, &first), Ok((header(0, true), 8)));
        assert_eq!(of(44, &[17, 9, 5, 0xaf, 0xaa, 0xbb, 0xcc, 0xdd]), Ok((header(1448, true), 8)));
        let last = [17, 0, 0xff, 0xf8, 0xaa, 0xbb, 0xcc, 0xdd];
        assert_eq!(of(44, &last), Ok((header(65_528, false), 8)));
        let options = [44, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(of(0, &[&options[..], &first].concat()), Ok((header(0, true), 16)));
        assert_eq!(of(44, &[17, 0, 0, 0, 0, 0, 0, 9]), Err(RelayDrop::Fragment), "atomic");
        assert_eq!(of(44, &first[..7]), Err(RelayDrop::Malformed));
        assert_eq!(of(6, &first), Err(RelayDrop::NotUdp));
    }

    #[test]
    fn other_protocols() {
        for next in [6, 58, 59, 50, 51, 135, 255] {
            assert_eq!(walk_over(next, &[]), Err(RelayDrop::NotUdp), "{next}");
            assert_eq!(walk_over(0, &[next, 0, 1, 4, 0, 0, 0, 0]), Err(RelayDrop::NotUdp));
        }
    }

    #[test]
    fn the_walk_is_bounded() {
        let mut payload = [60, 0, 1, 4, 0, 0, 0, 0].repeat(IPV6_EXTENSIONS_MAX);
        payload[IPV6_EXTENSIONS_MAX * 8 - 8] = 17;
        assert_eq!(walk_over(60, &payload), Ok(64));
        payload[IPV6_EXTENSIONS_MAX * 8 - 8] = 60;
        payload.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(walk_over(60, &payload), Err(RelayDrop::Malformed));
    }

    #[test]
    fn lengths_that_contradict_each_other() {
        let bytes = packet(17, b"tide");
        for length in 0..bytes.len() {
            let split = Ipv6Header::split(&bytes[..length], false);
            assert!(matches!(split, Err(RelayDrop::Malformed)), "{length}");
        }
        let mut wrong = bytes.clone();
        wrong[0] = 0x4b;
        assert!(matches!(Ipv6Header::split(&wrong, false), Err(RelayDrop::Malformed)));
    }

    #[test]
    fn a_super_packet_may_leave_its_length_open() {
        let mut bytes = packet(17, b"tide");
        bytes[5] = 0;
        assert_eq!(Ipv6Header::split(&bytes, false).unwrap().1, b"");
        assert_eq!(Ipv6Header::split(&bytes, true).unwrap().1, b"tide");
        bytes[5] = 5;
        assert!(matches!(Ipv6Header::split(&bytes, true), Err(RelayDrop::Malformed)));
    }
}
