//! The content of a test datagram, and how a receiver checks that it is intact.
//!
//! | bytes | what | from a size of |
//! |---|---|---|
//! | 0 | magic, `0xd7` | 16 |
//! | 1 | version, 1 | 16 |
//! | 2 to 3 | flow | 16 |
//! | 4 to 7 | checksum of everything else, and of the length | 16 |
//! | 8 to 15 | sequence number, from 0 in each flow | 16 |
//! | 16 to 23 | send time, nanoseconds of `CLOCK_REALTIME` | 32 |
//! | 24 to 31 | run: a random number of this generator process | 32 |
//! | the rest | a pattern that differs from datagram to datagram | |
//!
//! All numbers are little-endian. Below 16 bytes there is only pattern: such datagrams can be
//! counted, nothing more.

/// The least size that holds a sequence number and a checksum.
pub const SEQUENCE_SIZE_MIN: usize = 16;

/// The least size that also holds the send time and the run.
pub const FULL_SIZE_MIN: usize = 32;

/// Where a datagram belongs: sequence numbers count within one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// The generator process; 0 where the datagrams are too short to say.
    pub run: u64,
    /// The flow of that generator.
    pub flow: u16,
}

/// What a generator says of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The stream it belongs to.
    pub stream: Stream,
    /// Its number in the stream.
    pub sequence: u64,
    /// When it was sent, nanoseconds of `CLOCK_REALTIME`.
    pub sent_ns: u64,
}

/// What a received datagram turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One of ours, as it was sent.
    Intact {
        /// The stream it belongs to.
        stream: Stream,
        /// Its number in the stream.
        sequence: u64,
        /// When it was sent, if it is long enough to say.
        sent_ns: Option<u64>,
    },
    /// Too short for a header.
    Bare,
    /// It does not begin like one of ours.
    Foreign,
    /// It begins like one of ours, but the checksum is wrong.
    Corrupt,
}

/// Reads a received datagram and verifies it.
pub fn read(bytes: &[u8]) -> Content {
    if bytes.len() < SEQUENCE_SIZE_MIN {
        return Content::Bare;
    }
    let first = word(bytes, 0);
    if first as u16 != PREFIX {
        return Content::Foreign;
    }
    if (first >> 32) as u32 != seal(sum(bytes)) {
        return Content::Corrupt;
    }
    let flow = (first >> 16) as u16;
    let sequence = word(bytes, 1);
    let (run, sent_ns) = match bytes.len() >= FULL_SIZE_MIN {
        true => (word(bytes, 3), Some(word(bytes, 2))),
        false => (0, None),
    };
    Content::Intact { stream: Stream { run, flow }, sequence, sent_ns }
}

/// Datagrams of one size, side by side, filled with their patterns. Only the headers are written
/// anew for each send, and the checksum costs no second look at the pattern.
#[derive(Debug)]
pub struct Pool {
    bytes: Vec<u8>,
    /// What each datagram's pattern and length add to its checksum.
    sums: Vec<u64>,
    size: usize,
}

impl Pool {
    /// Makes `count` datagrams of `size` bytes.
    pub fn new(count: usize, size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(PATTERN_SEED);
        let mut bytes = vec![0; count * size];
        random.fill(&mut bytes);
        let mut pool = Self { bytes, sums: Vec::new(), size };
        pool.sums = (0..count)
            .map(|index| {
                let datagram = pool.datagram_mut(index);
                let header = header_bytes(size);
                datagram[..header].fill(0);
                sum(datagram)
            })
            .collect();
        pool
    }

    /// Stamps one datagram. Sizes without room for a header stay as they are.
    pub fn stamp(&mut self, index: usize, stamp: Stamp) {
        let header = header_bytes(self.size);
        let first = u64::from(PREFIX) | u64::from(stamp.stream.flow) << 16;
        let mut words = [first, stamp.sequence, stamp.sent_ns, stamp.stream.run];
        let words = &mut words[..header / WORD_BYTES];
        let Some(sum) = self.sums.get(index).map(|sum| sum.wrapping_add(weighted(words, 0))) else {
            return;
        };
        if let Some(first) = words.first_mut() {
            *first |= u64::from(seal(sum)) << 32;
        }
        let datagram = self.datagram_mut(index);
        for (place, word) in datagram.chunks_exact_mut(WORD_BYTES).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The bytes of `count` datagrams from `index` on.
    pub fn datagrams(&self, index: usize, count: usize) -> &[u8] {
        &self.bytes[index * self.size..(index + count) * self.size]
    }

    fn datagram_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.bytes[index * self.size..][..self.size]
    }
}

fn header_bytes(size: usize) -> usize {
    match size {
        FULL_SIZE_MIN.. => FULL_SIZE_MIN,
        SEQUENCE_SIZE_MIN.. => SEQUENCE_SIZE_MIN,
        _ => 0,
    }
}

/// The sum of a whole datagram, without the checksum itself.
///
/// Each word counts with an odd weight of its own, so that a change, an exchange and a shift all
/// show; being a sum, it can be made in parts.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    let whole = words.iter().zip(0u64..).fold(0u64, |sum, (word, index)| {
        sum.wrapping_add(u64::from_le_bytes(*word).wrapping_mul(weight(index)))
    });
    let mut last = [0; WORD_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    let tail = [u64::from_le_bytes(last), bytes.len() as u64];
    let checksum = word(bytes, 0) & !u64::from(u32::MAX);
    whole.wrapping_sub(checksum.wrapping_mul(weight(0))).wrapping_add(weighted(&tail, words.len()))
}

