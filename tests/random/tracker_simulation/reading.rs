//! Requests and replies read by hand, from the tables of BEP 15 and not with the tracker's codec.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ringtide::telemetry::DropReason;
use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::Family;

/// What a datagram asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Connect,
    Announce(Announced),
    Scrape(Vec<InfoHash>),
    Nothing(DropReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) hash: InfoHash,
    pub(crate) left: u64,
    pub(crate) event: u32,
    pub(crate) numwant: i32,
    pub(crate) port: u16,
}

impl Announced {
    pub(crate) fn seeder(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn completed(&self) -> bool {
        self.event == 1
    }

    pub(crate) fn stopped(&self) -> bool {
        self.event == 3
    }
}

pub(crate) fn read_request(bytes: &[u8]) -> Asked {
    if bytes.len() < 16 {
        return Asked::Nothing(DropReason::TooShort);
    }
    match (u32_at(bytes, 8), bytes.len()) {
        (0, _) if u64_at(bytes, 0) != 0x417_2710_1980 => Asked::Nothing(DropReason::BadMagic),
        (0, _) => Asked::Connect,
        (1, ..98) => Asked::Nothing(DropReason::TooShort),
        (1, _) => Asked::Announce(Announced {
            hash: hash_at(bytes, 16),
            left: u64_at(bytes, 64),
            event: u32_at(bytes, 80),
            numwant: u32_at(bytes, 92) as i32,
            port: u16_at(bytes, 96),
        }),
        (2, ..36) => Asked::Nothing(DropReason::ScrapeWithoutHash),
        (2, length) => {
            Asked::Scrape((0..(length - 16) / 20).map(|at| hash_at(bytes, 16 + at * 20)).collect())
        }
        _ => Asked::Nothing(DropReason::UnknownAction),
    }
}

/// The endpoints in the list of an announce reply, in order.
pub(crate) fn read_peers(bytes: &[u8], family: Family) -> Vec<SocketAddr> {
    let size = if family == Family::Ipv4 { 6 } else { 18 };
    assert_eq!(bytes.len() % size, 0, "a peer is cut off");
    let endpoint = |peer: &[u8]| {
        let port = u16_at(peer, size - 2);
        match family {
            Family::Ipv4 => (Ipv4Addr::from(u32_at(peer, 0)), port).into(),
            Family::Ipv6 => {
                let halves = [u64_at(peer, 0), u64_at(peer, 8)].map(u128::from);
                (Ipv6Addr::from(halves[0] << 64 | halves[1]), port).into()
            }
        }
    };
    bytes.chunks_exact(size).map(endpoint).collect()
}

/// The endpoints as a set; none may be there twice.
pub(crate) fn unique(peers: Vec<SocketAddr>) -> BTreeSet<SocketAddr> {
    let count = peers.len();
    let set: BTreeSet<_> = peers.into_iter().collect();
    assert_eq!(set.len(), count, "a peer is listed twice");
    set
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

fn hash_at(bytes: &[u8], at: usize) -> InfoHash {
    InfoHash(*bytes[at..].first_chunk().unwrap())
}
