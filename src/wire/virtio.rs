//! `struct virtio_net_hdr`, which `PACKET_VNET_HDR` puts in front of every frame (packet(7)).
//!
//! The layout is that of Virtual I/O Device 1.2, section 5.1.6, without `num_buffers`. Packet
//! sockets hand over the legacy header: its integers are in the byte order of this machine.

use super::bytes::read;
use crate::relay::stats::RelayDrop;

/// The header's length.
pub const VIRTIO_HEADER_BYTES: usize = 10;

/// Byte ranges from the start of the header.
mod field {
    use std::ops::Range;

    /// u8: bits of [`super::flag`].
    pub(crate) const FLAGS: usize = 0;
    /// u8: one of [`super::gso`].
    pub(crate) const GSO_TYPE: usize = 1;
    /// u16: bytes of payload in each segment but the last. The header length at 2..4 is a hint
    /// that nobody needs.
    pub(crate) const GSO_SIZE: Range<usize> = 4..6;
    /// u16: where the checksummed part starts, from the start of the frame.
    pub(crate) const CSUM_START: Range<usize> = 6..8;
}

/// Bits of the flags.
pub mod flag {
    /// The transport checksum is not filled in yet: the packet was made on this machine.
    pub const NEEDS_CSUM: u8 = 1;
    /// The kernel or the hardware has verified the checksums.
    pub const DATA_VALID: u8 = 2;
}

/// Kinds of super-packet.
pub mod gso {
    /// An ordinary frame.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const TCPV4: u8 = 1;
    /// One large UDP datagram, to be cut into IP fragments (UFO).
    pub const UDP: u8 = 3;
    /// TCP over IPv6.
    pub const TCPV6: u8 = 4;
    /// Many UDP datagrams in a row; reported by Linux 6.2 and later.
    pub const UDP_L4: u8 = 5;
    /// Set beside a TCP kind: the first segment carries the CWR bit.
    pub const ECN: u8 = 0x80;
}

/// What a frame holds, by the header's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// One packet.
    Whole,
    /// UDP datagrams in a row, each but the last with this much payload.
    Datagrams(u16),
    /// TCP segments, or a kind this program does not know.
    Other,
}

/// A view of the header.
#[derive(Clone, Copy, Debug)]
pub struct VirtioHeader<'a> {
    bytes: &'a [u8; VIRTIO_HEADER_BYTES],
}

impl<'a> VirtioHeader<'a> {
    /// Parts the header from the frame behind it.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Malformed`] when there are fewer than [`VIRTIO_HEADER_BYTES`].
    #[inline]
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RelayDrop> {
        let (bytes, frame) = bytes.split_first_chunk().ok_or(RelayDrop::Malformed)?;
        Ok((Self { bytes }, frame))
    }

    /// Whether the kernel or the hardware has verified the checksums.
    #[inline]
    pub fn checksum_valid(&self) -> bool {
        self.bytes[field::FLAGS] & flag::DATA_VALID != 0
    }

    /// With the transport checksum still to be filled in: where the transport header starts,
    /// from the start of the frame.
    #[inline]
    pub fn checksum_start(&self) -> Option<usize> {
        let pending = self.bytes[field::FLAGS] & flag::NEEDS_CSUM != 0;
        pending.then(|| usize::from(u16::from_ne_bytes(read(self.bytes, field::CSUM_START))))
    }

    /// What the frame holds. UFO leaves one datagram whole, so it is no case of its own.
    #[inline]
    pub fn segmentation(&self) -> Segmentation {
        match self.bytes[field::GSO_TYPE] & !gso::ECN {
            gso::NONE | gso::UDP => Segmentation::Whole,
            gso::UDP_L4 => {
                Segmentation::Datagrams(u16::from_ne_bytes(read(self.bytes, field::GSO_SIZE)))
            }
            _ => Segmentation::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> VirtioHeader<'_> {
        VirtioHeader::split(bytes).unwrap().0
    }

    #[test]
    fn golden_super_packet_from_this_machine() {
        // As Linux 6.18 hands it over: flags 1, kind 5, header 42, size 1400, start 34, offset 6.
        let mut bytes = vec![1, 5];
        for value in [42_u16, 1400, 34, 6] {
            bytes.extend(value.to_ne_bytes());
        }
        bytes.push(0xab);
        let (header, frame) = VirtioHeader::split(&bytes).unwrap();
        assert_eq!(header.segmentation(), Segmentation::Datagrams(1400));
        assert_eq!(header.checksum_start(), Some(34));
        assert!(!header.checksum_valid());
        assert_eq!(frame, [0xab]);
    }

    #[test]
    fn golden_plain_frames() {
        let unchecked = header(&[0; 10]);
        assert_eq!(unchecked.segmentation(), Segmentation::Whole);
        assert_eq!((unchecked.checksum_start(), unchecked.checksum_valid()), (None, false));
        let checked = header(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((checked.checksum_start(), checked.checksum_valid()), (None, true));
    }

    #[test]
    fn every_kind() {
        let expected = [
            (0, Segmentation::Whole),
            (1, Segmentation::Other),
            (0x81, Segmentation::Other),
            (2, Segmentation::Other),
            (3, Segmentation::Whole),
            (4, Segmentation::Other),
            (0x84, Segmentation::Other),
            (5, Segmentation::Datagrams(u16::from_ne_bytes([9, 1]))),
            (0x85, Segmentation::Datagrams(u16::from_ne_bytes([9, 1]))),
            (0x20, Segmentation::Other),
        ];
        for (kind, segmentation) in expected {
            let bytes = [0, kind, 0, 0, 9, 1, 0, 0, 0, 0];
            assert_eq!(header(&bytes).segmentation(), segmentation, "{kind}");
        }
    }

    #[test]
    fn nine_bytes_are_not_a_header() {
        for length in 0..VIRTIO_HEADER_BYTES {
            assert_eq!(VirtioHeader::split(&[0; 10][..length]).err(), Some(RelayDrop::Malformed));
        }
    }
}
