//! Datagrams through the whole tracker.
//!
//! Input: a byte of settings (bit 7 limits per source), then datagrams, each behind four bytes:
//! choices (bits 0 and 1 the connection ID: as it is, valid, of another address, expired; bits 2 to
//! 4 the source; bit 5 no free slot; bit 6 a tick before it), seconds since the one before, and its
//! length.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ringtide::io::{DatagramService, Now, Packet, ReceivePool, ReplyPath, Sent, SocketId};
use ringtide::telemetry::{Counter, Counters, DropReason, Snapshot};
use ringtide::tracker::core::access_list::{AccessList, AccessMode};
use ringtide::tracker::core::policy::{Policy, SharedPolicy};
use ringtide::tracker::core::source::Source;
use ringtide::tracker::core::{RateLimit, SourceLimitSettings, TrackerSettings};
use ringtide::tracker::store::{Secrets, Shards};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::tracker::udp::handler::{Tracker, TrackerParts};
use ringtide::wire::bep15::ConnectionId;

use super::input::{Input, bit};
use super::transmit::Slots;

/// What a libFuzzer input of its usual size holds, and more.
const PACKETS_MAX: usize = 256;
/// As an engine's receive buffers.
const PAYLOAD_BYTES_MAX: usize = 2048;
const START_S: u64 = 1_700_000_000;
pub const LIFETIME_S: u32 = 120;
const KEY: [u8; 16] = *b"sixteen bytes of";
/// The one on the list, and the one that the seeds ask for.
const LISTED: &str = "6161616161616161616161616161616161616141\n";

/// Where datagrams come from. Nobody can be answered at port 0.
const SOURCES: [&str; 8] = [
    "192.0.2.1:6881",
    "192.0.2.2:6881",
    "[::ffff:192.0.2.1]:6882",
    "[2001:db8::1]:6881",
    "[2001:db8::2]:1",
    "[2001:db8:0:1::1]:6881",
    "[fe80::1]:65535",
    "198.51.100.7:0",
];

pub fn run(data: &[u8]) {
    world_after(data);
}

/// What an input leaves behind.
pub fn world_after(data: &[u8]) -> World {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte());
    for _ in 0..PACKETS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.check_totals();
    world
}

/// A datagram's connection ID, which stands in its first 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    AsItIs,
    Valid,
    OfAnother,
    Expired,
}

/// Payload bytes of those who have not proved their address, and of the replies to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reflected {
    pub received: u64,
    pub sent: u64,
}

impl Reflected {
    /// Bytes out per byte in.
    pub fn ratio(&self) -> f64 {
        self.sent as f64 / (self.received as f64).max(1.0)
    }
}

/// A tracker with two shards, one receive buffer and one send slot.
pub struct World {
    tracker: Tracker,
    shards: Arc<Shards>,
    settings: TrackerSettings,
    ids: ConnectionIds,
    counters: Arc<Counters>,
    pool: ReceivePool,
    slots: Slots,
    now: Now,
    received: u64,
    replied: u64,
    refused: u64,
    pub reflected: Reflected,
    /// How often each source was within its limit, of connects and of announces.
    within: BTreeMap<(DropReason, Source), u64>,
}

/// What one source may ask for in worlds with limits, and a table that is easily crowded.
const LIMITS: SourceLimitSettings = SourceLimitSettings {
    connects: RateLimit { per_s: 1, burst: 2 },
    announces: RateLimit { per_s: 1, burst: 3 },
    table_sources: 8,
};

thread_local! {
    /// Those without limits, which nothing changes: an index of access lists takes long to build.
    static POLICIES: RefCell<HashMap<u8, SharedPolicy>> = RefCell::default();
}

impl World {
    pub fn new(choices: u8) -> Self {
        let mut settings = TrackerSettings {
            answer_bad_connection_ids: bit(choices, 0),
            ..TrackerSettings::default()
        };
        if bit(choices, 1) {
            (settings.torrents_max, settings.peers_max, settings.peers_per_torrent_max) = (4, 8, 2);
        }
        if bit(choices, 2) {
            (settings.numwant_default, settings.numwant_max) = (1000, 1000);
            settings.scrape_hashes_max = TrackerSettings::SCRAPE_HASHES_MAX;
        }
        if bit(choices, 7) {
            settings.source_limits = LIMITS;
            return Self::with(settings, access(choices));
        }
        let policy = POLICIES.with_borrow_mut(|policies| {
            let make = || shared(settings.clone(), access(choices));
            policies.entry(choices).or_insert_with(make).clone()
        });
        Self::under(settings, policy)
    }

    pub fn with(settings: TrackerSettings, access: AccessList) -> Self {
        let policy = shared(settings.clone(), access);
        Self::under(settings, policy)
    }

