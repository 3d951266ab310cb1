//! Requests (BEP 15).
//!
//! Parsing gives views of the datagram, nothing copied until asked for. Bytes past the layout are
//! always accepted: BEP 41 appends options, and later documents may append more. What is too
//! short, of an unknown action or without the magic is an error, and stays unanswered.
//!
//! Everything that emits writes from the start of `out` and returns the length. Nothing is written
//! past `out`: one that is too short for the message stays untouched, and the length is 0.

use std::fmt;

use super::{
    ANNOUNCE_REQUEST_BYTES, ConnectionId, MAGIC, REQUEST_HEADER_BYTES, TransactionId, action,
    request_field as field,
};
use crate::values::info_hash::{INFO_HASH_BYTES, InfoHash};
use crate::wire::bytes::{put, read};

/// A well-formed request, borrowed from the datagram.
///
/// Well-formed is all it is: whether the connection ID holds is for the caller to check before
/// it acts on an announce or a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Asks for a connection ID.
    Connect(Connect),
    /// Announces a peer of one torrent.
    Announce(AnnounceView<'a>),
    /// Asks for the counts of one torrent or more.
    Scrape(Scrape<'a>),
}

impl<'a> Request<'a> {
    /// Reads one datagram's payload. The action field alone says which request it is.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; never answered, only counted.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, RequestError> {
        let Some((header, rest)) = payload.split_first_chunk::<REQUEST_HEADER_BYTES>() else {
            return Err(RequestError::TooShort);
        };
        match u32::from_be_bytes(read(header, field::ACTION)) {
            action::CONNECT => Connect::parse(header).map(Self::Connect),
            action::ANNOUNCE => AnnounceView::parse(payload).map(Self::Announce),
            action::SCRAPE => Scrape::parse(header, rest).map(Self::Scrape),
            _ => Err(RequestError::UnknownAction),
        }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(connect) => write!(f, "{}: connect", connect.transaction),
            Self::Announce(announce) => write!(
                f,
                "{}: announce {}, {:?}, {} bytes left, port {}",
                announce.transaction(),
                announce.info_hash(),
                announce.event(),
                announce.left(),
                announce.port()
            ),
            Self::Scrape(scrape) => {
                write!(f, "{}: scrape {} torrents", scrape.transaction, scrape.count())
            }
        }
    }
}

/// A connect request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// To be echoed.
    pub transaction: TransactionId,
}

impl Connect {
    fn parse(header: &[u8; REQUEST_HEADER_BYTES]) -> Result<Self, RequestError> {
        if u64::from_be_bytes(read(header, field::MAGIC)) != MAGIC {
            return Err(RequestError::BadMagic);
        }
        Ok(Self { transaction: TransactionId(read(header, field::TRANSACTION)) })
    }
}

/// An announce request; each field is read where it lies when it is asked for.
///
/// There is no accessor for the `IP` field: a peer's address is the packet's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceView<'a> {
    fixed: &'a [u8; ANNOUNCE_REQUEST_BYTES],
    options: &'a [u8],
}

