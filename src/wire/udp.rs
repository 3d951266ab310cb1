//! UDP (RFC 768), and its checksum over IPv4 and IPv6 (RFC 8200, 8.1).

use std::fmt;
use std::ops::Range;

use super::bytes::read_u16;
use super::checksum::Checksum;

/// UDP's number in IPv4's protocol and IPv6's next-header field.
pub const PROTOCOL: u8 = 17;

/// The header's length.
pub const HEADER_BYTES: usize = 8;

/// u16.
const SOURCE_PORT: Range<usize> = 0..2;
/// u16.
const DESTINATION_PORT: Range<usize> = 2..4;
/// u16: header and payload together.
const LENGTH: Range<usize> = 4..6;
/// u16: over the pseudo-header, the header and the payload; 0 for none.
const CHECKSUM: Range<usize> = 6..8;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The port it came from; 0 when the sender expects no answer.
    pub source_port: u16,
    /// The port it goes to.
    pub destination_port: u16,
    /// The length of header and payload together. In a super-packet it may be that of the first
    /// datagram, or 0.
    pub length: u16,
    /// The checksum; 0 when the sender left it out, which only IPv4 permits (RFC 8200, 8.1).
    pub checksum: u16,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are fewer than [`HEADER_BYTES`].
    #[error("the UDP header is cut short")]
    Truncated,
}

impl Header {
    /// Reads the header, and returns it with everything behind it. The length is for the caller to
    /// check.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (bytes, rest): (&[u8; HEADER_BYTES], _) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let header = Self {
            source_port: read_u16(bytes, SOURCE_PORT),
            destination_port: read_u16(bytes, DESTINATION_PORT),
            length: read_u16(bytes, LENGTH),
            checksum: read_u16(bytes, CHECKSUM),
        };
        Ok((header, rest))
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; HEADER_BYTES]) {
        out[SOURCE_PORT].copy_from_slice(&self.source_port.to_be_bytes());
        out[DESTINATION_PORT].copy_from_slice(&self.destination_port.to_be_bytes());
        out[LENGTH].copy_from_slice(&self.length.to_be_bytes());
        out[CHECKSUM].copy_from_slice(&self.checksum.to_be_bytes());
    }
}

/// Whether the checksum of a UDP datagram is right.
///
/// `addresses` are the source and the destination as they stand in the IP header, 8 or 32 bytes;
/// `datagram` starts with the UDP header and is as long as that says. A checksum of 0, which
/// stands for none, is for the caller to recognise.
#[inline]
pub fn checksum_holds<const N: usize>(addresses: &[u8; N], datagram: &[u8]) -> bool {
    pseudo_header(addresses, datagram.len()).append(datagram).holds()
}

/// The checksum to put into a UDP datagram that holds zero in its place: never 0, which would stand
/// for none. The arguments are as in [`checksum_holds`].
pub fn checksum_of<const N: usize>(addresses: &[u8; N], datagram: &[u8]) -> u16 {
    match pseudo_header(addresses, datagram.len()).append(datagram).value() {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// The sum of the pseudo-header of a UDP datagram of `udp_bytes`, its header included: for a
/// datagram that lies in pieces, to be appended. `addresses` are as in [`checksum_holds`].
#[inline]
pub fn pseudo_header<const N: usize>(addresses: &[u8; N], udp_bytes: usize) -> Checksum {
    // IPv4's pseudo-header has these two fields in 16 bits each. In 32, as in IPv6's, they add
    // up to the same.
    let length_and_protocol = ((udp_bytes as u64) << 32) | u64::from(PROTOCOL);
    Checksum::default().append(addresses).append(&length_and_protocol.to_be_bytes())
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source_port, destination_port, length, checksum } = self;
        write!(f, "UDP {source_port} to {destination_port}, {length} bytes, ")?;
        write!(f, "checksum {checksum:#06x}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::checksum::tests::naive;

    #[test]
    fn golden_header() {
        let bytes = [0xe5, 0xa9, 0x13, 0x89, 0x00, 0x0c, 0xfa, 0x26, b't', b'i', b'd', b'e'];
        let (header, payload) = Header::parse(&bytes).unwrap();
        let expected =
            Header { source_port: 58_793, destination_port: 5001, length: 12, checksum: 0xfa26 };
        assert_eq!(header, expected);
        assert_eq!(payload, b"tide");
        let mut out = [0xee; HEADER_BYTES];
        header.emit(&mut out);
        assert_eq!(out, bytes[..HEADER_BYTES]);
        assert_eq!(header.to_string(), "UDP 58793 to 5001, 12 bytes, checksum 0xfa26");
    }

    #[test]
    fn seven_bytes_are_not_a_header() {
        for length in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&[0; 8][..length]), Err(Error::Truncated));
        }
    }

    #[test]
    fn any_bit_flip_of_a_datagram_is_noticed() {
        let addresses = [10, 0, 0, 1, 239, 1, 1, 1];
        let mut datagram = [0xe5, 0xa9, 0x13, 0x89, 0, 13, 0, 0, b'r', b'i', b'n', b'g', b's'];
        let pseudo = [10, 0, 0, 1, 239, 1, 1, 1, 0, 17, 0, 13];
        let check = naive(&[&pseudo[..], &datagram[..]].concat());
        assert_eq!(checksum_of(&addresses, &datagram), check);
        datagram[6..8].copy_from_slice(&check.to_be_bytes());
        assert!(checksum_holds(&addresses, &datagram));
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!checksum_holds(&addresses, &flipped), "bit {bit}");
        }
    }

    #[test]
    fn a_sum_that_comes_to_nothing_is_not_written_as_none() {
        // Source port and addresses make up for protocol and lengths: 0xffff in all.
        let datagram = [0xff, 0xde, 0, 0, 0, 8, 0, 0];
        assert_eq!(checksum_of(&[0; 8], &datagram), 0xffff);
    }

    proptest! {
        #[test]
        fn ipv6_pseudo_headers_match_the_definition(
            addresses in any::<[u8; 32]>(),
            mut datagram in prop::collection::vec(any::<u8>(), 8..300),
        ) {
            datagram[6..8].fill(0);
            let length = (datagram.len() as u32).to_be_bytes();
            let check = naive(&[&addresses[..], &length, &[0, 0, 0, 17], &datagram].concat());
            datagram[6..8].copy_from_slice(&check.to_be_bytes());
            prop_assert!(checksum_holds(&addresses, &datagram));
        }

        #[test]
        fn what_is_written_is_read(
            source_port in any::<u16>(),
            destination_port in any::<u16>(),
            length in any::<u16>(),
            checksum in any::<u16>(),
        ) {
            let header = Header { source_port, destination_port, length, checksum };
            let mut out = [0; HEADER_BYTES];
            header.emit(&mut out);
            prop_assert_eq!(Header::parse(&out), Ok((header, &[][..])));
        }
    }
}
