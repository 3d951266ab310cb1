//! The 20 bytes that name a torrent.

/// A torrent's info hash: SHA-1 of its info dictionary, or the first 20 bytes of the SHA-256 of
/// a version 2 torrent (BEP 52).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);