impl<'a> AnnounceView<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, RequestError> {
        let (fixed, options) = payload.split_first_chunk().ok_or(RequestError::TooShort)?;
        Ok(Self { fixed, options })
    }

    /// The connection ID, not yet checked.
    #[inline]
    pub fn connection_id(&self) -> ConnectionId {
        ConnectionId(u64::from_be_bytes(read(self.fixed, field::CONNECTION_ID)))
    }

    /// To be echoed.
    #[inline]
    pub fn transaction(&self) -> TransactionId {
        TransactionId(read(self.fixed, field::TRANSACTION))
    }

    /// The torrent.
    #[inline]
    pub fn info_hash(&self) -> InfoHash {
        InfoHash(read(self.fixed, field::INFO_HASH))
    }

    /// The client's name for itself (BEP 20); not trusted and not stored.
    #[inline]
    pub fn peer_id(&self) -> [u8; 20] {
        read(self.fixed, field::PEER_ID)
    }

    /// Bytes downloaded, as the client says.
    #[inline]
    pub fn downloaded(&self) -> u64 {
        u64::from_be_bytes(read(self.fixed, field::DOWNLOADED))
    }

    /// Bytes that are missing, as the client says; 0 makes it a seeder.
    #[inline]
    pub fn left(&self) -> u64 {
        u64::from_be_bytes(read(self.fixed, field::LEFT))
    }

    /// Bytes uploaded, as the client says.
    #[inline]
    pub fn uploaded(&self) -> u64 {
        u64::from_be_bytes(read(self.fixed, field::UPLOADED))
    }

    /// Why the client announces.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_code(u32::from_be_bytes(read(self.fixed, field::EVENT)))
    }

    /// The client's random number, which stays with it when its address changes.
    #[inline]
    pub fn key(&self) -> u32 {
        u32::from_be_bytes(read(self.fixed, field::KEY))
    }

    /// The number of peers wanted, as sent; see [`AnnounceView::wanted`].
    #[inline]
    pub fn numwant(&self) -> i32 {
        i32::from_be_bytes(read(self.fixed, field::NUMWANT))
    }

    /// How many peers the client wants, 0 and 1 included; `None` when it leaves the number to the
    /// tracker, with any negative number (0xFFFFFFFF is -1).
    #[inline]
    pub fn wanted(&self) -> Option<usize> {
        usize::try_from(self.numwant()).ok()
    }

    /// The port the peer listens on; 0 means that it cannot be reached.
    #[inline]
    pub fn port(&self) -> u16 {
        u16::from_be_bytes(read(self.fixed, field::PORT))
    }

    /// What follows the fixed part: BEP 41 options such as the announce URL's path, unread.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.options
    }
}

/// Why a client announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// At the interval, or anything this tracker does not know, such as BEP 21's `paused`.
    None,
    /// The download has just become complete.
    Completed,
    /// The client has just begun.
    Started,
    /// The client leaves.
    Stopped,
}

impl Event {
    /// What partial seeds send (BEP 21); read as [`Event::None`].
    pub const PAUSED_CODE: u32 = 4;

    /// The event with this code; those without a meaning here are [`Event::None`].
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Completed,
            2 => Self::Started,
            3 => Self::Stopped,
            _ => Self::None,
        }
    }

    /// The code on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Completed => 1,
            Self::Started => 2,
            Self::Stopped => 3,
        }
    }
}

/// A scrape request for at least one torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrape<'a> {
    /// The connection ID, not yet checked.
    pub connection_id: ConnectionId,
    /// To be echoed.
    pub transaction: TransactionId,
    hashes: &'a [[u8; INFO_HASH_BYTES]],
}

impl<'a> Scrape<'a> {
    fn parse(header: &[u8; REQUEST_HEADER_BYTES], rest: &'a [u8]) -> Result<Self, RequestError> {
        // A partial hash at the end is ignored, like any bytes past a request's layout.
        let (hashes, _) = rest.as_chunks();
        if hashes.is_empty() {
            return Err(RequestError::ScrapeWithoutHash);
        }
        Ok(Self {
            connection_id: ConnectionId(u64::from_be_bytes(read(header, field::CONNECTION_ID))),
            transaction: TransactionId(read(header, field::TRANSACTION)),
            hashes,
        })
    }

    /// The torrents asked for, in order, repetitions included. The caller bounds how many of
    /// them it answers.
    #[inline]
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = InfoHash> + Clone + use<'a> {
        self.hashes.iter().map(|bytes| InfoHash(*bytes))
    }

    /// How many torrents are asked for: at least 1.
    #[inline]
    pub fn count(&self) -> usize {
        self.hashes.len()
    }
}

