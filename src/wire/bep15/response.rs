//! Responses (BEP 15).
//!
//! Parsing is stricter than a client needs to be: bytes that belong to no field are an error, so
//! that the load tester and the tests notice a response that some client would refuse.
//!
//! Everything that emits writes from the start of `out` and returns the length. Nothing is written
//! past `out`: one that is too short for the message stays untouched, and the length is 0.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    ANNOUNCE_HEADER_BYTES, CONNECT_RESPONSE_BYTES, ConnectionId, Family, PEER_IPV4_BYTES,
    PEER_IPV6_BYTES, RESPONSE_HEADER_BYTES, SCRAPE_ENTRY_BYTES, TransactionId, action,
    response_field as field, scrape_field,
};
use crate::wire::bytes::{put, read};

/// A response, its lists borrowed from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// To a connect request.
    Connect {
        /// From the request.
        transaction: TransactionId,
        /// To be sent with announces and scrapes.
        connection_id: ConnectionId,
    },
    /// To an announce request.
    Announce {
        /// Transaction, interval and counts.
        header: AnnounceHeader,
        /// Other peers.
        peers: Peers<'a>,
    },
    /// To a scrape request.
    Scrape {
        /// From the request.
        transaction: TransactionId,
        /// One for each hash that was answered.
        entries: ScrapeEntries<'a>,
    },
    /// To any request.
    Error {
        /// From the request.
        transaction: TransactionId,
        /// Text, usually UTF-8.
        message: &'a [u8],
    },
}

impl<'a> Response<'a> {
    /// Reads one datagram's payload; `family` is the one it came over.
    ///
    /// # Errors
    ///
    /// [`ResponseError`], when the bytes are not exactly one response.
    pub fn parse(payload: &'a [u8], family: Family) -> Result<Self, ResponseError> {
        let Some((header, rest)) = payload.split_first_chunk::<RESPONSE_HEADER_BYTES>() else {
            return Err(ResponseError::Length(payload.len()));
        };
        let transaction = TransactionId(read(header, field::TRANSACTION));
        match u32::from_be_bytes(read(header, field::ACTION)) {
            action::CONNECT => parse_connect(payload, transaction),
            action::ANNOUNCE => parse_announce(payload, transaction, family),
            action::SCRAPE => match rest.as_chunks() {
                (entries, []) => Ok(Self::Scrape { transaction, entries: ScrapeEntries(entries) }),
                _ => Err(ResponseError::Length(payload.len())),
            },
            action::ERROR => Ok(Self::Error { transaction, message: rest }),
            unknown => Err(ResponseError::UnknownAction(unknown)),
        }
    }

    /// The transaction ID, which says what request this answers.
    pub const fn transaction(&self) -> TransactionId {
        match self {
            Self::Announce { header, .. } => header.transaction,
            Self::Connect { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

impl fmt::Display for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.transaction())?;
        match self {
            Self::Connect { connection_id, .. } => write!(f, "connection ID {connection_id}"),
            Self::Announce { header, peers } => write!(
                f,
                "interval {} s, {} seeders, {} leechers, {} peers",
                header.interval_s,
                header.seeders,
                header.leechers,
                peers.len()
            ),
            Self::Scrape { entries, .. } => write!(f, "counts of {} torrents", entries.0.len()),
            Self::Error { message, .. } => {
                write!(f, "error: {}", String::from_utf8_lossy(message).escape_debug())
            }
        }
    }
}

fn parse_connect(
    payload: &[u8],
    transaction: TransactionId,
) -> Result<Response<'_>, ResponseError> {
    if payload.len() != CONNECT_RESPONSE_BYTES {
        return Err(ResponseError::Length(payload.len()));
    }
    let connection_id = ConnectionId(u64::from_be_bytes(read(payload, field::CONNECTION_ID)));
    Ok(Response::Connect { transaction, connection_id })
}

