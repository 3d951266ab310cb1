//! Nanoseconds per operation of the parts that every request goes through: parser, connection ID,
//! storage, response.
//!
//! `cargo bench --bench micro [-- FILTER]`. Swarms that fit a cache tell what the work costs; many
//! swarms tell what their cache misses add.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use divan::{Bencher, black_box};
use ringtide::io::Now;
use ringtide::tracker::core::source_limits::{Decision, SourceLimits};
use ringtide::tracker::core::{InfoHash, RateLimit, SourceLimitSettings};
use ringtide::tracker::store::{
    self, Announced, CompactPeers, Event, Ipv4, Limits, Secrets, Shards,
};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::wire::bep15::request::AnnounceRequest;
use ringtide::wire::bep15::response::{AnnounceHeader, ScrapeEntry, ScrapeWriter};
use ringtide::wire::bep15::{ConnectionId, Request, TransactionId, request, response};

fn main() {
    divan::main();
}

#[divan::bench(args = ["connect", "announce", "scrape of 1", "scrape of 74", "garbage"])]
fn parse(bencher: Bencher<'_, '_>, kind: &str) {
    let mut out = [0; 2048];
    let hashes = |count| (0..count).map(info_hash);
    let length = match kind {
        "connect" => request::emit_connect(&mut out, TRANSACTION),
        "announce" => announce_request().emit(&mut out),
        "scrape of 1" => request::emit_scrape(&mut out, ID, TRANSACTION, hashes(1)),
        "scrape of 74" => request::emit_scrape(&mut out, ID, TRANSACTION, hashes(74)),
        _ => 100,
    };
    // All that a request holds has to be there, not only whether it is one.
    bencher.bench(|| black_box(Request::parse(black_box(&out[..length]))).is_ok());
}

#[divan::bench(args = ["make", "accept", "refuse"])]
fn connection_id(bencher: Bencher<'_, '_>, what: &str) {
    let ids = ConnectionIds::new([7; 16], 120);
    let client = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
    let id = if what == "accept" { ids.issue(now(), client) } else { ID };
    match what {
        "make" => bencher.bench(|| ids.issue(now(), black_box(client)).0),
        _ => bencher.bench(|| u64::from(ids.accepts(now(), black_box(client), black_box(id)))),
    }
}

/// What a limit costs a request: switched off, of one source within it and over it, and of any of
/// 50,000 sources.
#[divan::bench(args = ["off", "within", "over", "many"])]
fn source_limit(bencher: Bencher<'_, '_>, what: &str) {
    let per_s = if what == "off" { 0 } else { 50 };
    let announces = RateLimit { per_s, burst: 5000 };
    let settings = SourceLimitSettings { announces, ..SourceLimitSettings::default() };
    let limits = SourceLimits::new(settings, [1, 2]);
    let client = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
    if what == "over" {
        (0..5000).for_each(|_| assert_ne!(limits.announce(now(), client(0)), Decision::Refused));
    }
    let mut rng = fastrand::Rng::with_seed(1);
    // One source just within its limit; many that need most places of the table.
    let step = match what {
        "over" => Duration::ZERO,
        "many" => Duration::from_nanos(400),
        _ => Duration::from_millis(20),
    };
    let mut now = now();
    bencher.bench_local(|| {
        now = now.after(step);
        let number = if what == "many" { rng.u32(..50_000) } else { 0 };
        black_box(&limits).announce(now, black_box(client(number)))
    });
}

#[divan::bench(args = ["connect", "announce header", "scrape of 74", "error"])]
fn response_writing(bencher: Bencher<'_, '_>, kind: &str) {
    let mut out = [0; 1472];
    let header =
        AnnounceHeader { transaction: TRANSACTION, interval_s: 1800, leechers: 30, seeders: 20 };
    let entry = ScrapeEntry { seeders: 20, completed: 3, leechers: 30 };
    bencher.bench_local(|| {
        let out = black_box(&mut out[..]);
        match kind {
            "connect" => response::emit_connect(out, TRANSACTION, ID),
            "announce header" => black_box(&header).emit(out),
            "error" => response::emit_error(out, TRANSACTION, "connection ID expired"),
            _ => {
                let mut writer = ScrapeWriter::new(out, TRANSACTION);
                for _ in 0..74 {
                    let _ = writer.push(black_box(entry));
                }
                writer.finish()
            }
        }
    });
}

#[divan::bench(args = SHAPES)]
fn leecher_announces_50_wanted(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.announce(1, 50));
}

#[divan::bench(args = SHAPES)]
fn seeder_announces_50_wanted(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.announce(0, 50));
}

#[divan::bench(args = SHAPES)]
fn leecher_announces_0_wanted(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.announce(1, 0));
}

/// Two announces each time.
#[divan::bench(args = SHAPES)]
fn leecher_completes_and_is_back(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.complete_and_back());
}

/// Two announces each time.
#[divan::bench(args = SHAPES)]
fn new_peer_comes_and_stops(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.come_and_go());
}

