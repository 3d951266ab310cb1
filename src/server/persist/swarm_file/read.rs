//! Reading: every length is checked before it is used, and nothing is allocated by a number in
//! the file.

use std::io::{self, Read};
use std::marker::PhantomData;

use super::*;
use crate::io::Now;
use crate::tracker::store::{Record, State};
use crate::values::InfoHash;
use crate::values::info_hash::INFO_HASH_BYTES;

/// Why bytes are not a file of swarms.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The system could not read it.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// It ends too early.
    #[error("cut short")]
    Truncated,
    /// It does not begin as such a file does.
    #[error("not a file of swarms")]
    Magic,
    /// A version that is not known.
    #[error("of version {0}, where {VERSION} is known")]
    Version(u32),
    /// A checksum is wrong: some byte has changed.
    #[error("damaged: the checksum of {0} is wrong")]
    Checksum(&'static str),
    /// The bytes are as they were written, but cannot be right.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When the file was saved, in seconds since the Unix epoch.
    pub saved_at_s: u64,
}

/// How much blocks hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Entries; a large torrent may have several.
    pub entries: u64,
    /// Peers.
    pub peers: u64,
}

/// What a block holds.
#[derive(Debug)]
pub enum Block<'a> {
    /// Torrents with IPv4 peers.
    Ipv4(TorrentEntries<'a, Ipv4>),
    /// Torrents with IPv6 peers.
    Ipv6(TorrentEntries<'a, Ipv6>),
}

/// The entries of one block.
#[derive(Debug)]
pub struct TorrentEntries<'a, F> {
    /// What is left, checked to be whole entries.
    bytes: &'a [u8],
    family: PhantomData<F>,
}

/// One entry: a torrent, or a part of its peers.
#[derive(Debug)]
pub struct TorrentEntry<'a, F> {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its completed count.
    pub completed: u32,
    peers: &'a [u8],
    family: PhantomData<F>,
}

/// A peer as it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved<'a> {
    /// Address and port as the wire has them.
    endpoint: &'a [u8],
    /// Whether it had everything.
    pub seeder: bool,
    /// Whether its completed download was counted.
    pub completed: bool,
    /// Seconds from its last announce to the save.
    pub age_s: u16,
}

/// Reads a whole file: `on_header` makes something of its header, `on_block` adds each block to
/// it, and at last it is returned, once the file has ended as it must. Blocks come as they are
/// read: an error may follow them.
///
/// # Errors
/// What is wrong with the file, or what the two closures return.
pub fn scan<T, E: From<FormatError>>(
    mut from: impl Read,
    on_header: impl FnOnce(Header) -> Result<T, E>,
    mut on_block: impl FnMut(&mut T, Block<'_>) -> Result<(), E>,
) -> Result<T, E> {
    let mut head = [0; HEADER_BYTES];
    read_whole(&mut from, &mut head)?;
    let mut made = on_header(Header::parse(&head)?)?;
    let mut bytes = Vec::new();
    let mut totals = Totals::default();
    for number in 0..u32::MAX {
        let mut head = [0; BLOCK_HEAD_BYTES];
        read_whole(&mut from, &mut head)?;
        let (length, kind) = parse_head(&head, number)?;
        bytes.resize(length + CHECKSUM_BYTES, 0);
        read_whole(&mut from, &mut bytes)?;
        let held = check(&head, &bytes)?;
        match kind {
            Ipv4::KIND => {
                let entries = TorrentEntries::parse(held, &mut totals)?;
                on_block(&mut made, Block::Ipv4(entries))?
            }
            Ipv6::KIND => {
                let entries = TorrentEntries::parse(held, &mut totals)?;
                on_block(&mut made, Block::Ipv6(entries))?
            }
            _ => {
                check_end(held, totals)?;
                return match from.read(&mut [0]).map_err(FormatError::Read)? {
                    0 => Ok(made),
                    _ => Err(FormatError::Malformed("something follows the end").into()),
                };
            }
        }
    }
    Err(FormatError::Malformed("no end in sight").into())
}

impl Header {
    fn parse(header: &[u8; HEADER_BYTES]) -> Result<Self, FormatError> {
        if header[..8] != MAGIC {
            return Err(FormatError::Magic);
        }
        let version = word(&header[8..]);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        if crc32fast::hash(&header[..20]) != word(&header[20..]) {
            return Err(FormatError::Checksum("the header"));
        }
        Ok(Self { saved_at_s: long(&header[12..]) })
    }
}

impl<'a, F: SavedFamily> TorrentEntries<'a, F> {
    /// Checks that `bytes` are whole entries, and counts them.
    fn parse(bytes: &'a [u8], totals: &mut Totals) -> Result<Self, FormatError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (entry, after) = split::<F>(rest)?;
            totals.entries += 1;
            totals.peers += entry.peers().len() as u64;
            if entry.peers().any(|peer| peer.endpoint.ends_with(&[0, 0])) {
                return Err(FormatError::Malformed("a peer with port 0"));
            }
            rest = after;
        }
        Ok(Self { bytes, family: PhantomData })
    }
}