fn parse_announce(
    payload: &[u8],
    transaction: TransactionId,
    family: Family,
) -> Result<Response<'_>, ResponseError> {
    let wrong_length = ResponseError::Length(payload.len());
    let (fixed, rest) = payload.split_first_chunk::<ANNOUNCE_HEADER_BYTES>().ok_or(wrong_length)?;
    let number = |range| u32::from_be_bytes(read(fixed, range));
    let header = AnnounceHeader {
        transaction,
        interval_s: number(field::INTERVAL),
        leechers: number(field::LEECHERS),
        seeders: number(field::SEEDERS),
    };
    Ok(Response::Announce { header, peers: Peers::parse(rest, family).ok_or(wrong_length)? })
}

/// The peers of an announce response, read where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers<'a> {
    /// Addresses of 4 bytes and ports.
    Ipv4(&'a [[u8; PEER_IPV4_BYTES]]),
    /// Addresses of 16 bytes and ports.
    Ipv6(&'a [[u8; PEER_IPV6_BYTES]]),
}

impl<'a> Peers<'a> {
    /// The peers in `bytes`; `None` when the last one is cut off.
    pub fn parse(bytes: &'a [u8], family: Family) -> Option<Self> {
        match family {
            Family::Ipv4 => Some(Self::Ipv4(whole_chunks(bytes)?)),
            Family::Ipv6 => Some(Self::Ipv6(whole_chunks(bytes)?)),
        }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::Ipv4(entries) => entries.len(),
            Self::Ipv6(entries) => entries.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The peer at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<SocketAddr> {
        match self {
            Self::Ipv4(entries) => entries.get(index).map(|entry| {
                let port = u16::from_be_bytes(read(entry, 4..6));
                SocketAddr::from((Ipv4Addr::from(read::<4>(entry, 0..4)), port))
            }),
            Self::Ipv6(entries) => entries.get(index).map(|entry| {
                let port = u16::from_be_bytes(read(entry, 16..18));
                SocketAddr::from((Ipv6Addr::from(read::<16>(entry, 0..16)), port))
            }),
        }
    }

    /// The peers in the order of the response.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> + Clone + use<'a> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// The entries of a scrape response, read where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeEntries<'a>(&'a [[u8; SCRAPE_ENTRY_BYTES]]);

impl<'a> ScrapeEntries<'a> {
    /// The entries in the order of the response.
    pub fn iter(self) -> impl ExactSizeIterator<Item = ScrapeEntry> + Clone + use<'a> {
        self.0.iter().map(|entry| {
            let number = |range| u32::from_be_bytes(read(entry, range));
            ScrapeEntry {
                seeders: number(scrape_field::SEEDERS),
                completed: number(scrape_field::COMPLETED),
                leechers: number(scrape_field::LEECHERS),
            }
        })
    }
}

fn whole_chunks<const N: usize>(bytes: &[u8]) -> Option<&[[u8; N]]> {
    let (chunks, remainder) = bytes.as_chunks();
    remainder.is_empty().then_some(chunks)
}

/// Writes a connect response: exactly 16 bytes, as some clients insist.
#[inline]
pub fn emit_connect(
    out: &mut [u8],
    transaction: TransactionId,
    connection_id: ConnectionId,
) -> usize {
    let Some(out) = out.first_chunk_mut::<CONNECT_RESPONSE_BYTES>() else { return 0 };
    emit_header(out, action::CONNECT, transaction);
    put(out, field::CONNECTION_ID, connection_id.0.to_be_bytes());
    CONNECT_RESPONSE_BYTES
}

/// The part of an announce response before its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceHeader {
    /// From the request.
    pub transaction: TransactionId,
    /// When the client should announce again, in seconds.
    pub interval_s: u32,
    /// Peers that lack something; counts the one that asks.
    pub leechers: u32,
    /// Peers that have everything; counts the one that asks.
    pub seeders: u32,
}

impl AnnounceHeader {
    /// Writes the 20 bytes; at most [`peers_max`](super::peers_max) peers go after them, each an
    /// address and a port in network order.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let Some(out) = out.first_chunk_mut::<ANNOUNCE_HEADER_BYTES>() else { return 0 };
        emit_header(out, action::ANNOUNCE, self.transaction);
        put(out, field::INTERVAL, self.interval_s.to_be_bytes());
        put(out, field::LEECHERS, self.leechers.to_be_bytes());
        put(out, field::SEEDERS, self.seeders.to_be_bytes());
        ANNOUNCE_HEADER_BYTES
    }
}

