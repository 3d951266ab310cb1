//! Writers of responses (BEP 15), and how large a response may be.
//!
//! Each writes from the start of `out` and returns the length. None writes past `out`: one that
//! is too short for the message stays untouched, and the length returned is 0.

use std::net::IpAddr;

use super::connection_id::ConnectionId;
pub use super::wire::{
    ANNOUNCE_HEADER_BYTES, CONNECT_RESPONSE_BYTES, RESPONSE_HEADER_BYTES, SCRAPE_ENTRY_BYTES,
};
use super::wire::{TransactionId, action, put, response_field as field, scrape_field};
use crate::io::REPLY_BYTES_MAX;

/// The kind of address a client has, which decides the layout and the number of peers it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// BEP 15's original layout.
    Ipv4,
    /// The layout of BEP 15 for packets over IPv6.
    Ipv6,
}

impl Family {
    /// The family of a source address; an IPv4-mapped IPv6 address is IPv4, as its packets are.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The size of one peer in an announce response.
    pub const fn peer_bytes(self) -> usize {
        match self {
            Self::Ipv4 => PEER_IPV4_BYTES,
            Self::Ipv6 => PEER_IPV6_BYTES,
        }
    }

    /// The largest response that leaves Ethernet unfragmented, in bytes of UDP payload.
    pub const fn reply_bytes_max(self) -> usize {
        match self {
            Self::Ipv4 => REPLY_BYTES_MAX,
            Self::Ipv6 => REPLY_BYTES_MAX_IPV6,
        }
    }
}

/// How many peers an announce response can hold and stay in one unfragmented datagram: 242 over
/// IPv4, 79 over IPv6.
pub const fn peers_max(family: Family) -> usize {
    (family.reply_bytes_max() - ANNOUNCE_HEADER_BYTES) / family.peer_bytes()
}