    fn under(settings: TrackerSettings, policy: SharedPolicy) -> Self {
        let shards = Arc::new(Shards::new(2, &Secrets::from_seed(&[7; Secrets::SEED_BYTES])));
        let ids = ConnectionIds::new(KEY, LIFETIME_S);
        let counters = Arc::<Counters>::default();
        let tracker = Tracker::new(TrackerParts {
            worker: 0,
            shards: Arc::clone(&shards),
            policy,
            ids: ids.clone(),
            counters: Arc::clone(&counters),
        });
        Self {
            tracker,
            shards,
            settings,
            ids,
            counters,
            pool: ReceivePool::new(1, PAYLOAD_BYTES_MAX),
            slots: Slots::new(1),
            now: Now::from_unix(Duration::from_secs(START_S)),
            received: 0,
            replied: 0,
            refused: 0,
            reflected: Reflected::default(),
            within: BTreeMap::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (choices, seconds) = (input.byte(), input.byte());
        let length = usize::from(input.word()) % (PAYLOAD_BYTES_MAX + 1);
        let mut payload = input.take(length).to_vec();
        self.wait(seconds.into());
        if bit(choices, 6) {
            self.tracker.on_tick(self.now, &mut self.slots);
        }
        let source = source(choices >> 2);
        let id = [Id::AsItIs, Id::Valid, Id::OfAnother, Id::Expired][usize::from(choices & 3)];
        self.put_id(&mut payload, source, id);
        self.slots.free = usize::from(!bit(choices, 5));
        self.arrive(source, &payload);
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Writes the chosen connection ID where it belongs.
    pub fn put_id(&self, payload: &mut [u8], source: SocketAddr, id: Id) {
        let Some(field) = payload.first_chunk_mut::<8>() else { return };
        let long_ago = self.now.since_epoch() - Duration::from_secs(2 * u64::from(LIFETIME_S));
        let id = match id {
            Id::AsItIs => return,
            Id::Valid => self.ids.issue(self.now, source.ip()),
            Id::OfAnother => self.ids.issue(self.now, IpAddr::from([203, 0, 113, 9])),
            Id::Expired => self.ids.issue(Now::from_unix(long_ago), source.ip()),
        };
        *field = id.0.to_be_bytes();
    }

    /// Hands a datagram to the tracker and checks what becomes of it. Returns the reply.
    pub fn arrive(&mut self, source: SocketAddr, payload: &[u8]) -> Option<Sent> {
        let path = ReplyPath::new(SocketId(3), source, None);
        let before = self.counters.snapshot();
        let buffer = self.pool.fill(payload).expect("the buffer is at home");
        let packet = Packet { path, payload: buffer.bytes(), buffer: &buffer };
        self.tracker.on_datagram(self.now, &packet, &mut self.slots);
        drop(buffer);
        assert_eq!(self.pool.held(), 0, "the tracker keeps a buffer");
        let delta = self.counters.snapshot().since(&before);
        let refused = std::mem::take(&mut self.slots.refused) as u64;
        let mut replies = std::mem::take(&mut self.slots.replies);
        let replied = replies.len() as u64;
        assert_eq!(replied + refused + delta.dropped_total(), 1, "one end for each datagram");
        assert_eq!(responses(&delta), replied, "replies are counted by kind");
        self.received += 1;
        self.replied += replied;
        self.refused += refused;
        let reply = replies.pop();
        let authentic = payload.first_chunk().is_some_and(|id| {
            self.ids.accepts(self.now, source.ip(), ConnectionId(u64::from_be_bytes(*id)))
        });
        if !authentic {
            self.check_unauthenticated(payload, reply.as_ref(), &delta);
        }
        if let Some(reply) = &reply {
            assert_eq!(reply.path, path, "a reply goes to where the request came from");
            self.check_length(payload, &reply.bytes, source.ip().to_canonical().is_ipv4());
        }
        self.check_limits(source, &delta);
        self.check_caps();
        // The send is over.
        self.slots.free = 1;
        reply
    }

    fn check_unauthenticated(&mut self, payload: &[u8], reply: Option<&Sent>, delta: &Snapshot) {
        let sent = reply.map_or(0, |reply| reply.bytes.len());
        assert!(sent <= payload.len(), "{sent} bytes for the {} of a stranger", payload.len());
        self.reflected.received += payload.len() as u64;
        self.reflected.sent += sent as u64;
        let connects = delta.get(Counter::ConnectsIpv4) + delta.get(Counter::ConnectsIpv6);
        let error = delta.get(Counter::BadConnectionIdsAnswered);
        assert!(reply.is_none() || connects + error == 1, "a stranger is answered");
        assert!(error == 0 || self.settings.answer_bad_connection_ids);
        let stored = delta.get(Counter::AnnouncesIpv4) + delta.get(Counter::AnnouncesIpv6);
        assert_eq!(stored, 0, "a stranger's announce is handled");
    }

    /// The longest that each kind of reply may be.
    fn check_length(&self, payload: &[u8], reply: &[u8], ipv4: bool) {
        let action = reply.get(..4).expect("an action");
        assert_eq!(reply.get(4..8), payload.get(12..16), "the transaction ID comes back");
        let length = reply.len();
        match action[3] {
            0 => assert_eq!(length, 16),
            1 => {
                let (peers, peer) = (length - 20, if ipv4 { 6 } else { 18 });
                assert_eq!(peers % peer, 0);
                assert!(peers / peer <= usize::from(self.settings.numwant_max));
            }
            2 => {
                let asked = (payload.len() - 16) / 20;
                let answered = asked.min(self.settings.scrape_hashes_max.into());
                assert_eq!(length, 8 + 12 * answered);
            }
            3 => assert!(length <= payload.len()),
            other => panic!("a reply of kind {other}"),
        }
    }

    /// A source has its burst and what time brings, no more; without its burst it is not refused.
    fn check_limits(&mut self, source: SocketAddr, delta: &Snapshot) {
        let elapsed_s = self.now.seconds() - START_S;
        let limits = &self.settings.source_limits;
        let connects = [Counter::ConnectsIpv4, Counter::ConnectsIpv6];
        let others = [
            Counter::AnnouncesIpv4,
            Counter::AnnouncesIpv6,
            Counter::ScrapesIpv4,
            Counter::ScrapesIpv6,
        ];
        for (counters, over, limit) in [
            (&connects[..], DropReason::ConnectsOverLimit, limits.connects),
            (&others[..], DropReason::AnnouncesOverLimit, limits.announces),
        ] {
            let asked: u64 = counters.iter().map(|counter| delta.get(*counter)).sum();
            let refused = delta.dropped(over);
            assert!(refused <= asked);
            if limit.per_s == 0 {
                assert_eq!(refused, 0, "refused without a limit");
                continue;
            }
            let within = self.within.entry((over, Source::of(source.ip()))).or_default();
            *within += asked - refused;
            let burst = u64::from(limit.burst);
            assert!(refused == 0 || *within >= burst, "refused with {within} of a burst used");
            assert!(*within <= burst + u64::from(limit.per_s) * elapsed_s, "{within} within");
        }
    }

    fn check_caps(&self) {
        let shards = self.shards.len();
        // Each shard has its part of a cap, rounded up, for each address family.
        let cap = |total: u64| (total.div_ceil(shards as u64) as usize).saturating_mul(2 * shards);
        let torrents: usize = self.shards.gauges().map(|gauges| gauges.torrents()).sum();
        let peers: usize = self.shards.gauges().map(|gauges| gauges.peers()).sum();
        assert!(torrents <= cap(self.settings.torrents_max), "{torrents} torrents");
        assert!(peers <= cap(self.settings.peers_max), "{peers} peers");
        assert!(torrents <= peers, "no torrent without a peer");
    }

    /// Received is replied and dropped by reason.
    pub fn check_totals(&self) {
        let total = self.counters.snapshot();
        assert_eq!(self.received, self.replied + self.refused + total.dropped_total());
        assert!(self.reflected.sent <= self.reflected.received);
    }

    pub fn counted(&self) -> Snapshot {
        self.counters.snapshot()
    }

    pub fn peers(&self) -> usize {
        self.shards.gauges().map(|gauges| gauges.peers()).sum()
    }
}

pub fn source(index: u8) -> SocketAddr {
    static PARSED: LazyLock<[SocketAddr; SOURCES.len()]> =
        LazyLock::new(|| SOURCES.map(|text| text.parse().unwrap()));
    PARSED[usize::from(index) % SOURCES.len()]
}

fn access(choices: u8) -> AccessList {
    let modes = [AccessMode::Off, AccessMode::Allow, AccessMode::Deny];
    let mode = modes[usize::from(choices >> 3 & 15) % modes.len()];
    AccessList::parse(if mode == AccessMode::Off { "" } else { LISTED }, mode).unwrap()
}

fn shared(settings: TrackerSettings, access: AccessList) -> SharedPolicy {
    SharedPolicy::new(Policy { settings, access }, [7; 2])
}

fn responses(snapshot: &Snapshot) -> u64 {
    let kinds = [
        Counter::ConnectResponses,
        Counter::AnnounceResponses,
        Counter::ScrapeResponses,
        Counter::ErrorResponses,
    ];
    kinds.iter().map(|kind| snapshot.get(*kind)).sum()
}
