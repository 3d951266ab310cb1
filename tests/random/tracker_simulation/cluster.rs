//! The tracker under test: handlers of several workers over shared shards, without a ring.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ringtide::io::mailbox::acknowledgement;
use ringtide::io::{
    DatagramService, Forward, MessageService, Now, Packet, PacketInfo, ReceivePool,
    RecordedTransmit, ReplyPath, Sent, SocketId, Transmit, TransmitError,
};
use ringtide::telemetry::{Counter, Counters, DropReason, Snapshot};
use ringtide::tracker::core::TrackerMessage;
use ringtide::tracker::core::policy::SharedPolicy;
use ringtide::tracker::store::{Announce, CompactPeers, Event, Limits, Secrets, Shards};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::tracker::udp::handler::{Tracker, TrackerParts};
use ringtide::wire::bep15::Family;

use super::coverage::{Coverage, Seen};
use super::issued::family;
use super::judge::{Judge, check_counters, replies};
use super::model::{Arrival, Key, Model};
use super::reading::{read_peers, unique};
use super::scenario::{Rules, Scenario};

pub(crate) struct Cluster {
    trackers: Vec<Tracker>,
    counters: Vec<Arc<Counters>>,
    shards: Arc<Shards>,
    policy: SharedPolicy,
    pool: ReceivePool,
    pub(crate) model: Model,
    judge: Judge,
    timeout_ms: u64,
    delivered: u64,
    /// Everything that was sent, and when.
    digest: DefaultHasher,
}

