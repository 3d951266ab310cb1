//! IPv6 and its extension headers (RFC 8200).

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;

use super::bytes::{read, read_u16};

/// The header's length without extension headers.
pub const HEADER_BYTES: usize = 40;

/// The length of a fragment header.
pub const FRAGMENT_HEADER_BYTES: usize = 8;

/// The most extension headers that are walked; a packet with more is an error. RFC 8504, 5.3
/// permits such a limit: senders have no use for more than one of each.
pub const EXTENSIONS_MAX: usize = 8;

/// u4: version; u8: traffic class; u20: flow label.
const VERSION_CLASS_LABEL: Range<usize> = 0..4;
/// u16: everything behind this header, extension headers included.
const PAYLOAD_LENGTH: Range<usize> = 4..6;
/// u8: what comes next, an extension header or a protocol.
const NEXT_HEADER: usize = 6;
/// u8.
const HOP_LIMIT: usize = 7;
/// The sender.
const SOURCE: Range<usize> = 8..24;
/// The receiver or group.
const DESTINATION: Range<usize> = 24..40;

/// The flow label.
const FLOW_LABEL: u32 = 0x000f_ffff;

/// Byte ranges from the start of an extension header.
mod extension {
    use std::ops::Range;

    /// u8: what comes next.
    pub(super) const NEXT_HEADER: usize = 0;
    /// u8: the length in units of eight bytes, the first eight not counted.
    pub(super) const LENGTH: usize = 1;
    /// u13: offset; u2: reserved; u1: more fragments. Of the fragment header.
    pub(super) const FRAGMENT: Range<usize> = 2..4;
    /// u32: what the fragments of a packet have in common. Of the fragment header.
    pub(super) const IDENTIFICATION: Range<usize> = 4..8;

    /// The unit of extension headers, and the least that one takes.
    pub(super) const UNIT_BYTES: usize = 8;
}

/// Numbers of the next-header field that stand for extension headers.
pub mod next {
    /// Options for every router on the way.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routers to visit.
    pub const ROUTING: u8 = 43;
    /// One piece of a packet.
    pub const FRAGMENT: u8 = 44;
    /// Options for the receiver.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The offset in bytes, in the fragment header's field.
const OFFSET: u16 = 0xfff8;
/// The "more fragments" flag, there too.
const MORE_FRAGMENTS: u16 = 0x0001;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Code point and congestion notification.
    pub traffic_class: u8,
    /// The flow label, 20 bits.
    pub flow_label: u32,
    /// The length of everything behind this header. A super-packet may have 0.
    pub payload_bytes: u16,
    /// What comes next: an extension header or a protocol.
    pub next_header: u8,
    /// How many more routers it may pass.
    pub hop_limit: u8,
    /// The sender.
    pub source: Ipv6Addr,
    /// The receiver or group.
    pub destination: Ipv6Addr,
}

/// A fragment header (RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// What the cut part of the packet starts with: an extension header or a protocol.
    pub next_header: u8,
    /// Where this fragment's bytes belong in it; a multiple of eight.
    pub offset: u16,
    /// Whether others follow.
    pub more: bool,
    /// What all fragments of the packet have in common.
    pub identification: u32,
}

/// Where a walk over extension headers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// At the header of a protocol, this many bytes on. The last extension header may claim to
    /// reach past the payload: whoever reads on has to check.
    Upper {
        /// The number of the protocol.
        protocol: u8,
        /// The bytes that the extension headers take.
        offset: usize,
    },
    /// Behind the header that makes the packet a fragment, this many bytes on.
    Fragment {
        /// That header.
        header: FragmentHeader,
        /// The bytes that it and the extension headers before it take.
        offset: usize,
    },
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are fewer than [`HEADER_BYTES`].
    #[error("the IPv6 header is cut short")]
    Truncated,
    /// The version is not 6.
    #[error("the version is {0}, not 6")]
    Version(u8),
    /// The payload is longer than the bytes.
    #[error("the payload is longer than the packet")]
    PayloadLength,
    /// An extension header does not fit the payload.
    #[error("an extension header is cut short")]
    ExtensionTruncated,
    /// There are more than [`EXTENSIONS_MAX`].
    #[error("there are more than {EXTENSIONS_MAX} extension headers")]
    TooManyExtensions,
}