/// What `words` add to a sum when the first of them is the one at `index`.
fn weighted(words: &[u64], index: usize) -> u64 {
    words
        .iter()
        .zip(index as u64..)
        .fold(0, |sum: u64, (word, index)| sum.wrapping_add(word.wrapping_mul(weight(index))))
}

fn weight(index: u64) -> u64 {
    2 * index + 1
}

/// Spreads a sum over 32 bits: multiplied by an odd number without pattern, every bit of the sum
/// reaches the upper half.
fn seal(sum: u64) -> u32 {
    (sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// One word of a datagram, 0 where it is too short.
fn word(bytes: &[u8], index: usize) -> u64 {
    let word = bytes.get(index * WORD_BYTES..).and_then(<[u8]>::first_chunk);
    word.copied().map_or(0, u64::from_le_bytes)
}

/// Magic and version, as the first two bytes.
const PREFIX: u16 = u16::from_le_bytes([0xd7, 1]);
const WORD_BYTES: usize = size_of::<u64>();
/// Any number: the pattern need only be the same for nobody else.
const PATTERN_SEED: u64 = 0x7469_6465;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamped(size: usize, stamp: Stamp) -> Vec<u8> {
        let mut pool = Pool::new(3, size);
        pool.stamp(1, stamp);
        pool.datagrams(1, 1).to_vec()
    }

    const STAMP: Stamp = Stamp {
        stream: Stream { run: 0x1122_3344_5566_7788, flow: 0x0a0b },
        sequence: 0x0102_0304_0506_0708,
        sent_ns: 0x1112_1314_1516_1718,
    };

    #[test]
    fn the_header_is_laid_out_as_documented() {
        let bytes = stamped(40, STAMP);
        assert_eq!(bytes[..4], [0xd7, 1, 0x0b, 0x0a]);
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[16..24], [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        assert_eq!(bytes[24..32], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    }

    #[test]
    fn a_hand_written_datagram_is_intact() {
        // The prefix 0x01d7 once, the sequence number 2 three times, no rest, the length 16 seven
        // times: 589. Times 0x9e3779b97f4a7c15, bits 32 to 63 are 0x05a30fc9.
        let mut bytes = vec![0xd7, 1, 0, 0, 0xc9, 0x0f, 0xa3, 0x05];
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        let stream = Stream::default();
        assert_eq!(read(&bytes), Content::Intact { stream, sequence: 2, sent_ns: None });
    }

    #[test]
    fn patterns_differ_and_short_datagrams_are_bare() {
        let pool = Pool::new(2, 100);
        assert_ne!(pool.datagrams(0, 1)[32..], pool.datagrams(1, 1)[32..]);
        for size in 0..SEQUENCE_SIZE_MIN {
            let bytes = stamped(size, STAMP);
            assert_eq!((bytes.len(), read(&bytes)), (size, Content::Bare));
        }
        assert_eq!(read(&[0; 64]), Content::Foreign);
    }

    #[test]
    fn the_tail_of_another_datagram_is_corrupt() {
        let mut pool = Pool::new(2, 1400);
        pool.stamp(0, STAMP);
        pool.stamp(1, STAMP);
        let mut mixed = pool.datagrams(0, 1).to_vec();
        mixed[700..].copy_from_slice(&pool.datagrams(1, 1)[700..]);
        assert_eq!(read(&mixed), Content::Corrupt);
    }

    proptest! {
        #[test]
        fn what_is_stamped_is_read(
            size in SEQUENCE_SIZE_MIN..3000, run: u64, flow: u16, sequence: u64, sent_ns: u64,
        ) {
            let stamp = Stamp { stream: Stream { run, flow }, sequence, sent_ns };
            let full = size >= FULL_SIZE_MIN;
            let stream = Stream { run: if full { run } else { 0 }, flow };
            let expected = Content::Intact { stream, sequence, sent_ns: full.then_some(sent_ns) };
            prop_assert_eq!(read(&stamped(size, stamp)), expected);
        }

        #[test]
        fn a_changed_datagram_is_not_intact(
            size in SEQUENCE_SIZE_MIN..3000, at: prop::sample::Index, change in 1u8..,
        ) {
            let mut bytes = stamped(size, STAMP);
            bytes[at.index(size)] ^= change;
            prop_assert!(matches!(read(&bytes), Content::Corrupt | Content::Foreign));
        }

        #[test]
        fn a_cut_or_exchanged_datagram_is_corrupt(
            size in FULL_SIZE_MIN..3000, cut: prop::sample::Index, one: prop::sample::Index,
        ) {
            let bytes = stamped(size, STAMP);
            let length = SEQUENCE_SIZE_MIN + cut.index(size - SEQUENCE_SIZE_MIN);
            prop_assert_eq!(read(&bytes[..length]), Content::Corrupt);
            let mut words = bytes.clone();
            let (one, other) = (8 + one.index(size - 16), 8);
            words.swap(one, other);
            let same = bytes[one] == bytes[other];
            prop_assert_eq!(read(&words) != Content::Corrupt, same);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(0u8.., 0..200)) {
            let _ = read(&bytes);
        }
    }
}
