//! Ethernet II (RFC 894, RFC 2464) and the tags of 802.1Q and 802.1ad.

use super::bytes::read_u16;
use crate::relay::stats::RelayDrop;

/// The header's length, without tags.
pub const ETHERNET_HEADER_BYTES: usize = 14;

/// Byte ranges from the start of the header; the addresses in front are not looked at.
mod field {
    use std::ops::Range;

    /// u16.
    pub(crate) const ETHERTYPE: Range<usize> = 12..14;
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ethertype {
    /// 0x0800.
    Ipv4,
    /// 0x86dd.
    Ipv6,
    /// A VLAN tag: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    Tagged,
    /// Anything else, the lengths of 802.3 frames (below 1,536) among them.
    Other,
}

/// A view of the header.
#[derive(Clone, Copy, Debug)]
pub struct EthernetHeader<'a> {
    bytes: &'a [u8; ETHERNET_HEADER_BYTES],
}

impl<'a> EthernetHeader<'a> {
    /// Parts the header from what the frame carries, which may end in padding.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Malformed`] when there are fewer than [`ETHERNET_HEADER_BYTES`].
    #[inline]
    pub fn split(frame: &'a [u8]) -> Result<(Self, &'a [u8]), RelayDrop> {
        let (bytes, payload) = frame.split_first_chunk().ok_or(RelayDrop::Malformed)?;
        Ok((Self { bytes }, payload))
    }

    /// What the frame carries.
    #[inline]
    pub fn ethertype(&self) -> Ethertype {
        match read_u16(self.bytes, field::ETHERTYPE) {
            0x0800 => Ethertype::Ipv4,
            0x86dd => Ethertype::Ipv6,
            0x8100 | 0x88a8 => Ethertype::Tagged,
            _ => Ethertype::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_ethertypes() {
        let expected = [
            ([0x08, 0x00], Ethertype::Ipv4),
            ([0x86, 0xdd], Ethertype::Ipv6),
            ([0x81, 0x00], Ethertype::Tagged),
            ([0x88, 0xa8], Ethertype::Tagged),
            ([0x08, 0x06], Ethertype::Other),
            ([0x00, 0x2e], Ethertype::Other),
        ];
        for (ethertype, kind) in expected {
            let mut frame = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1];
            frame.extend(ethertype);
            frame.extend(b"tide");
            let (header, payload) = EthernetHeader::split(&frame).unwrap();
            assert_eq!(header.ethertype(), kind);
            assert_eq!(payload, b"tide");
        }
    }

    #[test]
    fn thirteen_bytes_are_not_a_header() {
        for length in 0..ETHERNET_HEADER_BYTES {
            assert_eq!(EthernetHeader::split(&[0; 14][..length]).err(), Some(RelayDrop::Malformed));
        }
    }
}