impl Cluster {
    pub(crate) fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let mut seed = [0; Secrets::SEED_BYTES];
        rng.fill(&mut seed);
        let shards = Arc::new(Shards::new(scenario.workers, &Secrets::from_seed(&seed)));
        let policy = SharedPolicy::new(scenario.rules.policy(), [7; 2]);
        let mut key = [0; 16];
        rng.fill(&mut key);
        let ids = ConnectionIds::new(key, scenario.rules.settings.connection_lifetime_s);
        let counters: Vec<_> = (0..scenario.workers).map(|_| Arc::default()).collect();
        let tracker = |(worker, counters): (usize, &Arc<Counters>)| {
            Tracker::new(TrackerParts {
                worker,
                shards: Arc::clone(&shards),
                policy: policy.clone(),
                ids: ids.clone(),
                counters: Arc::clone(counters),
            })
        };
        let owners = Arc::clone(&shards);
        let model =
            Model::new(scenario.rules.clone(), scenario.workers, move |hash| owners.owner(hash));
        let timeout_ms = scenario.timeout_ms();
        Self {
            trackers: counters.iter().enumerate().map(tracker).collect(),
            counters,
            shards,
            policy,
            pool: ReceivePool::new(2, 2048),
            model,
            judge: Judge::new(timeout_ms + scenario.expiry_slack_ms()),
            timeout_ms,
            delivered: 0,
            digest: DefaultHasher::new(),
        }
    }

    /// Hands one datagram to a worker, checks all that comes of it, and returns the replies.
    pub(crate) fn deliver(&mut self, arrival: &Arrival<'_>, seen: &mut Coverage) -> Vec<Sent> {
        let before: Vec<_> = self.counters.iter().map(|counters| counters.snapshot()).collect();
        let counters = Arc::clone(&self.counters[arrival.worker]);
        let refused = if arrival.slot_free { None } else { Some(&*counters) };
        let mut tx = Slots { recorded: RecordedTransmit::default(), refused };
        let buffer = self.pool.fill(arrival.bytes).unwrap();
        let path = reply_path(arrival.from);
        let packet = Packet { path, payload: buffer.bytes(), buffer: &buffer };
        let now = at(arrival.now_ms);
        self.trackers[arrival.worker].on_datagram(now, &packet, &mut tx);
        self.trackers[arrival.worker].on_flush(now, &mut tx);
        drop(buffer);
        let sent = tx.recorded.sent;

        for (worker, before) in before.iter().enumerate() {
            let delta = self.counters[worker].snapshot().since(before);
            if worker != arrival.worker {
                assert_eq!(delta, Snapshot::default(), "another worker's counters moved");
                continue;
            }
            let id_refused = delta.dropped(DropReason::BadConnectionId) > 0
                || delta.get(Counter::BadConnectionIdsAnswered) > 0;
            let expected = self.model.expect(arrival, id_refused, seen);
            check_counters(&expected, &delta);
            self.judge.check_reply(&mut self.model, arrival, &expected, path, &sent);
        }
        self.check_gauges();
        self.delivered += 1;
        (arrival.now_ms, arrival.worker).hash(&mut self.digest);
        sent.iter().for_each(|sent| sent.bytes.hash(&mut self.digest));
        sent
    }

    /// A worker's tick. What it expired is looked up, must have been due, and leaves the model.
    pub(crate) fn tick(&mut self, now_ms: u64, worker: usize, seen: &mut Coverage) {
        let before = self.counters[worker].snapshot();
        let mut tx = RecordedTransmit::default();
        self.trackers[worker].on_tick(at(now_ms), &mut tx);
        assert_eq!(tx.sent, [], "a tick sends nothing");
        let delta = self.counters[worker].snapshot().since(&before);
        let expired = delta.get(Counter::PeersExpired);
        if expired > 0 {
            let found = self.remove_expired(now_ms, worker, seen);
            assert_eq!(expired, found, "PeersExpired, and peers that are gone");
            self.check_gauges();
        }
    }

    fn remove_expired(&mut self, now_ms: u64, worker: usize, seen: &mut Coverage) -> u64 {
        let mut gone = Vec::new();
        for (key, torrent) in &self.model.torrents {
            let overdue = |last_ms: u64| now_ms - last_ms > self.timeout_ms;
            if self.model.owner(&key.1) != worker
                || !torrent.peers.values().any(|peer| overdue(peer.last_ms))
            {
                continue;
            }
            let members = self.members(key);
            for (address, peer) in &torrent.peers {
                if !members.contains(address) {
                    let age_ms = now_ms - peer.last_ms;
                    assert!(overdue(peer.last_ms), "{address} is gone after {age_ms} ms");
                    gone.push((*key, *address));
                }
            }
        }
        for (key, address) in &gone {
            self.model.expire(key, address);
            seen.note_if(!self.model.torrents.contains_key(key), Seen::TorrentGone);
        }
        gone.len() as u64
    }

    /// Compares all that is stored with the model, and looks for peers that are too old.
    pub(crate) fn audit(&self, now_ms: u64) {
        self.check_ages(now_ms);
        for (key, torrent) in &self.model.torrents {
            let stored = self.members(key);
            assert!(stored.iter().eq(torrent.peers.keys()), "members of {key:?}");
            let shard = self.shards.lock(self.model.owner(&key.1));
            let counts = match key.0 {
                Family::Ipv4 => shard.ipv4.scrape(&key.1),
                Family::Ipv6 => shard.ipv6.scrape(&key.1),
            };
            let counts = counts.unwrap();
            let counts = [counts.seeders, counts.completed, counts.leechers];
            let expected = [torrent.seeders(), torrent.completed, torrent.leechers()];
            assert_eq!(counts, expected, "seeders, completed, leechers of {key:?}");
        }
    }

    /// No peer outlives its timeout by more than the sweep is entitled to.
    pub(crate) fn check_ages(&self, now_ms: u64) {
        for (key, torrent) in &self.model.torrents {
            for (address, peer) in &torrent.peers {
                let age_ms = now_ms - peer.last_ms;
                let allowed = self.judge.peer_age_ms_max;
                assert!(age_ms <= allowed, "{address} of {key:?} is there after {age_ms} ms");
            }
        }
    }

    pub(crate) fn replace_rules(&mut self, rules: Rules) {
        self.policy.replace(rules.policy());
        let (acknowledgement, acknowledged) = acknowledgement();
        for tracker in &mut self.trackers {
            let replaced = TrackerMessage::PolicyReplaced(acknowledgement.clone());
            tracker.on_message(at(0), replaced, &mut RecordedTransmit::default());
        }
        drop(acknowledgement);
        assert!(acknowledged.wait(Duration::ZERO));
        self.model.replace_rules(rules);
    }

    /// The tracker is empty, every buffer is free and every datagram accounted for.
    pub(crate) fn finish(&self) -> (Snapshot, u64) {
        assert!(self.model.torrents.is_empty());
        self.check_gauges();
        assert_eq!((self.pool.held(), self.pool.free()), (0, self.pool.count()));
        let total = Snapshot::total(self.counters.iter().map(|counters| &**counters));
        assert_eq!(replies(&total) + total.dropped_total(), self.delivered);
        (total, self.digest.finish())
    }

    fn check_gauges(&self) {
        for (shard, gauges) in self.shards.gauges().enumerate() {
            let ipv4 = (gauges.torrents_ipv4(), gauges.peers_ipv4());
            assert_eq!(ipv4, self.model.load(shard, Family::Ipv4), "IPv4 torrents and peers");
            let ipv6 = (gauges.torrents_ipv6(), gauges.peers_ipv6());
            assert_eq!(ipv6, self.model.load(shard, Family::Ipv6), "IPv6 torrents and peers");
        }
    }

    /// Everybody in a swarm: what a leecher with port 0, who is not stored, is told without a
    /// limit. Its random generator is its own, so looking changes nothing.
    fn members(&self, key: &Key) -> BTreeSet<SocketAddr> {
        let mut shard = self.shards.lock(self.model.owner(&key.1));
        let mut out = vec![0; 18 * (shard.ipv4.peers() + shard.ipv6.peers())];
        let rng = &mut Rng::with_seed(0);
        let limits = Limits { torrents: 0, peers: 0, peers_per_torrent: 0, ..Limits::NONE };
        let (now, info_hash) = (at(0), &key.1);
        let (seeder, event, numwant) = (false, Event::None, usize::MAX);
        let mut sink = CompactPeers::new(&mut out);
        match key.0 {
            Family::Ipv4 => {
                let peer = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
                let question = Announce { now, info_hash, peer, seeder, event, numwant };
                shard.ipv4.announce(&question, &limits, rng, &mut sink);
            }
            Family::Ipv6 => {
                let peer = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
                let question = Announce { now, info_hash, peer, seeder, event, numwant };
                shard.ipv6.announce(&question, &limits, rng, &mut sink);
            }
        }
        let written = sink.written();
        unique(read_peers(&out[..written], key.0))
    }
}