impl<'a, F: SavedFamily> Iterator for TorrentEntries<'a, F> {
    type Item = TorrentEntry<'a, F>;

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, rest) = split(self.bytes).ok()?;
        self.bytes = rest;
        Some(entry)
    }
}

/// The entry at the front, and what is behind it.
fn split<F: SavedFamily>(bytes: &[u8]) -> Result<(TorrentEntry<'_, F>, &[u8]), FormatError> {
    let cut = FormatError::Malformed("a torrent reaches past its block");
    let Some((head, rest)) = bytes.split_at_checked(TORRENT_HEAD_BYTES) else { return Err(cut) };
    let count = word(&head[INFO_HASH_BYTES + 4..]) as usize;
    if count == 0 {
        return Err(FormatError::Malformed("a torrent without peers"));
    }
    let length = count.checked_mul(peer_bytes::<F>());
    let Some((peers, rest)) = length.and_then(|length| rest.split_at_checked(length)) else {
        return Err(cut);
    };
    let mut info_hash = InfoHash::default();
    info_hash.0.copy_from_slice(&head[..INFO_HASH_BYTES]);
    let completed = word(&head[INFO_HASH_BYTES..]);
    Ok((TorrentEntry { info_hash, completed, peers, family: PhantomData }, rest))
}

impl<'a, F: SavedFamily> TorrentEntry<'a, F> {
    /// Its peers.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = Saved<'a>> + use<'a, F> {
        self.peers.chunks_exact(peer_bytes::<F>()).map(|peer| {
            let (endpoint, state) = peer.split_at(F::Record::COMPACT_BYTES);
            let state = u16::from_be_bytes([state[0], state[1]]);
            Saved {
                endpoint,
                seeder: state & SEEDER != 0,
                completed: state & COMPLETED != 0,
                age_s: state & AGE,
            }
        })
    }

    /// The records of those peers that are not older than `timeout_s` at `now`, which is
    /// `elapsed_s` after the save.
    pub fn records(
        &self,
        now: Now,
        elapsed_s: u64,
        timeout_s: u32,
    ) -> impl Iterator<Item = F::Record> + use<'a, F> {
        self.peers().filter_map(move |peer| {
            let age_s = u64::from(peer.age_s).saturating_add(elapsed_s);
            let age_s = u16::try_from(age_s).ok().filter(|age_s| u32::from(*age_s) <= timeout_s)?;
            let state = State::aged(now, age_s, peer.seeder, peer.completed);
            Some(F::Record::from_compact(peer.endpoint, state))
        })
    }
}

const fn peer_bytes<F: PeerFamily>() -> usize {
    F::Record::COMPACT_BYTES + STATE_BYTES
}

/// The length and the kind of a block that must be the `number`th.
fn parse_head(head: &[u8; BLOCK_HEAD_BYTES], number: u32) -> Result<(usize, u32), FormatError> {
    let (length, kind) = (word(head) as usize, word(&head[4..]));
    if length > BLOCK_BYTES_MAX {
        return Err(FormatError::Malformed("a block that is too long"));
    }
    if ![Ipv4::KIND, Ipv6::KIND, KIND_END].contains(&kind) {
        return Err(FormatError::Malformed("a block of no known kind"));
    }
    if word(&head[8..]) != number {
        return Err(FormatError::Malformed("blocks out of order"));
    }
    Ok((length, kind))
}

/// What the block holds, if the checksum behind it is right.
fn check<'a>(head: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let (held, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(held);
    if hasher.finalize() != word(checksum) {
        return Err(FormatError::Checksum("a block"));
    }
    Ok(held)
}

fn check_end(held: &[u8], totals: Totals) -> Result<(), FormatError> {
    if held.len() != END_BYTES {
        return Err(FormatError::Malformed("an end of another length"));
    }
    if (Totals { entries: long(held), peers: long(&held[8..]) }) != totals {
        return Err(FormatError::Malformed("not as many torrents or peers as its end says"));
    }
    Ok(())
}

fn read_whole(from: &mut impl Read, into: &mut [u8]) -> Result<(), FormatError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FormatError::Truncated,
        _ => FormatError::Read(error),
    })
}

/// The first four bytes; zeros stand for those that are missing.
fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The first eight bytes, likewise.
fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
