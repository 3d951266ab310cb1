//! `struct virtio_net_hdr`, which `PACKET_VNET_HDR` puts in front of every frame (packet(7)).
//!
//! The layout is that of Virtual I/O Device 1.2, section 5.1.6, without `num_buffers`. Packet
//! sockets use the legacy header: its integers are in the byte order of this machine.

use std::fmt;
use std::ops::Range;

use super::bytes::read;

/// The header's length.
pub const HEADER_BYTES: usize = 10;

/// u8: bits of [`flag`].
const FLAGS: usize = 0;
/// u8: a [`GsoType`], and [`GSO_ECN`].
const GSO_TYPE: usize = 1;
/// u16: the length of all headers, Ethernet's included.
const HEADERS_LENGTH: Range<usize> = 2..4;
/// u16: bytes of payload in each segment but the last.
const GSO_SIZE: Range<usize> = 4..6;
/// u16: where the bytes under the transport checksum start, from the start of the frame.
const CHECKSUM_START: Range<usize> = 6..8;
/// u16: where the checksum is to be stored, from there.
const CHECKSUM_OFFSET: Range<usize> = 8..10;

/// Set beside a TCP type: the first segment carries the CWR bit.
const GSO_ECN: u8 = 0x80;

/// Bits of the flags.
pub mod flag {
    /// The transport checksum is not filled in yet: the packet was made on this machine.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// The kernel or the hardware has verified the checksums.
    pub const DATA_VALID: u8 = 2;
}

/// Kinds of super-packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoType {
    /// 0: an ordinary frame.
    #[default]
    None,
    /// 1: TCP over IPv4.
    TcpV4,
    /// 3: one large UDP datagram, to be cut into IP fragments (UFO).
    Udp,
    /// 4: TCP over IPv6.
    TcpV6,
    /// 5: many UDP datagrams in a row; reported by Linux 6.2 and later.
    UdpL4,
    /// Any other number below 128.
    Other(u8),
}

/// The header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bits of [`flag`].
    pub flags: u8,
    /// What the frame holds.
    pub gso_type: GsoType,
    /// Whether the first TCP segment carries the CWR bit.
    pub gso_ecn: bool,
    /// The length of all headers, Ethernet's included: a hint.
    pub headers_bytes: u16,
    /// Bytes of payload in each segment but the last.
    pub gso_bytes: u16,
    /// Where the bytes under the transport checksum start, from the start of the frame.
    pub checksum_start: u16,
    /// Where the checksum is to be stored, from there.
    pub checksum_offset: u16,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are fewer than [`HEADER_BYTES`].
    #[error("the virtio header is cut short")]
    Truncated,
}

impl Header {
    /// Reads the header, and returns it with the frame behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (bytes, frame): (&[u8; HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let word = |range| u16::from_ne_bytes(read(bytes, range));
        let header = Self {
            flags: bytes[FLAGS],
            gso_type: GsoType::from(bytes[GSO_TYPE] & !GSO_ECN),
            gso_ecn: bytes[GSO_TYPE] & GSO_ECN != 0,
            headers_bytes: word(HEADERS_LENGTH),
            gso_bytes: word(GSO_SIZE),
            checksum_start: word(CHECKSUM_START),
            checksum_offset: word(CHECKSUM_OFFSET),
        };
        Ok((header, frame))
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; HEADER_BYTES]) {
        out[FLAGS] = self.flags;
        out[GSO_TYPE] = u8::from(self.gso_type) | if self.gso_ecn { GSO_ECN } else { 0 };
        out[HEADERS_LENGTH].copy_from_slice(&self.headers_bytes.to_ne_bytes());
        out[GSO_SIZE].copy_from_slice(&self.gso_bytes.to_ne_bytes());
        out[CHECKSUM_START].copy_from_slice(&self.checksum_start.to_ne_bytes());
        out[CHECKSUM_OFFSET].copy_from_slice(&self.checksum_offset.to_ne_bytes());
    }

    /// Whether the transport checksum is still to be filled in.
    #[inline]
    pub fn needs_checksum(&self) -> bool {
        self.flags & flag::NEEDS_CHECKSUM != 0
    }

    /// Whether the kernel or the hardware has verified the checksums.
    #[inline]
    pub fn checksum_valid(&self) -> bool {
        self.flags & flag::DATA_VALID != 0
    }
}

