//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use super::bytes::{read, read_u16};
use super::checksum::Checksum;
use crate::relay::stats::RelayDrop;

/// The header's length without options.
pub const IPV4_HEADER_BYTES: usize = 20;

/// Byte ranges from the start of the header.
mod field {
    use std::ops::Range;

    /// u4: version; u4: the header's length in units of four bytes.
    pub(crate) const VERSION_AND_LENGTH: usize = 0;
    /// u6: code point; u2: congestion notification (RFC 2474, RFC 3168).
    pub(crate) const TOS: usize = 1;
    /// u16: header and payload together.
    pub(crate) const TOTAL_LENGTH: Range<usize> = 2..4;
    /// u3: flags, the lowest being "more fragments"; u13: offset.
    pub(crate) const FRAGMENT: Range<usize> = 6..8;
    /// u8.
    pub(crate) const TTL: usize = 8;
    /// u8.
    pub(crate) const PROTOCOL: usize = 9;
    /// Both addresses.
    pub(crate) const ADDRESSES: Range<usize> = 12..20;
    /// Where it comes from.
    pub(crate) const SOURCE: Range<usize> = 12..16;
    /// Where it goes.
    pub(crate) const DESTINATION: Range<usize> = 16..20;
}

/// The "more fragments" flag and the offset.
const FRAGMENT_MASK: u16 = 0x3fff;

/// A view of the header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header<'a> {
    fixed: &'a [u8; IPV4_HEADER_BYTES],
    options: &'a [u8],
}

impl<'a> Ipv4Header<'a> {
    /// Parts the header and its options from the payload; padding behind it is left out.
    ///
    /// A super-packet may have a total length of 0, as a larger one would not fit the field:
    /// its payload then goes on to the end of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Malformed`] when the version is not 4, or the header or the packet is longer
    /// than `bytes` or shorter than what it must hold.
    #[inline]
    pub fn split(bytes: &'a [u8], super_packet: bool) -> Result<(Self, &'a [u8]), RelayDrop> {
        let (fixed, rest): (&[u8; IPV4_HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(RelayDrop::Malformed)?;
        let first = fixed[field::VERSION_AND_LENGTH];
        if first >> 4 != 4 {
            return Err(RelayDrop::Malformed);
        }
        let total_bytes = match usize::from(read_u16(fixed, field::TOTAL_LENGTH)) {
            0 if super_packet => bytes.len(),
            total_bytes => total_bytes,
        };
        // A length that is too small wraps around to one that is far too large.
        let options_bytes = (usize::from(first & 0x0f) * 4).wrapping_sub(IPV4_HEADER_BYTES);
        let rest = rest.get(..total_bytes.wrapping_sub(IPV4_HEADER_BYTES));
        let (options, payload) = rest
            .and_then(|rest| rest.split_at_checked(options_bytes))
            .ok_or(RelayDrop::Malformed)?;
        Ok((Self { fixed, options }, payload))
    }

    /// The header's length, options included.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        IPV4_HEADER_BYTES + self.options.len()
    }

    /// Code point and congestion notification.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.fixed[field::TOS]
    }

    /// Whether it is one piece of several: there is an offset, or more to follow.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        read_u16(self.fixed, field::FRAGMENT) & FRAGMENT_MASK != 0
    }

    /// How many more routers it may pass.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[field::TTL]
    }

    /// The number of the protocol inside.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[field::PROTOCOL]
    }

    /// Source and destination as they stand.
    #[inline]
    pub fn addresses(&self) -> [u8; 8] {
        read(self.fixed, field::ADDRESSES)
    }

    /// Where it comes from.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(read::<4>(self.fixed, field::SOURCE))
    }

    /// Where it goes.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(read::<4>(self.fixed, field::DESTINATION))
    }

    /// Whether the header's checksum is right.
    #[inline]
    pub fn checksum_holds(&self) -> bool {
        let sum = Checksum::default().append(self.fixed);
        if self.options.is_empty() { sum.holds() } else { sum.append(self.options).holds() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.168.0.1 to 192.168.0.199, UDP, 24 bytes in all.
    const HEADER: [u8; 20] = [
        0x45, 0x2e, 0x00, 0x18, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xa6, 0x5a, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];

    fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = [&HEADER[..], b"tide"].concat();
        change(&mut bytes);
        bytes
    }

    fn malformed(bytes: &[u8], super_packet: bool) -> bool {
        matches!(Ipv4Header::split(bytes, super_packet), Err(RelayDrop::Malformed))
    }

    #[test]
    fn golden_header() {
        let bytes = with(|bytes| bytes.extend([0; 20]));
        let (header, payload) = Ipv4Header::split(&bytes, false).unwrap();
        assert_eq!(payload, b"tide", "padding is left out");
        assert_eq!((header.header_bytes(), header.protocol()), (20, 17));
        assert_eq!((header.ttl(), header.tos()), (64, 0x2e));
        assert_eq!(header.source(), Ipv4Addr::new(192, 168, 0, 1));
        assert_eq!(header.destination(), Ipv4Addr::new(192, 168, 0, 199));
        assert_eq!(header.addresses(), [192, 168, 0, 1, 192, 168, 0, 199]);
        assert!(!header.is_fragment(), "only \"don't fragment\" is set");
        assert!(header.checksum_holds());
    }

    #[test]
    fn golden_router_alert() {
        // As Linux 6.18 sent it, with its own checksum.
        let bytes = [
            0x46, 0x00, 0x00, 0x1c, 0xe1, 0xb7, 0x40, 0x00, 0x01, 0x11, 0x09, 0x12, 0x0a, 0x00,
            0x00, 0x01, 0xef, 0x01, 0x01, 0x01, 0x94, 0x04, 0x00, 0x00, b't', b'i', b'd', b'e',
        ];
        let (header, payload) = Ipv4Header::split(&bytes, false).unwrap();
        assert_eq!((header.header_bytes(), payload), (24, &b"tide"[..]));
        assert!(header.checksum_holds());
        assert_eq!(header.destination(), Ipv4Addr::new(239, 1, 1, 1));
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
            let (header, _) = Ipv4Header::split(&bytes, false).unwrap();
            assert_eq!(header.is_fragment(), fragment, "{field:?}");
        }
    }

    #[test]
    fn any_bit_flip_is_noticed() {
        for bit in 0..HEADER.len() * 8 {
            let bytes = with(|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let intact = Ipv4Header::split(&bytes, false).is_ok_and(|(ip, _)| ip.checksum_holds());
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
        assert_eq!(Ipv4Header::split(&bytes, true).unwrap().1, b"tide");
        assert!(malformed(&with(|bytes| bytes[3] = 25), true), "not beyond the frame");
        assert!(malformed(&with(|bytes| bytes[3] = 1), true));
    }
}
