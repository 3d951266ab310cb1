//! Ethernet II (RFC 894, RFC 2464) and the tags of 802.1Q and 802.1ad.

use std::fmt;
use std::ops::Range;

use super::bytes::{read, read_u16};

/// The header's length, without tags.
pub const HEADER_BYTES: usize = 14;

/// The address of the station it goes to.
const DESTINATION: Range<usize> = 0..6;
/// The address of the station it comes from.
const SOURCE: Range<usize> = 6..12;
/// u16.
const ETHERTYPE: Range<usize> = 12..14;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The address of the station it goes to.
    pub destination: [u8; 6],
    /// The address of the station it comes from.
    pub source: [u8; 6],
    /// What the frame carries.
    pub ethertype: Ethertype,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ethertype {
    /// 0x0800.
    Ipv4,
    /// 0x86dd.
    Ipv6,
    /// 0x8100: a VLAN tag (802.1Q).
    Vlan,
    /// 0x88a8: a service VLAN tag (802.1ad).
    ServiceVlan,
    /// Anything else, including the lengths of 802.3 frames (below 1,536).
    Other(u16),
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are fewer than [`HEADER_BYTES`].
    #[error("the Ethernet header is cut short")]
    Truncated,
}

impl Header {
    /// Reads the header, and returns it with what the frame carries, which may end in padding.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`].
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (bytes, payload): (&[u8; HEADER_BYTES], _) =
            frame.split_first_chunk().ok_or(Error::Truncated)?;
        let header = Self {
            destination: read(bytes, DESTINATION),
            source: read(bytes, SOURCE),
            ethertype: Ethertype::from(read_u16(bytes, ETHERTYPE)),
        };
        Ok((header, payload))
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; HEADER_BYTES]) {
        out[DESTINATION].copy_from_slice(&self.destination);
        out[SOURCE].copy_from_slice(&self.source);
        out[ETHERTYPE].copy_from_slice(&u16::from(self.ethertype).to_be_bytes());
    }
}

impl From<u16> for Ethertype {
    #[inline]
    fn from(number: u16) -> Self {
        match number {
            0x0800 => Self::Ipv4,
            0x86dd => Self::Ipv6,
            0x8100 => Self::Vlan,
            0x88a8 => Self::ServiceVlan,
            other => Self::Other(other),
        }
    }
}

impl From<Ethertype> for u16 {
    #[inline]
    fn from(ethertype: Ethertype) -> Self {
        match ethertype {
            Ethertype::Ipv4 => 0x0800,
            Ethertype::Ipv6 => 0x86dd,
            Ethertype::Vlan => 0x8100,
            Ethertype::ServiceVlan => 0x88a8,
            Ethertype::Other(number) => number,
        }
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, source, ethertype } = self;
        let [a, b, c, d, e, g] = source;
        write!(f, "Ethernet {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} to ")?;
        let [a, b, c, d, e, g] = destination;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}, ")?;
        write!(f, "type {:#06x}", u16::from(*ethertype))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_headers() {
        for (number, ethertype) in [
            ([0x08, 0x00], Ethertype::Ipv4),
            ([0x86, 0xdd], Ethertype::Ipv6),
            ([0x81, 0x00], Ethertype::Vlan),
            ([0x88, 0xa8], Ethertype::ServiceVlan),
            ([0x08, 0x06], Ethertype::Other(0x0806)),
            ([0x00, 0x2e], Ethertype::Other(46)),
        ] {
            let mut frame = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1];
            frame.extend(number);
            frame.extend(b"tide");
            let (header, payload) = Header::parse(&frame).unwrap();
            let destination = [1, 0, 0x5e, 1, 1, 1];
            assert_eq!(header, Header { destination, source: [2, 0, 0, 0, 0, 1], ethertype });
            assert_eq!(payload, b"tide");
            let mut out = [0xee; HEADER_BYTES];
            header.emit(&mut out);
            assert_eq!(out, frame[..HEADER_BYTES]);
        }
    }

    #[test]
    fn thirteen_bytes_are_not_a_header() {
        for length in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&[0; 14][..length]), Err(Error::Truncated));
        }
    }

    #[test]
    fn shown() {
        let header = Header {
            destination: [1, 0, 0x5e, 1, 1, 1],
            source: [2, 0, 0, 0, 0, 0xab],
            ethertype: Ethertype::Ipv4,
        };
        let shown = "Ethernet 02:00:00:00:00:ab to 01:00:5e:01:01:01, type 0x0800";
        assert_eq!(header.to_string(), shown);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            destination in any::<[u8; 6]>(),
            source in any::<[u8; 6]>(),
            number in prop_oneof![
                prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x88a8]),
                any::<u16>(),
            ],
        ) {
            let header = Header { destination, source, ethertype: Ethertype::from(number) };
            let mut out = [0; HEADER_BYTES];
            header.emit(&mut out);
            prop_assert_eq!(Header::parse(&out), Ok((header, &[][..])));
        }
    }
}