/// Writes a connect request: 16 bytes.
pub fn emit_connect(out: &mut [u8], transaction: TransactionId) -> usize {
    emit_header(out, MAGIC, action::CONNECT, transaction)
}

/// Everything in an announce request, options apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// From a connect response.
    pub connection_id: ConnectionId,
    /// Comes back in the response.
    pub transaction: TransactionId,
    /// The torrent.
    pub info_hash: InfoHash,
    /// The client's name for itself (BEP 20).
    pub peer_id: [u8; 20],
    /// Bytes downloaded.
    pub downloaded: u64,
    /// Bytes missing; 0 for a seeder.
    pub left: u64,
    /// Bytes uploaded.
    pub uploaded: u64,
    /// [`Event::code`], or any other number.
    pub event_code: u32,
    /// An IPv4 address to claim; 0 for the packet's own.
    pub ip: u32,
    /// A random number of the client's.
    pub key: u32,
    /// Peers wanted; -1 leaves the number to the tracker.
    pub numwant: i32,
    /// The port the client listens on.
    pub port: u16,
}

impl AnnounceRequest {
    /// Writes the request: 98 bytes. BEP 41 options, if any, go after them.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let Some(out) = out.first_chunk_mut::<ANNOUNCE_REQUEST_BYTES>() else { return 0 };
        emit_header(out, self.connection_id.0, action::ANNOUNCE, self.transaction);
        put(out, field::INFO_HASH, self.info_hash.0);
        put(out, field::PEER_ID, self.peer_id);
        put(out, field::DOWNLOADED, self.downloaded.to_be_bytes());
        put(out, field::LEFT, self.left.to_be_bytes());
        put(out, field::UPLOADED, self.uploaded.to_be_bytes());
        put(out, field::EVENT, self.event_code.to_be_bytes());
        put(out, field::IP, self.ip.to_be_bytes());
        put(out, field::KEY, self.key.to_be_bytes());
        put(out, field::NUMWANT, self.numwant.to_be_bytes());
        put(out, field::PORT, self.port.to_be_bytes());
        ANNOUNCE_REQUEST_BYTES
    }
}

/// Writes a scrape request for as many of the hashes as fit `out`: 16 + 20n bytes.
pub fn emit_scrape(
    out: &mut [u8],
    connection_id: ConnectionId,
    transaction: TransactionId,
    hashes: impl IntoIterator<Item = InfoHash>,
) -> usize {
    let header = emit_header(out, connection_id.0, action::SCRAPE, transaction);
    if header == 0 {
        return 0;
    }
    let (places, _) = out[header..].as_chunks_mut::<INFO_HASH_BYTES>();
    let written = places.iter_mut().zip(hashes).map(|(place, hash)| *place = hash.0).count();
    header + written * INFO_HASH_BYTES
}

fn emit_header(out: &mut [u8], first: u64, action: u32, transaction: TransactionId) -> usize {
    let Some(out) = out.first_chunk_mut::<REQUEST_HEADER_BYTES>() else { return 0 };
    put(out, field::CONNECTION_ID, first.to_be_bytes());
    put(out, field::ACTION, action.to_be_bytes());
    put(out, field::TRANSACTION, transaction.0);
    REQUEST_HEADER_BYTES
}

/// Why a datagram is not a request.
///
/// None of these may be answered. The sender has shown no connection ID, so its address may be
/// forged, and an answer would be reflected at whoever owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// Shorter than 16 bytes, or an announce of less than 98.
    #[error("shorter than its action requires")]
    TooShort,
    /// Action 0 without [`MAGIC`].
    #[error("a connect request without the protocol's magic number")]
    BadMagic,
    /// An action other than connect, announce and scrape.
    #[error("an action that the protocol does not define for requests")]
    UnknownAction,
    /// A scrape without one whole info hash.
    #[error("a scrape that asks for no torrent")]
    ScrapeWithoutHash,
}

#[cfg(test)]
mod tests;
