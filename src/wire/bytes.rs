//! What the protocol files share: copying a field out of a header.

use std::ops::Range;

/// Copies a field out of a header.
///
/// `range` is a constant as long as `N`, and `header` is known to hold it: with both known the
/// compiler leaves a single load.
#[inline]
pub(super) fn read<const N: usize>(header: &[u8], range: Range<usize>) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&header[range]);
    value
}

/// Reads a 16-bit field in network byte order, under the same conditions as [`read`].
#[inline]
pub(super) fn read_u16(header: &[u8], range: Range<usize>) -> u16 {
    u16::from_be_bytes(read(header, range))
}

/// Copies a field into a message, under the same conditions as [`read`].
#[inline]
pub(crate) fn put<const N: usize>(message: &mut [u8], range: Range<usize>, value: [u8; N]) {
    message[range].copy_from_slice(&value);
}
