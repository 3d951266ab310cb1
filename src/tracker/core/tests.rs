//! A client of the core that speaks no BEP 15: lines of text over the same swarms that UDP uses.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::access_list::{AccessList, AccessMode};
use super::policy::{Policy, SharedPolicy};
use super::*;
use crate::io::mailbox::acknowledgement;
use crate::io::{
    DatagramService, MessageService, Now, Packet, ReceivePool, RecordedTransmit, ReplyPath,
    SocketId,
};
use crate::telemetry::Counters;
use crate::tracker::store;
use crate::tracker::store::{PeerSink, Record, Secrets, Shards};
use crate::tracker::udp::connection_id::ConnectionIds;
use crate::tracker::udp::handler::{Tracker, TrackerParts};
use crate::wire::bep15::request::AnnounceRequest;
use crate::wire::bep15::{Family, Response, TransactionId};

const NOW: Now = Now::from_unix(Duration::from_secs(1_700_000_000));
const HASH: InfoHash = InfoHash([0xab; 20]);
const LINE_BYTES_MAX: usize = 200;

/// One worker that serves UDP and text.
struct Worker {
    udp: Tracker,
    ids: ConnectionIds,
    text: TextTracker,
    policy: SharedPolicy,
}

impl Worker {
    fn new(policy: Policy) -> Self {
        let secrets = Secrets::from_seed(&[7; Secrets::SEED_BYTES]);
        let shards = Arc::new(Shards::new(2, &secrets));
        let ids = ConnectionIds::new([7; 16], policy.settings.connection_lifetime_s);
        let policy = SharedPolicy::new(policy, [1, 2]);
        let text = TextTracker(Swarms::new(0, Arc::clone(&shards), &policy));
        let udp = Tracker::new(TrackerParts {
            worker: 0,
            shards,
            policy: policy.clone(),
            ids: ids.clone(),
            counters: Arc::new(Counters::default()),
        });
        Self { udp, ids, text, policy }
    }

    /// Announces over UDP; seeders, leechers and peers of the response.
    fn announce_udp(&mut self, from: &str, left: u64) -> (u32, u32, Vec<SocketAddr>) {
        let from: SocketAddr = from.parse().unwrap();
        let request = AnnounceRequest {
            connection_id: self.ids.issue(NOW, from.ip()),
            transaction: TransactionId([1, 2, 3, 4]),
            info_hash: HASH,
            peer_id: [0; 20],
            downloaded: 0,
            left,
            uploaded: 0,
            event_code: 0,
            ip: 0,
            key: 0,
            numwant: -1,
            port: from.port(),
        };
        let mut bytes = [0; 98];
        request.emit(&mut bytes);
        let pool = ReceivePool::new(1, 2048);
        let buffer = pool.fill(&bytes).unwrap();
        let path = ReplyPath::new(SocketId(0), from, None);
        let mut tx = RecordedTransmit::default();
        let packet = Packet { path, payload: buffer.bytes(), buffer: &buffer };
        self.udp.on_datagram(NOW, &packet, &mut tx);
        match Response::parse(&tx.sent[0].bytes, Family::of(from.ip())) {
            Ok(Response::Announce { header, peers }) => {
                (header.seeders, header.leechers, peers.iter().collect())
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, from: &str, line: &str) -> String {
        self.text.answer(NOW, from.parse().unwrap(), line)
    }
}

/// The protocol: `announce HASH PORT LEFT [EVENT]` and `scrape HASH...`, one line each way.
struct TextTracker(Swarms);

impl TextTracker {
    fn answer(&mut self, now: Now, address: IpAddr, line: &str) -> String {
        let mut words = line.split(' ');
        let answer = match words.next() {
            Some("announce") => self.announce(now, address, words),
            Some("scrape") => self.scrape(now, address, words),
            other => panic!("{other:?}"),
        };
        answer.unwrap_or_else(|refusal| format!("refused: {refusal}"))
    }

    fn announce<'a>(
        &mut self,
        now: Now,
        address: IpAddr,
        mut words: impl Iterator<Item = &'a str>,
    ) -> Result<String, Refusal> {
        let mut next = || words.next();
        let info_hash = next().unwrap().parse().unwrap();
        let port = next().unwrap().parse().unwrap();
        let left = next().unwrap().parse().unwrap();
        let event = match next() {
            Some("completed") => Event::Completed,
            Some("stopped") => Event::Stopped,
            _ => Event::None,
        };
        let request = Announce { info_hash, address, port, left, event, wanted: None };
        let mut line = TextPeers(String::new());
        let reply = self.0.announce(now, request, &mut line)?;
        let store::Announced { seeders, leechers, .. } = reply.announced;
        Ok(format!("every {} s, {seeders} + {leechers}:{}", reply.interval_s, line.0))
    }

    fn scrape<'a>(
        &mut self,
        now: Now,
        address: IpAddr,
        words: impl Iterator<Item = &'a str>,
    ) -> Result<String, Refusal> {
        let mut line = String::new();
        for counts in self.0.scrape(now, address, words.map(|word| word.parse().unwrap()))? {
            let store::ScrapeCounts { seeders, completed, leechers } = counts;
            write!(line, "[{seeders} {completed} {leechers}]").unwrap();
        }
        Ok(line)
    }
}

/// Peers as text, as many as a line holds.
struct TextPeers(String);

impl PeerSink for TextPeers {
    fn room<R: Record>(&self) -> usize {
        (LINE_BYTES_MAX - self.0.len()) / " [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".len()
    }

