//! Requests as they arrive (BEP 15): views of the datagram, nothing copied until asked for.
//!
//! Bytes past the layout are always accepted: BEP 41 appends options, and later documents may
//! append more. What is too short, of an unknown action or without the magic is an error, and
//! stays unanswered.

use super::connection_id::ConnectionId;
use super::wire::{
    ANNOUNCE_REQUEST_BYTES, INFO_HASH_BYTES, MAGIC, REQUEST_HEADER_BYTES, TransactionId, action,
    read, request_field as field,
};
use crate::telemetry::DropReason;
use crate::tracker::store;
use crate::wire::InfoHash;

/// A well-formed request, borrowed from the datagram.
///
/// Well-formed is all it is: whether the connection ID holds is for the caller to check before
/// it acts on an announce or a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Asks for a connection ID.
    Connect(Connect),
    /// Announces a peer of one torrent.
    Announce(Announce<'a>),
    /// Asks for the counts of one torrent or more.
    Scrape(Scrape<'a>),
}

impl<'a> Request<'a> {
    /// Reads one datagram's payload. The action field alone says which request it is.
    ///
    /// # Errors
    ///
    /// [`ParseError`]; never answered, only counted.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let Some((header, rest)) = payload.split_first_chunk::<REQUEST_HEADER_BYTES>() else {
            return Err(ParseError::TooShort);
        };
        match u32::from_be_bytes(read(header, field::ACTION)) {
            action::CONNECT => Connect::parse(header).map(Self::Connect),
            action::ANNOUNCE => Announce::parse(payload).map(Self::Announce),
            action::SCRAPE => Scrape::parse(header, rest).map(Self::Scrape),
            _ => Err(ParseError::UnknownAction),
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
    fn parse(header: &[u8; REQUEST_HEADER_BYTES]) -> Result<Self, ParseError> {
        if u64::from_be_bytes(read(header, field::MAGIC)) != MAGIC {
            return Err(ParseError::BadMagic);
        }
        Ok(Self { transaction: TransactionId(read(header, field::TRANSACTION)) })
    }
}

/// An announce request; each field is read where it lies when it is asked for.
///
/// There is no accessor for the `IP` field: a peer's address is the packet's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    fixed: &'a [u8; ANNOUNCE_REQUEST_BYTES],
    options: &'a [u8],
}

impl<'a> Announce<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let (fixed, options) = payload.split_first_chunk().ok_or(ParseError::TooShort)?;
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

    /// The number of peers wanted, as sent; see [`Announce::peers_wanted`].
    #[inline]
    pub fn numwant(&self) -> i32 {
        i32::from_be_bytes(read(self.fixed, field::NUMWANT))
    }

    /// How many peers to answer with, at most: `default` when the client sent a negative number
    /// (0xFFFFFFFF is -1), otherwise what it asked for, 0 and 1 included. Never above `max`.
    #[inline]
    pub fn peers_wanted(&self, default: usize, max: usize) -> usize {
        usize::try_from(self.numwant()).unwrap_or(default).min(max)
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

impl From<Event> for store::Event {
    fn from(event: Event) -> Self {
        match event {
            Event::None => Self::None,
            Event::Completed => Self::Completed,
            Event::Started => Self::Started,
            Event::Stopped => Self::Stopped,
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
    fn parse(header: &[u8; REQUEST_HEADER_BYTES], rest: &'a [u8]) -> Result<Self, ParseError> {
        // A partial hash at the end is ignored, like any bytes past a request's layout.
        let (hashes, _) = rest.as_chunks();
        if hashes.is_empty() {
            return Err(ParseError::ScrapeWithoutHash);
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

/// Why a datagram is not a request.
///
/// None of these may be answered. The sender has shown no connection ID, so its address may be
/// forged, and an answer would be reflected at whoever owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
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

impl ParseError {
    /// What the drop is counted as.
    pub const fn reason(self) -> DropReason {
        match self {
            Self::TooShort => DropReason::TooShort,
            Self::BadMagic => DropReason::BadMagic,
            Self::UnknownAction => DropReason::UnknownAction,
            Self::ScrapeWithoutHash => DropReason::ScrapeWithoutHash,
        }
    }

    /// Whether the sender may get an error response: never, as its address is not proven.
    pub const fn answer_permitted(self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