impl From<u8> for GsoType {
    #[inline]
    fn from(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::TcpV4,
            3 => Self::Udp,
            4 => Self::TcpV6,
            5 => Self::UdpL4,
            other => Self::Other(other),
        }
    }
}

impl From<GsoType> for u8 {
    #[inline]
    fn from(gso_type: GsoType) -> Self {
        match gso_type {
            GsoType::None => 0,
            GsoType::TcpV4 => 1,
            GsoType::Udp => 3,
            GsoType::TcpV6 => 4,
            GsoType::UdpL4 => 5,
            GsoType::Other(number) => number,
        }
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, gso_type, gso_bytes, checksum_start, .. } = self;
        write!(f, "virtio flags {flags:#x}, {gso_type:?} of {gso_bytes} bytes, ")?;
        write!(f, "checksum from {checksum_start}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Linux 6.18 hands over a super-packet of this machine's.
    const SUPER_PACKET: Header = Header {
        flags: flag::NEEDS_CHECKSUM,
        gso_type: GsoType::UdpL4,
        gso_ecn: false,
        headers_bytes: 42,
        gso_bytes: 1400,
        checksum_start: 34,
        checksum_offset: 6,
    };

    fn golden() -> Vec<u8> {
        let mut bytes = vec![1, 5];
        for value in [42_u16, 1400, 34, 6] {
            bytes.extend(value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn golden_super_packet_from_this_machine() {
        let bytes = [&golden()[..], &[0xab]].concat();
        let (header, frame) = Header::parse(&bytes).unwrap();
        assert_eq!(header, SUPER_PACKET);
        assert!(header.needs_checksum() && !header.checksum_valid());
        assert_eq!(frame, [0xab]);
        let mut out = [0xee; HEADER_BYTES];
        header.emit(&mut out);
        assert_eq!(out[..], golden());
        let shown = "virtio flags 0x1, UdpL4 of 1400 bytes, checksum from 34";
        assert_eq!(header.to_string(), shown);
    }

    #[test]
    fn golden_plain_frames() {
        let (unchecked, _) = Header::parse(&[0; 10]).unwrap();
        assert_eq!(unchecked, Header::default());
        assert!(!unchecked.needs_checksum() && !unchecked.checksum_valid());
        let (checked, _) = Header::parse(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(!checked.needs_checksum() && checked.checksum_valid());
    }

    #[test]
    fn every_type() {
        for (number, gso_type, gso_ecn) in [
            (0, GsoType::None, false),
            (1, GsoType::TcpV4, false),
            (0x81, GsoType::TcpV4, true),
            (2, GsoType::Other(2), false),
            (3, GsoType::Udp, false),
            (4, GsoType::TcpV6, false),
            (0x84, GsoType::TcpV6, true),
            (5, GsoType::UdpL4, false),
            (0x85, GsoType::UdpL4, true),
            (0x20, GsoType::Other(0x20), false),
        ] {
            let (header, _) = Header::parse(&[0, number, 0, 0, 9, 1, 0, 0, 0, 0]).unwrap();
            assert_eq!((header.gso_type, header.gso_ecn), (gso_type, gso_ecn), "{number}");
        }
    }

    #[test]
    fn nine_bytes_are_not_a_header() {
        for length in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&[0; 10][..length]), Err(Error::Truncated));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            flags in any::<u8>(),
            number in prop_oneof![0_u8..6, 0_u8..128],
            gso_ecn in any::<bool>(),
            words in any::<[u16; 4]>(),
        ) {
            let [headers_bytes, gso_bytes, checksum_start, checksum_offset] = words;
            let header = Header {
                flags,
                gso_type: GsoType::from(number),
                gso_ecn,
                headers_bytes,
                gso_bytes,
                checksum_start,
                checksum_offset,
            };
            let mut out = [0; HEADER_BYTES];
            header.emit(&mut out);
            prop_assert_eq!(Header::parse(&out), Ok((header, &[][..])));
        }
    }
}