    fn put<R: Record>(&mut self, record: &R, keep: bool) {
        if keep && self.room::<R>() > 0 {
            write!(self.0, " {}", record.endpoint()).unwrap();
        }
    }
}

fn settled() -> TrackerSettings {
    TrackerSettings { announce_interval_s: 900, announce_jitter_s: 0, ..Default::default() }
}

#[test]
fn text_and_udp_share_their_swarms() {
    let mut worker = Worker::new(Policy { settings: settled(), ..Default::default() });
    assert_eq!(worker.announce_udp("192.0.2.1:6881", 0), (1, 0, vec![]));
    let found = worker.ask("192.0.2.2", &format!("announce {HASH} 80 5"));
    assert_eq!(found, "every 900 s, 1 + 1: 192.0.2.1:6881");
    let peers = vec!["192.0.2.2:80".parse().unwrap()];
    assert_eq!(worker.announce_udp("192.0.2.1:6881", 0), (1, 1, peers));

    worker.ask("192.0.2.2", &format!("announce {HASH} 80 0 completed"));
    let other = InfoHash([1; 20]);
    assert_eq!(worker.ask("192.0.2.3", &format!("scrape {HASH} {other}")), "[2 1 0][0 0 0]");
    let stopped = worker.ask("192.0.2.2", &format!("announce {HASH} 80 0 stopped"));
    assert_eq!(stopped, "every 900 s, 1 + 0:");
    assert_eq!(worker.announce_udp("192.0.2.1:6881", 0), (1, 0, vec![]));
}

#[test]
fn the_families_have_swarms_of_their_own() {
    let mut worker = Worker::new(Policy { settings: settled(), ..Default::default() });
    worker.announce_udp("[2001:db8::1]:6881", 0);
    assert_eq!(worker.ask("192.0.2.2", &format!("scrape {HASH}")), "[0 0 0]");
    assert_eq!(worker.ask("2001:db8::2", &format!("scrape {HASH}")), "[1 0 0]");
    let found = worker.ask("2001:db8::2", &format!("announce {HASH} 80 5"));
    assert_eq!(found, "every 900 s, 1 + 1: [2001:db8::1]:6881");
    // A mapped address is the IPv4 address.
    worker.announce_udp("192.0.2.1:6881", 5);
    let found = worker.ask("::ffff:192.0.2.2", &format!("announce {HASH} 80 5"));
    assert_eq!(found, "every 900 s, 0 + 2: 192.0.2.1:6881");
}

#[test]
fn a_sink_gets_no_more_peers_than_it_has_room_for() {
    let mut worker = Worker::new(Policy { settings: settled(), ..Default::default() });
    for host in 1..=40 {
        worker.announce_udp(&format!("192.0.2.{host}:6881"), 5);
    }
    let found = worker.ask("192.0.2.200", &format!("announce {HASH} 80 5"));
    assert_eq!(found.matches(":6881").count(), 4, "{found}");
}

#[test]
fn refusals_say_why() {
    let access = AccessList::parse(HASH.to_string(), AccessMode::Deny).unwrap();
    let mut settings = settled();
    settings.source_limits.announces = RateLimit { per_s: 1, burst: 3 };
    let mut worker = Worker::new(Policy { settings, access });
    let denied = worker.ask("192.0.2.1", &format!("announce {HASH} 80 5"));
    assert_eq!(denied, "refused: this tracker does not serve this torrent");
    assert_eq!(worker.ask("192.0.2.1", &format!("scrape {HASH}")), "[0 0 0]");
    let other = InfoHash([1; 20]);
    let served = worker.ask("192.0.2.1", &format!("announce {other} 80 5"));
    assert_eq!(served, "every 900 s, 0 + 1:");
    // One account for everything that comes from a source, whatever protocol it uses.
    let limited = "refused: the source is over its limit";
    assert_eq!(worker.ask("192.0.2.1", &format!("announce {other} 80 5")), limited);
    assert_eq!(worker.ask("192.0.2.1", &format!("scrape {other}")), limited);
    assert_eq!(worker.ask("192.0.2.2", &format!("scrape {other}")), "[0 0 1]");

    let address = "192.0.2.9".parse().unwrap();
    let admitted = Admission { evicted_source: false };
    assert_eq!(worker.text.0.admit_client(NOW, address), Ok(admitted));
    worker.policy.drain();
    assert_eq!(worker.text.0.admit_client(NOW, address), Err(Refusal::Draining));
}

#[test]
fn a_policy_is_taken_up_by_message_or_tick_and_the_earlier_one_let_go() {
    let mut worker = Worker::new(Policy { settings: settled(), ..Default::default() });
    let mut tx = RecordedTransmit::default();
    for by_message in [true, false] {
        let access = AccessList::parse(HASH.to_string(), AccessMode::Deny).unwrap();
        let earlier = worker.policy.replace(Policy { settings: settled(), access });
        if by_message {
            let (acknowledgement, acknowledged) = acknowledgement();
            let replaced = TrackerMessage::PolicyReplaced(acknowledgement);
            worker.udp.on_message(NOW, replaced, &mut tx);
            assert!(acknowledged.wait(Duration::ZERO));
        } else {
            // As when the mailbox was full.
            worker.udp.on_tick(NOW, &mut tx);
        }
        assert_eq!(Arc::strong_count(&earlier), 2, "the other protocol still uses it");
        worker.text.0.refresh_policy();
        assert_eq!(Arc::strong_count(&earlier), 1);
        let denied = worker.ask("192.0.2.1", &format!("announce {HASH} 80 5"));
        assert_eq!(denied, "refused: this tracker does not serve this torrent");
    }
}
