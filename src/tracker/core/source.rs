//! Who sends: an IPv4 address, or the /64 of an IPv6 address, within which hosts change addresses
//! as they like.

use std::net::IpAddr;

/// An IPv4 address or an IPv6 /64. An IPv4-mapped IPv6 address is the IPv4 address.
///
/// Everything that is for a client and not for one of its ports goes by this: connection IDs and
/// limits per source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source([u8; Self::BYTES]);

impl Source {
    /// The length of [`Self::bytes`].
    pub const BYTES: usize = 9;

    /// The source that `address` belongs to.
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                [a, b, c, d, 0, 0, 0, 0, 4]
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                [a, b, c, d, e, f, g, h, 6]
            }
        })
    }

    /// The 8 bytes of the /64, or the 4 of the IPv4 address and 4 zero bytes, then 6 or 4.
    #[inline]
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_or_a_prefix_of_64_bits() {
        assert_eq!(source("192.0.2.1").bytes(), [192, 0, 2, 1, 0, 0, 0, 0, 4]);
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:1:2::7").bytes(), [0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 6]);
        assert_eq!(source("2001:db8:1:2::7"), source("2001:db8:1:2:ffff::"));
        assert_ne!(source("2001:db8:1:2::7"), source("2001:db8:1:3::7"));
        // The /64 that begins with the bytes of an IPv4 address is another source.
        assert_ne!(source("c000:201::"), source("192.0.2.1"));
    }
}
