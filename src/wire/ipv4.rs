//! IPv4 (RFC 791).

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Range;

use super::bytes::{read, read_u16};
use super::checksum::Checksum;

/// The header's length without options.
pub const HEADER_BYTES: usize = 20;

/// The most bytes of options that a header can have.
pub const OPTIONS_BYTES_MAX: usize = 40;

/// u4: version; u4: the header's length in units of four bytes.
const VERSION_AND_LENGTH: usize = 0;
/// u6: code point; u2: congestion notification (RFC 2474, RFC 3168).
const TOS: usize = 1;
/// u16: header and payload together.
const TOTAL_LENGTH: Range<usize> = 2..4;
/// u16: what the fragments of a packet have in common.
const IDENTIFICATION: Range<usize> = 4..6;
/// u3: flags; u13: offset in units of eight bytes.
const FRAGMENT: Range<usize> = 6..8;
/// u8.
const TTL: usize = 8;
/// u8.
const PROTOCOL: usize = 9;
/// u16: over the header alone.
const CHECKSUM: Range<usize> = 10..12;
/// The sender.
const SOURCE: Range<usize> = 12..16;
/// The receiver or group.
const DESTINATION: Range<usize> = 16..20;

/// The flag "don't fragment".
const DONT_FRAGMENT: u16 = 0x4000;
/// The flag "more fragments".
const MORE_FRAGMENTS: u16 = 0x2000;
/// The offset.
const OFFSET: u16 = 0x1fff;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Code point and congestion notification.
    pub tos: u8,
    /// The length of header and payload together. A super-packet may have 0.
    pub total_bytes: u16,
    /// What the fragments of a packet have in common.
    pub identification: u16,
    /// Whether routers may not cut it.
    pub dont_fragment: bool,
    /// Whether other fragments follow.
    pub more_fragments: bool,
    /// Where this fragment's payload belongs, in units of eight bytes; 13 bits.
    pub offset: u16,
    /// How many more routers it may pass.
    pub ttl: u8,
    /// The number of the protocol inside.
    pub protocol: u8,
    /// The sender.
    pub source: Ipv4Addr,
    /// The receiver or group.
    pub destination: Ipv4Addr,
    /// The options, a multiple of four bytes.
    pub options: &'a [u8],
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are fewer than [`HEADER_BYTES`].
    #[error("the IPv4 header is cut short")]
    Truncated,
    /// The version is not 4.
    #[error("the version is {0}, not 4")]
    Version(u8),
    /// The header or the packet is longer than the bytes, or shorter than what it must hold.
    #[error("the lengths in the IPv4 header contradict each other or the packet")]
    Lengths,
}

impl<'a> Header<'a> {
    /// Reads the header, and returns it with the payload; padding behind it is left out. The
    /// checksum is not looked at: see [`Self::checksum_holds`].
    ///
    /// A super-packet may have a total length of 0, as a larger one would not fit the field:
    /// its payload then goes on to the end of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Error`] says.
    #[inline]
    pub fn parse(bytes: &'a [u8], super_packet: bool) -> Result<(Self, &'a [u8]), Error> {
        let (fixed, rest): (&[u8; HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let first = fixed[VERSION_AND_LENGTH];
        if first >> 4 != 4 {
            return Err(Error::Version(first >> 4));
        }
        let total_bytes = read_u16(fixed, TOTAL_LENGTH);
        let packet_bytes = match usize::from(total_bytes) {
            0 if super_packet => bytes.len(),
            packet_bytes => packet_bytes,
        };
        // A length that is too small wraps around to one that is far too large.
        let options_bytes = (usize::from(first & 0x0f) * 4).wrapping_sub(HEADER_BYTES);
        let rest = rest.get(..packet_bytes.wrapping_sub(HEADER_BYTES));
        let (options, payload) =
            rest.and_then(|rest| rest.split_at_checked(options_bytes)).ok_or(Error::Lengths)?;
        let fragment = read_u16(fixed, FRAGMENT);
        let header = Self {
            tos: fixed[TOS],
            total_bytes,
            identification: read_u16(fixed, IDENTIFICATION),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            offset: fragment & OFFSET,
            ttl: fixed[TTL],
            protocol: fixed[PROTOCOL],
            source: Ipv4Addr::from(read::<4>(fixed, SOURCE)),
            destination: Ipv4Addr::from(read::<4>(fixed, DESTINATION)),
            options,
        };
        Ok((header, payload))
    }

    /// Writes the header with its checksum, and returns its length.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than the header, or the options are longer than
    /// [`OPTIONS_BYTES_MAX`] or no multiple of four bytes.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        assert!(self.options.len() <= OPTIONS_BYTES_MAX, "more options than a header can have");
        assert!(self.options.len().is_multiple_of(4), "options that end between two words");
        let header_bytes = self.header_bytes();
        let out = &mut out[..header_bytes];
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 }
            | if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        out[VERSION_AND_LENGTH] = 0x40 | (header_bytes / 4) as u8;
        out[TOS] = self.tos;
        out[TOTAL_LENGTH].copy_from_slice(&self.total_bytes.to_be_bytes());
        out[IDENTIFICATION].copy_from_slice(&self.identification.to_be_bytes());
        out[FRAGMENT].copy_from_slice(&(flags | self.offset & OFFSET).to_be_bytes());
        out[TTL] = self.ttl;
        out[PROTOCOL] = self.protocol;
        out[CHECKSUM].fill(0);
        out[SOURCE].copy_from_slice(&self.source.octets());
        out[DESTINATION].copy_from_slice(&self.destination.octets());
        out[HEADER_BYTES..].copy_from_slice(self.options);
        let checksum = Checksum::default().append(out).value();
        out[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        header_bytes
    }

    /// The header's length, options included.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        HEADER_BYTES + self.options.len()
    }

