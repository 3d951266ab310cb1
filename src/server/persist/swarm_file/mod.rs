//! The file that swarms are saved in.
//!
//! All numbers are big-endian. A file is a header, blocks of torrents, and an end block:
//!
//! ```text
//! header, 24 bytes
//!   0:8   "RTSWARMS"
//!   8:4   version, 1
//!  12:8   when it was saved: seconds since the Unix epoch
//!  20:4   CRC-32 of the 20 bytes before
//!
//! block
//!   0:4   n, the length of what it holds, at most 1 MiB
//!   4:4   what that is: 4 for IPv4 torrents, 6 for IPv6 torrents, 0 for the end
//!   8:4   the block's number, counted from 0
//!  12:n   torrents, one after the other, or the end
//!   n:4   CRC-32 of everything before in this block
//!
//! torrent
//!   0:20  info hash
//!  20:4   completed count
//!  24:4   number of peers, at least 1
//!  28:    peers: address of 4 or 16 bytes, port, and 16 bits of state: seeder, its completed
//!         download was counted, and 14 bits of seconds from the last announce to the save
//!
//! end, 16 bytes
//!   0:8   torrent entries in all blocks
//!   8:8   peers in all blocks
//! ```
//!
//! A large torrent may have several entries. Nothing stands behind the end block, so a file that
//! was cut short is noticed wherever it was cut.

mod read;
mod write;

pub use read::{Block, FormatError, Header, Saved, TorrentEntries, TorrentEntry, scan};
pub use write::{SwarmWriter, header};

use crate::tracker::store::{Ipv4, Ipv6, PeerFamily};

/// A family as the file tells it.
pub trait SavedFamily: PeerFamily {
    /// The second word of a block of its torrents.
    const KIND: u32;
}

impl SavedFamily for Ipv4 {
    const KIND: u32 = 4;
}

impl SavedFamily for Ipv6 {
    const KIND: u32 = 6;
}

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RTSWARMS";
const HEADER_BYTES: usize = 24;
const BLOCK_HEAD_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
const KIND_END: u32 = 0;
const END_BYTES: usize = 16;
/// Info hash, completed count, number of peers.
const TORRENT_HEAD_BYTES: usize = 28;
/// Behind address and port of each peer.
const STATE_BYTES: usize = 2;
/// The most that a block holds, so that a reader's memory is bounded.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// The most peers in one entry; a torrent with more has several.
const ENTRY_PEERS_MAX: usize = 16_384;
const SEEDER: u16 = 1 << 15;
const COMPLETED: u16 = 1 << 14;
const AGE: u16 = COMPLETED - 1;

#[cfg(test)]
mod tests;
