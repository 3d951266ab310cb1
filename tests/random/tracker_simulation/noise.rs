//! Datagrams of those who are no clients: garbage, forgeries, and what others sent before.

use std::collections::VecDeque;
use std::net::SocketAddr;

use fastrand::Rng;
use ringtide::wire::bep15::request::{AnnounceRequest, emit_scrape};
use ringtide::wire::bep15::{ConnectionId, TransactionId};

use super::client::any_numwant;
use super::scenario::{Scenario, any_address, any_hash};

/// Makes noise out of nothing and of what it has overheard.
#[derive(Default)]
pub(crate) struct Noise {
    overheard: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Noise {
    /// Remembers a datagram for a while.
    pub(crate) fn overhear(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.overheard.push_back((from, bytes.to_vec()));
        if self.overheard.len() > OVERHEARD_MAX {
            self.overheard.pop_front();
        }
    }

    pub(crate) fn make(&self, rng: &mut Rng, scenario: &Scenario) -> (SocketAddr, Vec<u8>) {
        let stranger = SocketAddr::new(any_address(rng, scenario.clients), rng.u16(1..10_000));
        let nowhere = SocketAddr::new(stranger.ip(), 0);
        let overheard = (!self.overheard.is_empty())
            .then(|| self.overheard[rng.usize(..self.overheard.len())].clone());
        let (from, mut bytes) = overheard.unwrap_or((stranger, vec![0; 16]));
        match rng.u8(..10) {
            0 => (stranger, garbage(rng, 0..200)),
            1 => (stranger, request(rng, 0, 0..90)),
            2 => (stranger, request(rng, 1, 0..82)),
            3 => (stranger, request(rng, 2, 0..20)),
            4 => (stranger, any_action(rng)),
            5 => (stranger, forgery(rng, scenario)),
            6 => (nowhere, bytes),
            // Somebody else's words, and a client's own once more.
            7 => (stranger, bytes),
            8 => (from, bytes),
            _ => {
                let bit = rng.usize(..bytes.len().max(1) * 8);
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                bytes.truncate(rng.usize(bytes.len() / 2..=bytes.len()));
                (from, bytes)
            }
        }
    }
}

fn garbage(rng: &mut Rng, length: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; rng.usize(length)];
    rng.fill(&mut bytes);
    bytes
}

/// A header with this action, and anything around it.
fn request(rng: &mut Rng, action: u32, rest: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = garbage(rng, 16 + rest.start..16 + rest.end);
    bytes[8..12].copy_from_slice(&action.to_be_bytes());
    bytes
}

fn any_action(rng: &mut Rng) -> Vec<u8> {
    let action = [3, 4, rng.u32(3..)][rng.usize(..3)];
    request(rng, action, 0..200)
}

/// A whole request, connection ID apart.
fn forgery(rng: &mut Rng, scenario: &Scenario) -> Vec<u8> {
    let (id, transaction) = (ConnectionId(rng.u64(..)), TransactionId([7; 4]));
    let info_hash = scenario.torrents[rng.usize(..scenario.torrents.len())];
    if rng.bool() {
        let mut bytes = vec![0; 56];
        emit_scrape(&mut bytes, id, transaction, [info_hash, any_hash(rng)]);
        return bytes;
    }
    let mut bytes = vec![0; 98];
    let request = AnnounceRequest {
        connection_id: id,
        transaction,
        info_hash,
        peer_id: [7; 20],
        downloaded: 0,
        left: rng.u64(..2),
        uploaded: 0,
        event_code: rng.u32(..5),
        ip: rng.u32(..),
        key: rng.u32(..),
        numwant: any_numwant(rng),
        port: rng.u16(..),
    };
    request.emit(&mut bytes);
    bytes
}

/// Datagrams kept: of a few minutes, so that some connection IDs in them still hold.
const OVERHEARD_MAX: usize = 64;