    /// Whether it is one piece of several: there is an offset, or more to follow.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.offset != 0
    }

    /// Source and destination as they stand in the header.
    #[inline]
    pub fn addresses(&self) -> [u8; 8] {
        let mut addresses = [0; 8];
        addresses[..4].copy_from_slice(&self.source.octets());
        addresses[4..].copy_from_slice(&self.destination.octets());
        addresses
    }

    /// Whether the checksum of this header, which `packet` starts with, is right.
    #[inline]
    pub fn checksum_holds(&self, packet: &[u8]) -> bool {
        let Some((fixed, _)) = packet.split_first_chunk::<HEADER_BYTES>() else { return false };
        let sum = Checksum::default().append(fixed);
        if self.options.is_empty() { sum.holds() } else { sum.append(self.options).holds() }
    }
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, protocol, ttl, total_bytes, .. } = self;
        write!(f, "IPv4 {source} to {destination}, protocol {protocol}, TTL {ttl}, ")?;
        write!(f, "{total_bytes} bytes")?;
        if self.is_fragment() {
            let more = if self.more_fragments { ", more follow" } else { "" };
            write!(f, ", fragment at {}{more}", usize::from(self.offset) * 8)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 192.168.0.1 to 192.168.0.199, UDP, 24 bytes in all.
    const HEADER: [u8; 20] = [
        0x45, 0x2e, 0x00, 0x18, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xa6, 0x5a, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];

    const PARSED: Header<'_> = Header {
        tos: 0x2e,
        total_bytes: 24,
        identification: 0x1234,
        dont_fragment: true,
        more_fragments: false,
        offset: 0,
        ttl: 64,
        protocol: 17,
        source: Ipv4Addr::new(192, 168, 0, 1),
        destination: Ipv4Addr::new(192, 168, 0, 199),
        options: &[],
    };

    fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = [&HEADER[..], b"tide"].concat();
        change(&mut bytes);
        bytes
    }

    fn malformed(bytes: &[u8], super_packet: bool) -> bool {
        Header::parse(bytes, super_packet).is_err()
    }

    #[test]
    fn golden_header() {
        let bytes = with(|bytes| bytes.extend([0; 20]));
        let (header, payload) = Header::parse(&bytes, false).unwrap();
        assert_eq!(payload, b"tide", "padding is left out");
        assert_eq!(header, PARSED);
        assert_eq!(header.header_bytes(), 20);
        assert_eq!(header.addresses(), [192, 168, 0, 1, 192, 168, 0, 199]);
        assert!(!header.is_fragment(), "only \"don't fragment\" is set");
        assert!(header.checksum_holds(&bytes));
        let mut out = [0xee; 20];
        assert_eq!(header.emit(&mut out), 20);
        assert_eq!(out, HEADER);
        let shown = "IPv4 192.168.0.1 to 192.168.0.199, protocol 17, TTL 64, 24 bytes";
        assert_eq!(header.to_string(), shown);
    }

    #[test]
    fn golden_router_alert() {
        // As Linux 6.18 sent it, with its own checksum.
        let bytes = [
            0x46, 0x00, 0x00, 0x1c, 0xe1, 0xb7, 0x40, 0x00, 0x01, 0x11, 0x09, 0x12, 0x0a, 0x00,
            0x00, 0x01, 0xef, 0x01, 0x01, 0x01, 0x94, 0x04, 0x00, 0x00, b't', b'i', b'd', b'e',
        ];
        let (header, payload) = Header::parse(&bytes, false).unwrap();
        assert_eq!((header.header_bytes(), payload), (24, &b"tide"[..]));
        assert!(header.checksum_holds(&bytes));
        assert_eq!(header.options, [0x94, 0x04, 0x00, 0x00]);
        assert_eq!(header.destination, Ipv4Addr::new(239, 1, 1, 1));
        let mut out = [0xee; 24];
        assert_eq!(header.emit(&mut out), 24);
        assert_eq!(out, bytes[..24]);
    }

    #[test]
    fn fragments() {
        for (field, fragment) in [
            ([0x00, 0x00], false),
            ([0x40, 0x00], false),
            ([0x80, 0x00], false),
            ([0x20, 0x00], true),
            ([0x00, 0x01], true),
            ([0x1f, 0xff], true),
        ] {
            let bytes = with(|bytes| bytes[6..8].copy_from_slice(&field));
            let (header, _) = Header::parse(&bytes, false).unwrap();
            assert_eq!(header.is_fragment(), fragment, "{field:?}");
        }
        let more = Header { more_fragments: true, offset: 185, ..PARSED };
        assert!(more.to_string().ends_with(", 24 bytes, fragment at 1480, more follow"), "{more}");
    }

    #[test]
    fn any_bit_flip_is_noticed() {
        for bit in 0..HEADER.len() * 8 {
            let bytes = with(|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let intact =
                Header::parse(&bytes, false).is_ok_and(|(ip, _)| ip.checksum_holds(&bytes));
            assert!(!intact, "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_contradict_each_other() {
        assert!(malformed(&with(|bytes| bytes[0] = 0x65), false), "version 6");
        assert!(malformed(&with(|bytes| bytes[0] = 0x44), false), "a header of 16 bytes");
        assert!(malformed(&with(|bytes| bytes[0] = 0x47), false), "options past the end");
        assert!(!malformed(&with(|bytes| bytes[0] = 0x46), false), "options up to the end");
        assert!(malformed(&with(|bytes| bytes[3] = 19), false), "less than the header");
        assert!(malformed(&with(|bytes| bytes[3] = 25), false), "more than there is");
        assert!(malformed(&with(|bytes| bytes[3] = 0), false), "nothing");
        for length in 0..HEADER.len() + 4 {
            assert!(malformed(&with(|bytes| bytes.truncate(length)), false), "{length}");
        }
    }

    #[test]
    fn a_super_packet_may_leave_its_length_open() {
        let bytes = with(|bytes| bytes[3] = 0);
        assert_eq!(Header::parse(&bytes, true).unwrap().1, b"tide");
        assert!(malformed(&with(|bytes| bytes[3] = 25), true), "not beyond the frame");
        assert!(malformed(&with(|bytes| bytes[3] = 1), true));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |bytes: &[u8]| Header::parse(bytes, false).unwrap_err();
        assert_eq!(error(&HEADER[..19]), Error::Truncated);
        assert_eq!(error(&with(|bytes| bytes[0] = 0x65)), Error::Version(6));
        assert_eq!(error(&with(|bytes| bytes[3] = 25)), Error::Lengths);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (tos, identification, ttl, protocol) in any::<(u8, u16, u8, u8)>(),
            (dont_fragment, more_fragments) in any::<(bool, bool)>(),
            offset in prop_oneof![Just(0), 0..=OFFSET],
            (source, destination) in any::<(Ipv4Addr, Ipv4Addr)>(),
            words in 0..=OPTIONS_BYTES_MAX / 4,
            bytes in any::<[u8; OPTIONS_BYTES_MAX]>(),
            payload in prop::collection::vec(any::<u8>(), 0..50),
            super_packet in any::<bool>(),
        ) {
            let options = &bytes[..4 * words];
            let right = HEADER_BYTES + options.len() + payload.len();
            let header = Header {
                tos,
                total_bytes: if super_packet { 0 } else { right as u16 },
                identification,
                dont_fragment,
                more_fragments,
                offset,
                ttl,
                protocol,
                source,
                destination,
                options,
            };
            let mut out = vec![0xee; right];
            let header_bytes = header.emit(&mut out);
            out[header_bytes..].copy_from_slice(&payload);
            let parsed = Header::parse(&out, super_packet);
            prop_assert_eq!(parsed, Ok((header, &payload[..])));
            prop_assert!(header.checksum_holds(&out));
        }

        #[test]
        fn any_bytes_are_taken(
            mut bytes in prop::collection::vec(any::<u8>(), 0..90),
            super_packet in any::<bool>(),
        ) {
            let _ = Header::parse(&bytes, super_packet);
            if let Some(first) = bytes.first_mut() {
                *first = 0x40 | *first & 0x0f;
            }
            if let Ok((header, payload)) = Header::parse(&bytes, super_packet) {
                prop_assert!(header.header_bytes() + payload.len() <= bytes.len());
            }
        }
    }
}