impl Header {
    /// Reads the header, and returns it with the payload, which starts with the extension headers;
    /// padding behind it is left out.
    ///
    /// A super-packet may have a payload length of 0, as a larger one would not fit the field:
    /// its payload then goes on to the end of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::Version`] or [`Error::PayloadLength`].
    #[inline]
    pub fn parse(bytes: &[u8], super_packet: bool) -> Result<(Self, &[u8]), Error> {
        let (bytes, rest): (&[u8; HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let first = u32::from_be_bytes(read(bytes, VERSION_CLASS_LABEL));
        if first >> 28 != 6 {
            return Err(Error::Version((first >> 28) as u8));
        }
        let payload_bytes = read_u16(bytes, PAYLOAD_LENGTH);
        let length = match usize::from(payload_bytes) {
            0 if super_packet => rest.len(),
            length => length,
        };
        let payload = rest.get(..length).ok_or(Error::PayloadLength)?;
        let header = Self {
            traffic_class: (first >> 20) as u8,
            flow_label: first & FLOW_LABEL,
            payload_bytes,
            next_header: bytes[NEXT_HEADER],
            hop_limit: bytes[HOP_LIMIT],
            source: Ipv6Addr::from(read::<16>(bytes, SOURCE)),
            destination: Ipv6Addr::from(read::<16>(bytes, DESTINATION)),
        };
        Ok((header, payload))
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; HEADER_BYTES]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & FLOW_LABEL;
        out[VERSION_CLASS_LABEL].copy_from_slice(&first.to_be_bytes());
        out[PAYLOAD_LENGTH].copy_from_slice(&self.payload_bytes.to_be_bytes());
        out[NEXT_HEADER] = self.next_header;
        out[HOP_LIMIT] = self.hop_limit;
        out[SOURCE].copy_from_slice(&self.source.octets());
        out[DESTINATION].copy_from_slice(&self.destination.octets());
    }

    /// Source and destination as they stand in the header.
    #[inline]
    pub fn addresses(&self) -> [u8; 32] {
        let mut addresses = [0; 32];
        addresses[..16].copy_from_slice(&self.source.octets());
        addresses[16..].copy_from_slice(&self.destination.octets());
        addresses
    }
}

impl FragmentHeader {
    /// Reads a fragment header, and returns it with what is behind it. Reserved bits are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::ExtensionTruncated`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (bytes, rest): (&[u8; FRAGMENT_HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(Error::ExtensionTruncated)?;
        let place = read_u16(bytes, extension::FRAGMENT);
        let header = Self {
            next_header: bytes[extension::NEXT_HEADER],
            offset: place & OFFSET,
            more: place & MORE_FRAGMENTS != 0,
            identification: u32::from_be_bytes(read(bytes, extension::IDENTIFICATION)),
        };
        Ok((header, rest))
    }

    /// Writes the fragment header.
    pub fn emit(&self, out: &mut [u8; FRAGMENT_HEADER_BYTES]) {
        let place = self.offset & OFFSET | u16::from(self.more);
        out[extension::NEXT_HEADER] = self.next_header;
        out[extension::LENGTH] = 0;
        out[extension::FRAGMENT].copy_from_slice(&place.to_be_bytes());
        out[extension::IDENTIFICATION].copy_from_slice(&self.identification.to_be_bytes());
    }

    /// Whether the packet is one piece of several; if not, the header means nothing (RFC 6946).
    pub fn is_fragment(&self) -> bool {
        self.offset > 0 || self.more
    }
}

/// Walks over the extension headers that `payload` starts with, of which `first` is the first.
///
/// Options and routes are skipped, not followed. A fragment header that marks no fragment
/// (RFC 6946) is skipped as well.
///
/// # Errors
///
/// [`Error::ExtensionTruncated`] or [`Error::TooManyExtensions`].
pub fn walk(first: u8, payload: &[u8]) -> Result<Walked, Error> {
    let mut next = first;
    let mut offset = 0;
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(next) {
            break;
        }
        let rest = payload.get(offset..).unwrap_or_default();
        let bytes: &[u8; extension::UNIT_BYTES] =
            rest.first_chunk().ok_or(Error::ExtensionTruncated)?;
        offset += extension::UNIT_BYTES;
        if next == next::FRAGMENT {
            let (header, _) = FragmentHeader::parse(bytes)?;
            if header.is_fragment() {
                return Ok(Walked::Fragment { header, offset });
            }
        } else {
            offset += usize::from(bytes[extension::LENGTH]) * extension::UNIT_BYTES;
        }
        next = bytes[extension::NEXT_HEADER];
    }
    match next {
        next if is_extension(next) => Err(Error::TooManyExtensions),
        protocol => Ok(Walked::Upper { protocol, offset }),
    }
}

