//! What the relay makes of headers: the drop reason for each error of the formats in `wire`, and
//! where UDP begins behind the extension headers of IPv6.

use super::stats::RelayDrop;
use crate::wire::ipv6::Walked;
use crate::wire::{ethernet, ipv4, ipv6, udp};

impl From<ethernet::Error> for RelayDrop {
    #[inline]
    fn from(error: ethernet::Error) -> Self {
        match error {
            ethernet::Error::Truncated => Self::Malformed,
        }
    }
}

impl From<ipv4::Error> for RelayDrop {
    #[inline]
    fn from(error: ipv4::Error) -> Self {
        use ipv4::Error::{Lengths, Truncated, Version};
        match error {
            Truncated | Version(_) | Lengths => Self::Malformed,
        }
    }
}

impl From<ipv6::Error> for RelayDrop {
    #[inline]
    fn from(error: ipv6::Error) -> Self {
        use ipv6::Error::{
            ExtensionTruncated, PayloadLength, TooManyExtensions, Truncated, Version,
        };
        match error {
            Truncated | Version(_) | PayloadLength | ExtensionTruncated | TooManyExtensions => {
                Self::Malformed
            }
        }
    }
}

impl From<udp::Error> for RelayDrop {
    #[inline]
    fn from(error: udp::Error) -> Self {
        match error {
            udp::Error::Truncated => Self::Malformed,
        }
    }
}

/// How many bytes of extension headers stand before the UDP header in `payload`, of which `first`
/// is the first.
///
/// # Errors
///
/// [`RelayDrop::NotUdp`] for another protocol, [`RelayDrop::Fragment`] for a piece of a packet,
/// [`RelayDrop::Malformed`] when an extension header is cut short or there are more than
/// [`ipv6::EXTENSIONS_MAX`].
#[inline]
pub(super) fn extension_bytes(first: u8, payload: &[u8]) -> Result<usize, RelayDrop> {
    match first {
        udp::PROTOCOL => Ok(0),
        first => walk_to_udp(first, payload),
    }
}

#[cold]
fn walk_to_udp(first: u8, payload: &[u8]) -> Result<usize, RelayDrop> {
    match ipv6::walk(first, payload)? {
        Walked::Upper { protocol: udp::PROTOCOL, offset } if offset <= payload.len() => Ok(offset),
        Walked::Upper { protocol: udp::PROTOCOL, .. } => Err(RelayDrop::Malformed),
        Walked::Upper { .. } => Err(RelayDrop::NotUdp),
        Walked::Fragment { .. } => Err(RelayDrop::Fragment),
    }
}

/// The header that makes a packet a fragment, and how many bytes of `payload` it and the extension
/// headers before it take. `first` is the first of these.
///
/// # Errors
///
/// [`RelayDrop::Fragment`] when there is none, otherwise as for [`extension_bytes`].
pub(super) fn fragment_header(
    first: u8,
    payload: &[u8],
) -> Result<(ipv6::FragmentHeader, usize), RelayDrop> {
    match ipv6::walk(first, payload)? {
        Walked::Fragment { header, offset } => Ok((header, offset)),
        Walked::Upper { protocol: udp::PROTOCOL, offset } if offset > payload.len() => {
            Err(RelayDrop::Malformed)
        }
        Walked::Upper { protocol: udp::PROTOCOL, .. } => Err(RelayDrop::Fragment),
        Walked::Upper { .. } => Err(RelayDrop::NotUdp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Destination options of eight bytes.
    fn options(next: u8) -> [u8; 8] {
        [next, 0, 1, 4, 0, 0, 0, 0]
    }

    #[test]
    fn udp_behind_extension_headers() {
        assert_eq!(extension_bytes(17, &[]), Ok(0));
        assert_eq!(extension_bytes(60, &options(17)), Ok(8));
        for length in 0..8 {
            let cut = &options(17)[..length];
            assert_eq!(extension_bytes(60, cut), Err(RelayDrop::Malformed), "{length}");
        }
        let too_long = [17, 1, 1, 4, 0, 0, 0, 0];
        assert_eq!(extension_bytes(60, &too_long), Err(RelayDrop::Malformed));
        let too_many = options(60).repeat(ipv6::EXTENSIONS_MAX + 1);
        assert_eq!(extension_bytes(60, &too_many), Err(RelayDrop::Malformed));
    }

    #[test]
    fn fragments() {
        let first = [17, 0, 0, 1, 0, 0, 0, 9];
        let middle = [17, 0, 5, 0xa9, 0, 0, 0, 9];
        let last = [17, 0, 0, 8, 0, 0, 0, 9];
        for fragment in [first, middle, last] {
            assert_eq!(extension_bytes(44, &fragment), Err(RelayDrop::Fragment));
            let (header, taken) = fragment_header(44, &fragment).unwrap();
            assert_eq!((header.identification, taken), (9, 8));
        }
        let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(extension_bytes(44, &atomic), Ok(8));
        assert_eq!(fragment_header(44, &atomic), Err(RelayDrop::Fragment));
        assert_eq!(fragment_header(44, &first[..7]), Err(RelayDrop::Malformed));
        assert_eq!(fragment_header(60, &[17, 1, 1, 4, 0, 0, 0, 0]), Err(RelayDrop::Malformed));
        assert_eq!(fragment_header(6, &first), Err(RelayDrop::NotUdp));
    }

    #[test]
    fn other_protocols() {
        for protocol in [6, 58, 59, 50, 51, 135, 255] {
            assert_eq!(extension_bytes(protocol, &[]), Err(RelayDrop::NotUdp), "{protocol}");
            assert_eq!(extension_bytes(0, &options(protocol)), Err(RelayDrop::NotUdp));
        }
    }
}