/// One torrent's counts in a scrape response; the default, zeros, stands for one that is unknown
/// or denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeEntry {
    /// Peers that have everything.
    pub seeders: u32,
    /// Downloads that were reported complete, ever.
    pub completed: u32,
    /// Peers that lack something.
    pub leechers: u32,
}

/// Writes a scrape response, entry by entry, in the order of the request's hashes.
#[derive(Debug)]
pub struct ScrapeWriter<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl<'a> ScrapeWriter<'a> {
    /// Starts a response in `out`. In one too short for the 8 bytes of the header nothing will
    /// be written, and [`ScrapeWriter::finish`] returns 0.
    #[inline]
    pub fn new(out: &'a mut [u8], transaction: TransactionId) -> Self {
        let length = emit_header(out, action::SCRAPE, transaction);
        Self { out: if length == 0 { &mut [] } else { out }, length }
    }

    /// Adds one entry.
    ///
    /// # Errors
    ///
    /// [`ResponseFull`] when it does not fit; the response is then still whole without it.
    #[inline]
    pub fn push(&mut self, entry: ScrapeEntry) -> Result<(), ResponseFull> {
        let place = self.out.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut);
        let place: &mut [u8; SCRAPE_ENTRY_BYTES] = place.ok_or(ResponseFull)?;
        put(place, scrape_field::SEEDERS, entry.seeders.to_be_bytes());
        put(place, scrape_field::COMPLETED, entry.completed.to_be_bytes());
        put(place, scrape_field::LEECHERS, entry.leechers.to_be_bytes());
        self.length += SCRAPE_ENTRY_BYTES;
        Ok(())
    }

    /// The response's length: 8 bytes and 12 for each entry.
    #[inline]
    pub fn finish(self) -> usize {
        self.length
    }
}

/// The buffer has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for another entry in the response")]
pub struct ResponseFull;

/// Writes an error response: 8 bytes and the message, without a terminator.
///
/// The message is cut, between two characters, to [`ERROR_MESSAGE_BYTES_MAX`] and to what fits
/// `out`. A caller that answers a sender whose address is not proven passes an `out` no longer
/// than the request, so that the answer amplifies nothing.
pub fn emit_error(out: &mut [u8], transaction: TransactionId, message: &str) -> usize {
    let header = emit_header(out, action::ERROR, transaction);
    if header == 0 {
        return 0;
    }
    let room = &mut out[header..];
    let limit = message.len().min(room.len()).min(ERROR_MESSAGE_BYTES_MAX);
    let end = (0..=limit).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    room[..end].copy_from_slice(&message.as_bytes()[..end]);
    header + end
}

#[inline]
fn emit_header(out: &mut [u8], action: u32, transaction: TransactionId) -> usize {
    let Some(out) = out.first_chunk_mut::<RESPONSE_HEADER_BYTES>() else { return 0 };
    put(out, field::ACTION, action.to_be_bytes());
    put(out, field::TRANSACTION, transaction.0);
    RESPONSE_HEADER_BYTES
}

/// Why a datagram is not a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not a length that the response's kind can have.
    #[error("{0} bytes do not make a response of this kind")]
    Length(usize),
    /// An action that BEP 15 does not define.
    #[error("unknown action {0}")]
    UnknownAction(u32),
}

/// With it an error response is no longer than the shortest announce, 98 bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 90;

#[cfg(test)]
mod tests;