/// A transmit side that is full when it has counters to count that in.
struct Slots<'a> {
    recorded: RecordedTransmit,
    refused: Option<&'a Counters>,
}

impl Transmit for Slots<'_> {
    fn reply(
        &mut self,
        path: ReplyPath,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        if let Some(counters) = self.refused {
            counters.dropped(DropReason::SendSlotsFull);
            return Err(TransmitError::Full);
        }
        self.recorded.reply(path, write)
    }

    fn send_segments(
        &mut self,
        _: ReplyPath,
        _: u16,
        _: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), TransmitError> {
        panic!("a tracker sends no segments");
    }

    fn forward(&mut self, _: Forward<'_>) -> Result<(), TransmitError> {
        panic!("a tracker forwards nothing");
    }
}

/// The way back to a client: a socket and an asked address that follow from its own.
fn reply_path(to: SocketAddr) -> ReplyPath {
    let low = to.port() as u8 % 4;
    let (socket, address): (_, IpAddr) = match family(to) {
        Family::Ipv4 => (0, Ipv4Addr::new(192, 0, 2, low).into()),
        Family::Ipv6 => (1, Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(low)).into()),
    };
    let from = (low > 0).then_some(PacketInfo { address, interface: u32::from(low) });
    ReplyPath::new(SocketId(socket), to, from)
}

fn at(now_ms: u64) -> Now {
    Now::from_unix(Duration::from_millis(now_ms))
}