fn is_extension(next: u8) -> bool {
    use next::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, next_header, hop_limit, payload_bytes, .. } = self;
        write!(f, "IPv6 {source} to {destination}, next header {next_header}, ")?;
        write!(f, "hop limit {hop_limit}, {payload_bytes} bytes of payload")
    }
}

impl fmt::Display for FragmentHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { next_header, offset, more, identification } = self;
        let more = if *more { ", more follow" } else { "" };
        write!(f, "fragment of {identification:#010x} at {offset}{more}, ")?;
        write!(f, "next header {next_header}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UDP: u8 = 17;

    /// fd00::1 to ff15::1, traffic class 0xb9, hop limit 7.
    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6b, 0x91, 0x23, 0x45, 0x00, payload.len() as u8, next, 0x07];
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn walk_over(next: u8, payload: &[u8]) -> Result<Walked, Error> {
        let bytes = packet(next, payload);
        let (header, payload) = Header::parse(&bytes, false).unwrap();
        walk(header.next_header, payload)
    }

    fn udp(offset: usize) -> Result<Walked, Error> {
        Ok(Walked::Upper { protocol: UDP, offset })
    }

    #[test]
    fn golden_header() {
        let mut bytes = packet(UDP, b"tide");
        bytes.extend(b"padding");
        let (header, payload) = Header::parse(&bytes, false).unwrap();
        assert_eq!(payload, b"tide");
        let expected = Header {
            traffic_class: 0xb9,
            flow_label: 0x12345,
            payload_bytes: 4,
            next_header: UDP,
            hop_limit: 7,
            source: "fd00::1".parse().unwrap(),
            destination: "ff15::1".parse().unwrap(),
        };
        assert_eq!(header, expected);
        assert_eq!(header.addresses(), bytes[8..40]);
        let mut out = [0xee; HEADER_BYTES];
        header.emit(&mut out);
        assert_eq!(out, bytes[..HEADER_BYTES]);
        assert_eq!(
            header.to_string(),
            "IPv6 fd00::1 to ff15::1, next header 17, hop limit 7, 4 bytes of payload"
        );
        assert_eq!(walk(header.next_header, payload), udp(0));
    }

    #[test]
    fn golden_extension_headers() {
        // Hop-by-hop with a router alert, a routing header of 24 bytes, destination options.
        let mut payload = vec![43, 0, 5, 2, 0, 0, 1, 0];
        payload.extend([60, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(walk_over(0, &payload), udp(40));
        payload.extend([0xaa; 8]);
        assert_eq!(walk_over(0, &payload), udp(40));
        for length in 0..40 {
            let walked = walk_over(0, &payload[..length]);
            assert_eq!(walked, Err(Error::ExtensionTruncated), "{length}");
        }
        // The last one's length is for whoever reads what is behind it.
        assert_eq!(walk_over(60, &[17, 3, 1, 4, 0, 0, 0, 0]), udp(32));
    }

    #[test]
    fn golden_fragments() {
        let header = |offset, more| FragmentHeader {
            next_header: UDP,
            offset,
            more,
            identification: 0xaabb_ccdd,
        };
        let first = [17, 0, 0, 1, 0xaa, 0xbb, 0xcc, 0xdd];
        let fragment = |header, offset| Ok(Walked::Fragment { header, offset });
        assert_eq!(walk_over(44, &first), fragment(header(0, true), 8));
        let middle = [17, 9, 5, 0xaf, 0xaa, 0xbb, 0xcc, 0xdd];
        assert_eq!(walk_over(44, &middle), fragment(header(1448, true), 8));
        let last = [17, 0, 0xff, 0xf8, 0xaa, 0xbb, 0xcc, 0xdd];
        assert_eq!(walk_over(44, &last), fragment(header(65_528, false), 8));
        let options = [44, 0, 1, 4, 0, 0, 0, 0];
        let behind = [&options[..], &first].concat();
        assert_eq!(walk_over(0, &behind), fragment(header(0, true), 16));
        assert_eq!(walk_over(44, &first[..7]), Err(Error::ExtensionTruncated));
        let mut out = [0xee; FRAGMENT_HEADER_BYTES];
        header(0, true).emit(&mut out);
        assert_eq!(out, first);
        assert_eq!(
            header(1448, true).to_string(),
            "fragment of 0xaabbccdd at 1448, more follow, next header 17"
        );
    }

    #[test]
    fn golden_atomic_fragments() {
        let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(walk_over(44, &atomic), udp(8));
        let reserved = [17, 0xff, 0, 6, 0, 0, 0, 9];
        assert_eq!(walk_over(44, &reserved), udp(8), "reserved bits are ignored, not a length");
        assert_eq!(walk_over(44, &atomic[..7]), Err(Error::ExtensionTruncated));
        let behind = [&[44, 0, 1, 4, 0, 0, 0, 0], &atomic[..]].concat();
        assert_eq!(walk_over(60, &behind), udp(16));
    }

    #[test]
    fn other_protocols() {
        for protocol in [6, 58, 59, 50, 51, 135, 255] {
            let upper = |offset| Ok(Walked::Upper { protocol, offset });
            assert_eq!(walk_over(protocol, &[]), upper(0));
            assert_eq!(walk_over(0, &[protocol, 0, 1, 4, 0, 0, 0, 0]), upper(8));
        }
    }

    #[test]
    fn the_walk_is_bounded() {
        let mut payload = [60, 0, 1, 4, 0, 0, 0, 0].repeat(EXTENSIONS_MAX);
        payload[EXTENSIONS_MAX * 8 - 8] = 17;
        assert_eq!(walk_over(60, &payload), udp(64));
        payload[EXTENSIONS_MAX * 8 - 8] = 60;
        payload.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(walk_over(60, &payload), Err(Error::TooManyExtensions));
    }

    #[test]
    fn lengths_that_contradict_each_other() {
        let bytes = packet(17, b"tide");
        for length in 0..bytes.len() {
            let error = if length < 40 { Error::Truncated } else { Error::PayloadLength };
            assert_eq!(Header::parse(&bytes[..length], false), Err(error), "{length}");
        }
        let mut wrong = bytes.clone();
        wrong[0] = 0x4b;
        assert_eq!(Header::parse(&wrong, false), Err(Error::Version(4)));
    }

    #[test]
    fn a_super_packet_may_leave_its_length_open() {
        let mut bytes = packet(17, b"tide");
        bytes[5] = 0;
        assert_eq!(Header::parse(&bytes, false).unwrap().1, b"");
        assert_eq!(Header::parse(&bytes, true).unwrap().1, b"tide");
        bytes[5] = 5;
        assert_eq!(Header::parse(&bytes, true), Err(Error::PayloadLength));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (traffic_class, next_header, hop_limit) in any::<(u8, u8, u8)>(),
            flow_label in 0..=FLOW_LABEL,
            (source, destination) in any::<(Ipv6Addr, Ipv6Addr)>(),
            payload in prop::collection::vec(any::<u8>(), 0..50),
            super_packet in any::<bool>(),
        ) {
            let header = Header {
                traffic_class,
                flow_label,
                payload_bytes: if super_packet { 0 } else { payload.len() as u16 },
                next_header,
                hop_limit,
                source,
                destination,
            };
            let mut out = [0; HEADER_BYTES];
            header.emit(&mut out);
            let bytes = [&out[..], &payload].concat();
            prop_assert_eq!(Header::parse(&bytes, super_packet), Ok((header, &payload[..])));
        }

        #[test]
        fn a_written_fragment_header_is_read(
            next_header in any::<u8>(),
            units in prop_oneof![Just(0), 0_u16..0x2000],
            more in any::<bool>(),
            identification in any::<u32>(),
        ) {
            let header = FragmentHeader { next_header, offset: 8 * units, more, identification };
            let mut out = [0xee; FRAGMENT_HEADER_BYTES];
            header.emit(&mut out);
            prop_assert_eq!(FragmentHeader::parse(&out), Ok((header, &[][..])));
            let walked = walk(next::FRAGMENT, &out);
            if header.is_fragment() {
                prop_assert_eq!(walked, Ok(Walked::Fragment { header, offset: 8 }));
            } else {
                let goes_on = !matches!(walked, Ok(Walked::Fragment { .. }));
                prop_assert!(goes_on);
            }
        }

        #[test]
        fn any_bytes_are_walked(
            first in prop::sample::select(vec![0_u8, 43, 44, 60, 17, 6]),
            mut bytes in prop::collection::vec(any::<u8>(), 0..90),
            kinds in prop::collection::vec(prop::sample::select(vec![0_u8, 43, 44, 60, 17]), 11),
        ) {
            let _ = Header::parse(&bytes, false);
            for (at, kind) in kinds.into_iter().enumerate() {
                if let Some(units) = bytes.get_mut(8 * at..8 * at + 2) {
                    units.copy_from_slice(&[kind, 0]);
                }
            }
            if let Ok(Walked::Upper { offset, .. } | Walked::Fragment { offset, .. }) =
                walk(first, &bytes)
            {
                prop_assert!(offset <= bytes.len());
            }
        }
    }
}