/// Torrents that nobody has yet, where there is memory for them, and each in the place of another.
#[divan::bench(args = ["with room", "in place of another"], sample_size = 1000)]
fn new_torrent(bencher: Bencher<'_, '_>, what: &str) {
    let memory_bytes = if what == "with room" { usize::MAX } else { FULL_BYTES };
    let mut swarms = Swarms::within(memory_bytes, &Shape(FULL_TORRENTS, 1));
    let mut new = FULL_TORRENTS;
    bencher.bench_local(|| {
        new += 1;
        let announced = swarms.send(new, new, false, Event::Started, 50);
        assert_eq!(announced.evicted > 0, what != "with room");
    });
}

#[divan::bench(args = SHAPES)]
fn scrape_1(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.scrape(1));
}

#[divan::bench(args = SHAPES)]
fn scrape_74(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut swarms = Swarms::new(shape);
    bencher.bench_local(|| swarms.scrape(74));
}

/// So many torrents with so many peers each, one in four of them seeding.
struct Shape(u32, u32);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} peers", self.0, self.1)
    }
}

struct Swarms {
    shards: Shards,
    torrents: u32,
    peers: u32,
    rng: fastrand::Rng,
    out: [u8; 1472],
}

impl Swarms {
    fn new(shape: &Shape) -> Self {
        Self::within(usize::MAX, shape)
    }

    fn within(memory_bytes: usize, &Shape(torrents, peers): &Shape) -> Self {
        let secrets = Secrets::from_seed(&[7; Secrets::SEED_BYTES]);
        let shards = Shards::with_memory(1, &secrets, memory_bytes);
        let rng = fastrand::Rng::with_seed(1);
        let mut swarms = Self { shards, torrents, peers, rng, out: [0; 1472] };
        for peer in 0..peers {
            for torrent in 0..torrents {
                swarms.send(torrent, peer, peer.is_multiple_of(4), Event::Started, 0);
            }
        }
        swarms
    }

    /// A peer of this kind, 0 for seeders and 1 to 3 for leechers, announces to any torrent.
    fn announce(&mut self, kind: u32, numwant: usize) -> Announced {
        let (torrent, peer) = self.random();
        let peer = (peer / 4 * 4 + kind) % self.peers;
        self.send(torrent, peer, peer.is_multiple_of(4), Event::None, numwant)
    }

    fn complete_and_back(&mut self) -> Announced {
        let (torrent, peer) = self.random();
        self.send(torrent, peer, true, Event::Completed, 50);
        self.send(torrent, peer, peer.is_multiple_of(4), Event::None, 50)
    }

    fn come_and_go(&mut self) -> Announced {
        let (torrent, _) = self.random();
        self.send(torrent, self.peers, false, Event::Started, 50);
        self.send(torrent, self.peers, false, Event::Stopped, 50)
    }

    fn scrape(&mut self, hashes: usize) -> usize {
        let mut writer = ScrapeWriter::new(&mut self.out, TRANSACTION);
        for _ in 0..hashes {
            let hash = info_hash(self.rng.u32(..self.torrents));
            let counts = self.shards.lock(0).ipv4.scrape(&hash).unwrap_or_default();
            let store::ScrapeCounts { seeders, completed, leechers } = counts;
            if writer.push(ScrapeEntry { seeders, completed, leechers }).is_err() {
                break;
            }
        }
        writer.finish()
    }

    fn random(&mut self) -> (u32, u32) {
        (self.rng.u32(..self.torrents), self.rng.u32(..self.peers))
    }

    fn send(
        &mut self,
        torrent: u32,
        peer: u32,
        seeder: bool,
        event: Event,
        numwant: usize,
    ) -> Announced {
        let mut guard = self.shards.lock(0);
        let shard = &mut *guard;
        let request = store::Announce::<Ipv4> {
            now: now(),
            info_hash: &info_hash(torrent),
            peer: SocketAddrV4::new(Ipv4Addr::from_bits(peer.wrapping_mul(0x9e37_79b1)), 6881),
            seeder,
            event,
            numwant,
        };
        let limits = shard.limits_ipv4(LIMITS);
        let mut sink = CompactPeers::new(black_box(&mut self.out));
        shard.ipv4.announce(&request, &limits, &mut shard.rng, &mut sink)
    }
}

fn now() -> Now {
    Now::from_unix(Duration::from_secs(1_700_000_000))
}

fn info_hash(torrent: u32) -> InfoHash {
    let mut info_hash = InfoHash([0; 20]);
    info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
    info_hash
}

fn announce_request() -> AnnounceRequest {
    AnnounceRequest {
        connection_id: ID,
        transaction: TRANSACTION,
        info_hash: info_hash(1),
        peer_id: *b"-RT0001-000000000000",
        downloaded: 1000,
        left: 65_536,
        uploaded: 255,
        event_code: request::Event::Started.code(),
        ip: 0,
        key: 1,
        numwant: 50,
        port: 6881,
    }
}

const ID: ConnectionId = ConnectionId(0x0123_4567_89ab_cdef);
const TRANSACTION: TransactionId = TransactionId([1, 2, 3, 4]);
const LIMITS: Limits = Limits::NONE;
/// A limit, and more torrents than it has room for.
const FULL_BYTES: usize = 16 << 20;
const FULL_TORRENTS: u32 = 200_000;
const SHAPES: [Shape; 7] = [
    Shape(1, 2),
    Shape(1, 30),
    Shape(1, 200),
    Shape(1, 2000),
    Shape(1000, 2000),
    Shape(1_000_000, 2),
    Shape(1, 1_000_000),
];
