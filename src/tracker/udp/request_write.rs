//! Writers of requests (BEP 15), for the load tester, the simulation and the tests.
//!
//! Each writes from the start of `out` and returns the length. None writes past `out`: one that
//! is too short for the message stays untouched, and the length returned is 0.

use super::connection_id::ConnectionId;
use super::wire::{
    ANNOUNCE_REQUEST_BYTES, INFO_HASH_BYTES, MAGIC, REQUEST_HEADER_BYTES, TransactionId, action,
    put, request_field as field,
};
use crate::wire::info_hash::InfoHash;

/// Writes a connect request: 16 bytes.
pub fn write_connect(out: &mut [u8], transaction: TransactionId) -> usize {
    write_header(out, MAGIC, action::CONNECT, transaction)
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
    /// [`Event::code`](crate::tracker::udp::request::Event::code), or any other number.
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
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(out) = out.first_chunk_mut::<ANNOUNCE_REQUEST_BYTES>() else { return 0 };
        write_header(out, self.connection_id.0, action::ANNOUNCE, self.transaction);
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
pub fn write_scrape(
    out: &mut [u8],
    connection_id: ConnectionId,
    transaction: TransactionId,
    hashes: impl IntoIterator<Item = InfoHash>,
) -> usize {
    let header = write_header(out, connection_id.0, action::SCRAPE, transaction);
    if header == 0 {
        return 0;
    }
    let (places, _) = out[header..].as_chunks_mut::<INFO_HASH_BYTES>();
    let written = places.iter_mut().zip(hashes).map(|(place, hash)| *place = hash.0).count();
    header + written * INFO_HASH_BYTES
}

fn write_header(out: &mut [u8], first: u64, action: u32, transaction: TransactionId) -> usize {
    let Some(out) = out.first_chunk_mut::<REQUEST_HEADER_BYTES>() else { return 0 };
    put(out, field::CONNECTION_ID, first.to_be_bytes());
    put(out, field::ACTION, action.to_be_bytes());
    put(out, field::TRANSACTION, transaction.0);
    REQUEST_HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::udp::golden;
    use crate::tracker::udp::request::{Event, Request};
    use proptest::prelude::*;

    const ANNOUNCE: AnnounceRequest = AnnounceRequest {
        connection_id: golden::CONNECTION,
        transaction: golden::TRANSACTION,
        info_hash: golden::HASH_A,
        peer_id: golden::PEER_ID,
        downloaded: 1000,
        left: 65_536,
        uploaded: 255,
        event_code: Event::Started.code(),
        ip: 0,
        key: 0xdead_beef,
        numwant: 200,
        port: 6881,
    };

    fn scrape_of_two(out: &mut [u8]) -> usize {
        let hashes = [golden::HASH_A, golden::HASH_B];
        write_scrape(out, golden::CONNECTION, golden::TRANSACTION, hashes)
    }

    #[test]
    fn golden_requests() {
        let mut out = [0xee; 200];
        let length = write_connect(&mut out, golden::TRANSACTION);
        assert_eq!(out[..length], golden::connect_request());
        let length = ANNOUNCE.write(&mut out);
        assert_eq!(out[..length], golden::announce_request());
        assert_eq!(out[length..], [0xee; 102]);
        let length = scrape_of_two(&mut out);
        assert_eq!(out[..length], golden::scrape_request());
    }

    #[test]
    fn the_fields_that_the_parser_does_not_read() {
        let mut out = [0; 98];
        AnnounceRequest { ip: 0x0102_0304, event_code: 4, ..ANNOUNCE }.write(&mut out);
        assert_eq!(out[80..88], [0, 0, 0, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn a_short_buffer_is_left_alone() {
        let mut out = [0xee; 97];
        assert_eq!(write_connect(&mut out[..15], golden::TRANSACTION), 0);
        assert_eq!(ANNOUNCE.write(&mut out), 0);
        assert_eq!(scrape_of_two(&mut out[..15]), 0);
        assert_eq!(out, [0xee; 97]);
        assert_eq!(scrape_of_two(&mut out[..35]), 16);
        assert_eq!(scrape_of_two(&mut out[..55]), 36);
        assert_eq!(scrape_of_two(&mut out), 56);
    }

    prop_compose! {
        fn announces()(
            ids: (u64, [u8; 4], [u8; 20], [u8; 20]),
            bytes: (u64, u64, u64),
            event_code in prop_oneof![0..6_u32, any::<u32>()],
            rest: (u32, u32, i32, u16),
        ) -> AnnounceRequest {
            AnnounceRequest {
                connection_id: ConnectionId(ids.0),
                transaction: TransactionId(ids.1),
                info_hash: InfoHash(ids.2),
                peer_id: ids.3,
                downloaded: bytes.0,
                left: bytes.1,
                uploaded: bytes.2,
                event_code,
                ip: rest.0,
                key: rest.1,
                numwant: rest.2,
                port: rest.3,
            }
        }
    }

    proptest! {
        #[test]
        fn announces_round_trip(sent in announces()) {
            let mut out = [0; 98];
            prop_assert_eq!(sent.write(&mut out), 98);
            let Ok(Request::Announce(got)) = Request::parse(&out) else { panic!("no announce") };
            let read = AnnounceRequest {
                connection_id: got.connection_id(),
                transaction: got.transaction(),
                info_hash: got.info_hash(),
                peer_id: got.peer_id(),
                downloaded: got.downloaded(),
                left: got.left(),
                uploaded: got.uploaded(),
                event_code: sent.event_code,
                ip: sent.ip,
                key: got.key(),
                numwant: got.numwant(),
                port: got.port(),
            };
            prop_assert_eq!(read, sent);
            prop_assert_eq!(got.event(), Event::from_code(sent.event_code));
        }

        #[test]
        fn connects_and_scrapes_round_trip(
            connection: u64,
            transaction: [u8; 4],
            hashes in prop::collection::vec(any::<[u8; 20]>(), 1..100),
        ) {
            let transaction = TransactionId(transaction);
            let mut out = [0; 1472];
            let length = write_connect(&mut out, transaction);
            let Ok(Request::Connect(got)) = Request::parse(&out[..length]) else {
                panic!("no connect")
            };
            prop_assert_eq!(got.transaction, transaction);

            let fitting = hashes.len().min(72);
            let hashes = hashes.into_iter().map(InfoHash);
            let id = ConnectionId(connection);
            let length = write_scrape(&mut out, id, transaction, hashes.clone());
            let Ok(Request::Scrape(got)) = Request::parse(&out[..length]) else {
                panic!("no scrape")
            };
            prop_assert_eq!((got.connection_id, got.transaction), (id, transaction));
            prop_assert!(got.hashes().eq(hashes.take(fitting)));
        }
    }
}