/// Writes a connect response: exactly 16 bytes, as some clients insist.
#[inline]
pub fn write_connect(
    out: &mut [u8],
    transaction: TransactionId,
    connection_id: ConnectionId,
) -> usize {
    let Some(out) = out.first_chunk_mut::<CONNECT_RESPONSE_BYTES>() else { return 0 };
    write_header(out, action::CONNECT, transaction);
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
    /// Writes the 20 bytes; at most [`peers_max`] peers go after them, each an address and a port
    /// in network order.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(out) = out.first_chunk_mut::<ANNOUNCE_HEADER_BYTES>() else { return 0 };
        write_header(out, action::ANNOUNCE, self.transaction);
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
        let length = write_header(out, action::SCRAPE, transaction);
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
pub fn write_error(out: &mut [u8], transaction: TransactionId, message: &str) -> usize {
    let header = write_header(out, action::ERROR, transaction);
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
fn write_header(out: &mut [u8], action: u32, transaction: TransactionId) -> usize {
    let Some(out) = out.first_chunk_mut::<RESPONSE_HEADER_BYTES>() else { return 0 };
    put(out, field::ACTION, action.to_be_bytes());
    put(out, field::TRANSACTION, transaction.0);
    RESPONSE_HEADER_BYTES
}

/// One IPv4 peer: 4 bytes of address, 2 of port.
pub const PEER_IPV4_BYTES: usize = 6;
/// One IPv6 peer: 16 bytes of address, 2 of port.
pub const PEER_IPV6_BYTES: usize = 18;
/// The UDP payload of an unfragmented IPv6 datagram on Ethernet: 1,500 bytes less 40 of IP and 8
/// of UDP header.
pub const REPLY_BYTES_MAX_IPV6: usize = 1452;
/// With it an error response is no longer than the shortest announce, 98 bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::udp::golden;
    use proptest::prelude::*;

    const ENTRY: ScrapeEntry = ScrapeEntry { seeders: 5, completed: 260, leechers: 7 };
    const HEADER: AnnounceHeader = AnnounceHeader {
        transaction: golden::TRANSACTION,
        interval_s: 1801,
        leechers: 3,
        seeders: 2,
    };

    #[test]
    fn golden_responses() {
        let mut out = [0xee; 64];
        let length = write_connect(&mut out, golden::TRANSACTION, golden::CONNECTION);
        assert_eq!(out[..length], golden::connect_response());
        assert_eq!(out[length..], [0xee; 48]);
        let length = HEADER.write(&mut out);
        assert_eq!(out[..length], golden::announce_header());
        let mut scrape = ScrapeWriter::new(&mut out, golden::TRANSACTION);
        scrape.push(ENTRY).unwrap();
        scrape.push(ScrapeEntry::default()).unwrap();
        let length = scrape.finish();
        assert_eq!(out[..length], golden::scrape_response());
        let length = write_error(&mut out, golden::TRANSACTION, "denied");
        assert_eq!(out[..length], golden::error_response());
    }

    #[test]
    fn a_short_buffer_is_left_alone() {
        let mut out = [0xee; 19];
        assert_eq!(write_connect(&mut out[..15], golden::TRANSACTION, golden::CONNECTION), 0);
        assert_eq!(HEADER.write(&mut out), 0);
        assert_eq!(write_error(&mut out[..7], golden::TRANSACTION, "denied"), 0);
        let mut scrape = ScrapeWriter::new(&mut out[..7], golden::TRANSACTION);
        assert_eq!(scrape.push(ENTRY), Err(ResponseFull));
        assert_eq!(scrape.finish(), 0);
        assert_eq!(out, [0xee; 19]);
        let mut scrape = ScrapeWriter::new(&mut out, golden::TRANSACTION);
        assert_eq!(scrape.push(ENTRY), Err(ResponseFull));
        assert_eq!(scrape.finish(), 8);
    }

    #[test]
    fn replies_stay_within_one_datagram() {
        assert_eq!(Family::Ipv4.reply_bytes_max(), 1472);
        assert_eq!(Family::Ipv6.reply_bytes_max(), 1452);
        assert_eq!(peers_max(Family::Ipv4), 242);
        assert_eq!(peers_max(Family::Ipv6), 79);
        for family in [Family::Ipv4, Family::Ipv6] {
            let length = |peers| ANNOUNCE_HEADER_BYTES + peers * family.peer_bytes();
            assert!(length(peers_max(family)) <= family.reply_bytes_max());
            assert!(length(peers_max(family) + 1) > family.reply_bytes_max());
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let family = |text: &str| Family::of(text.parse().unwrap());
        assert_eq!(family("192.0.2.1"), Family::Ipv4);
        assert_eq!(family("::ffff:192.0.2.1"), Family::Ipv4);
        assert_eq!(family("::1"), Family::Ipv6);
    }

    proptest! {
        #[test]
        fn scrapes_hold_what_fits(space in 0..1500_usize, offered in 0..130_usize) {
            let mut out = vec![0; space];
            let mut scrape = ScrapeWriter::new(&mut out, golden::TRANSACTION);
            let taken = (0..offered).take_while(|_| scrape.push(ENTRY).is_ok()).count();
            let fitting = space.saturating_sub(8) / 12;
            prop_assert_eq!(taken, offered.min(fitting));
            prop_assert_eq!(scrape.finish(), if space < 8 { 0 } else { 8 + 12 * taken });
        }

        #[test]
        fn error_messages_are_cut_between_characters(
            space in 0..200_usize,
            message in "[a-zé→🦀]{0,120}",
        ) {
            let mut out = vec![0; space];
            let length = write_error(&mut out, golden::TRANSACTION, &message);
            prop_assert!(length <= space.min(98));
            let Some(written) = out[..length].get(8..) else { return Ok(()) };
            let written = std::str::from_utf8(written).expect("whole characters");
            prop_assert!(message.starts_with(written));
            let missing = message[written.len()..].chars().next();
            prop_assert!(missing.is_none_or(|c| length + c.len_utf8() > space.min(98)));
        }
    }
}
