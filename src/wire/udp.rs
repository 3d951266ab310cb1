//! UDP (RFC 768).

use super::bytes::read_u16;
use crate::relay::stats::RelayDrop;

/// UDP's number in IPv4's protocol and IPv6's next-header field.
pub const PROTOCOL_UDP: u8 = 17;

/// The header's length.
pub const UDP_HEADER_BYTES: usize = 8;

/// Byte ranges from the start of the header.
mod field {
    use std::ops::Range;

    /// u16.
    pub(crate) const SOURCE_PORT: Range<usize> = 0..2;
    /// u16.
    pub(crate) const DESTINATION_PORT: Range<usize> = 2..4;
    /// u16: header and payload together.
    pub(crate) const LENGTH: Range<usize> = 4..6;
    /// u16: over the pseudo-header, the header and the payload; 0 for none.
    pub(crate) const CHECKSUM: Range<usize> = 6..8;
}

/// A view of the header.
#[derive(Clone, Copy, Debug)]
pub struct UdpHeader<'a> {
    bytes: &'a [u8; UDP_HEADER_BYTES],
}

impl<'a> UdpHeader<'a> {
    /// Parts the header from everything behind it. The length is for the caller to judge: in a
    /// super-packet it may be that of the first datagram alone.
    ///
    /// # Errors
    ///
    /// [`RelayDrop::Malformed`] when there are fewer than [`UDP_HEADER_BYTES`].
    #[inline]
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RelayDrop> {
        let (bytes, rest) = bytes.split_first_chunk().ok_or(RelayDrop::Malformed)?;
        Ok((Self { bytes }, rest))
    }

    /// The port it came from; 0 when the sender expects no answer.
    #[inline]
    pub fn source_port(&self) -> u16 {
        read_u16(self.bytes, field::SOURCE_PORT)
    }

    /// The port it goes to.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        read_u16(self.bytes, field::DESTINATION_PORT)
    }

    /// The header's and the payload's length, as the sender says.
    #[inline]
    pub fn length(&self) -> usize {
        usize::from(read_u16(self.bytes, field::LENGTH))
    }

    /// Whether the sender left the checksum out: permitted over IPv4 only (RFC 8200, 8.1).
    #[inline]
    pub fn without_checksum(&self) -> bool {
        read_u16(self.bytes, field::CHECKSUM) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header() {
        let bytes = [0xe5, 0xa9, 0x13, 0x89, 0x00, 0x0c, 0xfa, 0x26, b't', b'i', b'd', b'e'];
        let (header, payload) = UdpHeader::split(&bytes).unwrap();
        assert_eq!((header.source_port(), header.destination_port()), (58_793, 5001));
        assert_eq!(header.length(), 12);
        assert!(!header.without_checksum());
        assert_eq!(payload, b"tide");
    }

    #[test]
    fn no_checksum() {
        assert!(
            UdpHeader::split(&[0xff, 0xff, 0xff, 0xff, 0, 8, 0, 0]).unwrap().0.without_checksum()
        );
    }

    #[test]
    fn seven_bytes_are_not_a_header() {
        for length in 0..UDP_HEADER_BYTES {
            assert_eq!(UdpHeader::split(&[0; 8][..length]).err(), Some(RelayDrop::Malformed));
        }
    }
}
