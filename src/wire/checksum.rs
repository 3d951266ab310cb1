//! The Internet checksum (RFC 1071).
//!
//! The sum is kept in the byte order of this machine, which it does not depend on (RFC 1071,
//! 2 B), and in 64 bits: as 2^16 is 1 in ones-complement arithmetic, words of any multiple of
//! 16 bits may be added up and folded in the end.

/// A running ones-complement sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    sum: u64,
    /// Whether an odd number of bytes went in: the next byte is the second of its word.
    odd: bool,
}

impl Checksum {
    /// This sum with `bytes` appended. Where they are cut into pieces makes no difference.
    #[inline]
    #[must_use]
    pub fn append(self, bytes: &[u8]) -> Self {
        let part = fold_once(sum_of(bytes));
        // Bytes that start in the middle of a word are summed as if they did not; swapping the
        // two bytes of the sum moves every one of them to its place (RFC 1071, 2 B).
        let part = if self.odd { u64::from(fold(part).swap_bytes()) } else { part };
        Self { sum: fold_once(self.sum + part), odd: self.odd ^ (bytes.len() % 2 == 1) }
    }

    /// Whether the bytes, a checksum among them, are intact.
    #[inline]
    pub fn holds(self) -> bool {
        fold(self.sum) == u16::MAX
    }

    /// The checksum to put into the bytes, which hold zero in its place.
    #[inline]
    pub fn value(self) -> u16 {
        !u16::from_be(fold(self.sum))
    }
}

/// Adds up all words, the last one padded with zeros. Cannot overflow below 2^37 bytes.
#[inline]
fn sum_of(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks();
    let sum = if chunks.is_empty() { 0 } else { sum_of_chunks(chunks) };
    let (words, rest) = rest.as_chunks();
    sum + words.iter().copied().map(halves).sum::<u64>() + sum_of_rest(rest)
}

/// The bulk of the work. Independent lanes let the compiler use vector instructions; inlined
/// into larger functions it was seen to do without them, at twice the time.
#[inline(never)]
fn sum_of_chunks(chunks: &[[u8; CHUNK_BYTES]]) -> u64 {
    let mut lanes = [0; CHUNK_BYTES / 8];
    for chunk in chunks {
        let (words, _) = chunk.as_chunks();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += halves(*word);
        }
    }
    lanes.iter().sum()
}

/// Adds up the words of fewer than eight bytes.
#[inline]
fn sum_of_rest(mut rest: &[u8]) -> u64 {
    let mut sum = 0;
    if let Some((word, after)) = rest.split_first_chunk() {
        sum += u64::from(u32::from_ne_bytes(*word));
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk() {
        sum += u64::from(u16::from_ne_bytes(*word));
        rest = after;
    }
    match rest {
        [last, ..] => sum + u64::from(u16::from_ne_bytes([*last, 0])),
        [] => sum,
    }
}

/// The sum of the two halves of eight bytes.
#[inline]
fn halves(word: [u8; 8]) -> u64 {
    fold_once(u64::from_ne_bytes(word))
}

/// The same sum in 33 bits.
#[inline]
fn fold_once(sum: u64) -> u64 {
    (sum & u64::from(u32::MAX)) + (sum >> 32)
}

/// The same sum in 16 bits. Only a sum of 0 folds to 0.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = fold_once(sum);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// What one pass of the inner loop takes.
const CHUNK_BYTES: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071's definition, word by word.
    pub(in crate::wire) fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn golden_rfc_1071() {
        // Section 3: the sum of these is ddf2.
        let sum = Checksum::default().append(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.value(), !0xddf2);
    }

    #[test]
    fn golden_ipv4_header() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert!(Checksum::default().append(&header).holds());
        let mut blank = header;
        blank[10..12].fill(0);
        assert_eq!(Checksum::default().append(&blank).value(), 0xb861);
        assert!(!Checksum::default().append(&blank).holds());
    }

    #[test]
    fn nothing_does_not_hold() {
        assert!(!Checksum::default().holds());
        assert!(!Checksum::default().append(&[0; 100]).holds());
        assert_eq!(Checksum::default().value(), 0xffff);
    }

    #[test]
    fn the_largest_sum_does_not_overflow() {
        for length in [1, 2, 63, 64, 65, 65_535, 1 << 20] {
            let bytes = vec![0xff; length];
            assert_eq!(Checksum::default().append(&bytes).value(), naive(&bytes), "{length}");
        }
    }

    #[test]
    fn every_length_at_every_alignment() {
        let bytes: Vec<u8> = (0..400_u32).map(|i| (i * i * 31 + 7) as u8).collect();
        for start in 0..64 {
            for end in start..start + 200 {
                let piece = &bytes[start..end];
                assert_eq!(
                    Checksum::default().append(piece).value(),
                    naive(piece),
                    "{start}..{end}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            start in 0_usize..16,
        ) {
            let piece = &bytes[start.min(bytes.len())..];
            prop_assert_eq!(Checksum::default().append(piece).value(), naive(piece));
        }

        #[test]
        fn pieces_add_up_wherever_they_are_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..12),
        ) {
            let sum = pieces.iter().fold(Checksum::default(), |sum, piece| sum.append(piece));
            prop_assert_eq!(sum.value(), naive(&pieces.concat()));
        }
    }
}
