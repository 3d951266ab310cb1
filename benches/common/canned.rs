//! A handler that answers like a tracker without being one: replies of the right form and a fixed
//! size, from no storage. What it costs is what the loop and the kernel cost.

use ringtide::io::{DatagramService, Now, Packet, REPLY_BYTES_MAX, Transmit};
use ringtide::values::info_hash::INFO_HASH_BYTES;
use ringtide::wire::bep15::response::AnnounceHeader;
use ringtide::wire::bep15::{
    ANNOUNCE_HEADER_BYTES, CONNECT_RESPONSE_BYTES, PEER_IPV4_BYTES, REQUEST_HEADER_BYTES,
    RESPONSE_HEADER_BYTES, SCRAPE_ENTRY_BYTES, TransactionId, action, request_field as request,
    response_field as response,
};

/// Checks nothing, stores nothing.
#[derive(Clone)]
pub(crate) struct Canned {
    announce: Box<[u8]>,
}

impl Canned {
    /// Announce responses of `bytes` bytes.
    pub(crate) fn with_bytes(bytes: usize) -> Self {
        let peers = bytes.saturating_sub(ANNOUNCE_HEADER_BYTES) / PEER_IPV4_BYTES;
        let mut announce = vec![0; bytes.clamp(ANNOUNCE_HEADER_BYTES, REPLY_BYTES_MAX)];
        AnnounceHeader {
            transaction: TransactionId([0; 4]),
            interval_s: 1800,
            leechers: peers as u32,
            seeders: peers as u32,
        }
        .emit(&mut announce);
        let places = announce[ANNOUNCE_HEADER_BYTES..].chunks_exact_mut(PEER_IPV4_BYTES);
        for (index, place) in places.enumerate() {
            place.copy_from_slice(&[127, 0, 0, 1 + (index % 250) as u8, 0x1a, 0xe1]);
        }
        Self { announce: announce.into_boxed_slice() }
    }

    /// Announce responses with `peers` IPv4 peers.
    #[allow(dead_code)] // One of two programs needs it.
    pub(crate) fn with_peers(peers: usize) -> Self {
        Self::with_bytes(ANNOUNCE_HEADER_BYTES + peers * PEER_IPV4_BYTES)
    }

    fn answer(&self, payload: &[u8], out: &mut [u8]) -> usize {
        let bytes = match payload[request::ACTION] {
            [0, 0, 0, asked] if u32::from(asked) == action::CONNECT => {
                out[response::CONNECTION_ID].copy_from_slice(b"anything");
                CONNECT_RESPONSE_BYTES
            }
            [0, 0, 0, asked] if u32::from(asked) == action::SCRAPE => {
                let hashes = (payload.len() - REQUEST_HEADER_BYTES) / INFO_HASH_BYTES;
                let end = RESPONSE_HEADER_BYTES + hashes * SCRAPE_ENTRY_BYTES;
                out[RESPONSE_HEADER_BYTES..end].fill(0);
                end
            }
            _ => {
                out[..self.announce.len()].copy_from_slice(&self.announce);
                self.announce.len()
            }
        };
        out[response::ACTION].copy_from_slice(&payload[request::ACTION]);
        out[response::TRANSACTION].copy_from_slice(&payload[request::TRANSACTION]);
        bytes
    }
}

impl DatagramService for Canned {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        if packet.payload.len() >= REQUEST_HEADER_BYTES {
            let _ = tx.reply(packet.path, |out| self.answer(packet.payload, out));
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}
