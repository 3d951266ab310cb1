//! Compares what the tracker did with a datagram with what must come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringtide::io::{ReplyPath, Sent};
use ringtide::telemetry::{Counter, DropReason, Snapshot};
use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::Family;

use super::issued::family;
use super::model::{Answer, Arrival, Expected, Model, Reply};
use super::reading::{read_peers, u32_at, u64_at, unique};

/// What the judge has to remember.
pub(crate) struct Judge {
    /// The longest that a peer may be handed out after it announced.
    pub(crate) peer_age_ms_max: u64,
    /// The interval that each peer was told; it stays the same.
    intervals: BTreeMap<(SocketAddr, InfoHash), u32>,
}

impl Judge {
    pub(crate) fn new(peer_age_ms_max: u64) -> Self {
        Self { peer_age_ms_max, intervals: BTreeMap::new() }
    }

    pub(crate) fn check_reply(
        &mut self,
        model: &mut Model,
        arrival: &Arrival<'_>,
        expected: &Expected,
        path: ReplyPath,
        sent: &[Sent],
    ) {
        let sent = match (sent, &expected.reply) {
            ([], Reply::None) => return,
            ([sent], reply) if !matches!(reply, Reply::None) => sent,
            _ => panic!("{} replies to {:02x?}", sent.len(), arrival.bytes),
        };
        assert_eq!(sent.path, path, "a reply to or from another address");
        let bytes = &sent.bytes[..];
        assert!(bytes.len() <= reply_bytes_max(family(arrival.from)), "would be fragmented");
        if !expected.authenticated {
            assert!(bytes.len() <= arrival.bytes.len(), "more bytes than the sender has earned");
        }
        assert_eq!(bytes[4..8], arrival.bytes[12..16], "transaction ID");
        match &expected.reply {
            Reply::None => {}
            Reply::Connect => {
                assert_eq!((u32_at(bytes, 0), bytes.len()), (0, 16), "connect response");
                model.issued.note(arrival.now_ms, arrival.from, u64_at(bytes, 8));
            }
            Reply::Error => {
                assert_eq!(u32_at(bytes, 0), 3, "error response");
                assert!(std::str::from_utf8(&bytes[8..]).is_ok_and(|text| !text.is_empty()));
            }
            Reply::Announce(answer) => self.check_announce(model, arrival, answer, bytes),
            Reply::Scrape(entries) => check_scrape(entries, bytes),
        }
    }

    fn check_announce(
        &mut self,
        model: &Model,
        arrival: &Arrival<'_>,
        answer: &Answer,
        bytes: &[u8],
    ) {
        assert_eq!(u32_at(bytes, 0), 1, "announce response");
        let settings = &model.rules.settings;
        let interval_s = u32_at(bytes, 8);
        let earliest = settings.announce_interval_s;
        assert!((earliest..=earliest + settings.announce_jitter_s).contains(&interval_s));
        let told = self.intervals.entry((answer.me, answer.key.1)).or_insert(interval_s);
        assert_eq!(*told, interval_s, "another interval than before");
        let counts = (u32_at(bytes, 12), u32_at(bytes, 16));
        assert_eq!(counts, (answer.leechers, answer.seeders), "leechers and seeders");

        let listed = unique(read_peers(&bytes[20..], answer.key.0));
        assert_eq!(listed.len(), answer.listed, "how many peers are listed");
        for address in &listed {
            assert_ne!(*address, answer.me, "listed in its own reply");
            let peer = model.torrents.get(&answer.key).and_then(|known| known.peers.get(address));
            let Some(peer) = peer else { panic!("{address} is listed and no peer of the swarm") };
            assert!(!(answer.seeder && peer.seeder), "a seeder was told of the seeder {address}");
            let age_ms = arrival.now_ms - peer.last_ms;
            assert!(age_ms <= self.peer_age_ms_max, "{address} is listed after {age_ms} ms");
        }
    }
}

fn check_scrape(entries: &[[u32; 3]], bytes: &[u8]) {
    assert_eq!((u32_at(bytes, 0), bytes.len()), (2, 8 + 12 * entries.len()), "scrape response");
    for (at, expected) in entries.iter().enumerate() {
        let number = |field: usize| u32_at(bytes, 8 + 12 * at + 4 * field);
        let entry = [number(0), number(1), number(2)];
        assert_eq!(entry, *expected, "seeders, completed, leechers of hash {at}");
    }
}

/// Every counter of the worker moved as expected, and the datagram is accounted for: one reply
/// or one reason.
pub(crate) fn check_counters(expected: &Expected, delta: &Snapshot) {
    for counter in Counter::ALL {
        let times = expected.counted.iter().filter(|counted| *counted == counter).count();
        assert_eq!(delta.get(*counter), times as u64, "{counter:?}; {:?}", expected.counted);
    }
    for reason in DropReason::ALL {
        let times = u64::from(expected.dropped == Some(*reason));
        assert_eq!(delta.dropped(*reason), times, "{reason:?}");
    }
    assert_eq!(replies(delta) + delta.dropped_total(), 1, "a datagram is not accounted for");
}

/// Replies that were queued.
pub(crate) fn replies(counted: &Snapshot) -> u64 {
    let kinds = [
        Counter::ConnectResponses,
        Counter::AnnounceResponses,
        Counter::ScrapeResponses,
        Counter::ErrorResponses,
    ];
    kinds.iter().map(|kind| counted.get(*kind)).sum()
}

/// What one unfragmented datagram holds.
fn reply_bytes_max(family: Family) -> usize {
    if family == Family::Ipv4 { 1472 } else { 1452 }
}
