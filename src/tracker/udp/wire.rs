//! Where each field of BEP 15's messages lies, and how it is copied in and out.
//!
//! Every integer is big-endian. The ranges are shared by the readers and the writers of both
//! directions; the golden messages in the tests are written out by hand and do not use them.

use std::fmt;
use std::ops::Range;

pub use crate::wire::info_hash::INFO_HASH_BYTES;

/// What a client puts into a request to recognise the answer: echoed, never interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TransactionId(pub [u8; 4]);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// Copies a field out of a message.
///
/// `range` is one of the constants below, as long as `N`, and the caller has checked that the
/// message is long enough: with both known the compiler leaves a single load.
#[inline]
pub(crate) fn read<const N: usize>(message: &[u8], range: Range<usize>) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&message[range]);
    value
}

/// Copies a field into a message, under the same conditions as [`read`].
#[inline]
pub(crate) fn put<const N: usize>(message: &mut [u8], range: Range<usize>, value: [u8; N]) {
    message[range].copy_from_slice(&value);
}

/// The fixed number that opens a connect request and marks it as this protocol.
pub const MAGIC: u64 = 0x0417_2710_1980;

/// The values of the action field.
pub mod action {
    /// Asks for, or carries, a connection ID.
    pub const CONNECT: u32 = 0;
    /// Adds, refreshes or removes a peer, and lists others.
    pub const ANNOUNCE: u32 = 1;
    /// Asks for a torrent's counts, or carries them.
    pub const SCRAPE: u32 = 2;
    /// Carries an error message; only ever a response.
    pub const ERROR: u32 = 3;
}

/// Fields of requests: byte ranges from the start of the datagram.
pub mod request_field {
    use std::ops::Range;

    /// u64: [`super::MAGIC`]; connect requests only.
    pub const MAGIC: Range<usize> = 0..8;
    /// u64: the connection ID; announce and scrape.
    pub const CONNECTION_ID: Range<usize> = 0..8;
    /// u32: one of [`super::action`].
    pub const ACTION: Range<usize> = 8..12;
    /// 4 opaque bytes.
    pub const TRANSACTION: Range<usize> = 12..16;
    /// 20 bytes: the info hash of an announce, and the first one of a scrape.
    pub const INFO_HASH: Range<usize> = 16..36;
    /// 20 bytes.
    pub const PEER_ID: Range<usize> = 36..56;
    /// u64, bytes.
    pub const DOWNLOADED: Range<usize> = 56..64;
    /// u64, bytes.
    pub const LEFT: Range<usize> = 64..72;
    /// u64, bytes.
    pub const UPLOADED: Range<usize> = 72..80;
    /// u32: the event's code.
    pub const EVENT: Range<usize> = 80..84;
    /// IPv4 address the client claims; ignored by this tracker.
    pub const IP: Range<usize> = 84..88;
    /// u32: the client's own random number.
    pub const KEY: Range<usize> = 88..92;
    /// i32: peers wanted; negative leaves the number to the tracker.
    pub const NUMWANT: Range<usize> = 92..96;
    /// u16: the port the client listens on.
    pub const PORT: Range<usize> = 96..98;
}

/// Fields of responses: byte ranges from the start of the datagram.
pub mod response_field {
    use std::ops::Range;

    /// u32: one of [`super::action`].
    pub const ACTION: Range<usize> = 0..4;
    /// 4 opaque bytes, as in the request.
    pub const TRANSACTION: Range<usize> = 4..8;
    /// u64; connect responses.
    pub const CONNECTION_ID: Range<usize> = 8..16;
    /// u32, seconds; announce responses, like the two that follow.
    pub const INTERVAL: Range<usize> = 8..12;
    /// u32.
    pub const LEECHERS: Range<usize> = 12..16;
    /// u32.
    pub const SEEDERS: Range<usize> = 16..20;
}

/// Fields of one entry of a scrape response: byte ranges from the start of the entry.
pub mod scrape_field {
    use std::ops::Range;

    /// u32.
    pub const SEEDERS: Range<usize> = 0..4;
    /// u32.
    pub const COMPLETED: Range<usize> = 4..8;
    /// u32.
    pub const LEECHERS: Range<usize> = 8..12;
}

/// A connect request, and the connection ID, action and transaction ID that open the others.
pub const REQUEST_HEADER_BYTES: usize = 16;
/// An announce request before its BEP 41 options.
pub const ANNOUNCE_REQUEST_BYTES: usize = 98;
/// The action and transaction ID that open every response.
pub const RESPONSE_HEADER_BYTES: usize = 8;
/// A connect response, exactly: Transmission and aria2 refuse any other length.
pub const CONNECT_RESPONSE_BYTES: usize = 16;
/// An announce response before its peers.
pub const ANNOUNCE_HEADER_BYTES: usize = 20;
/// One entry of a scrape response: seeders, completed, leechers.
pub const SCRAPE_ENTRY_BYTES: usize = 12;
