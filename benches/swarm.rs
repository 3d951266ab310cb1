//! Nanoseconds per announce and scrape, over swarms of several sizes.
//!
//! Each line is the median of many batches. Swarms that fit a cache tell what the work costs;
//! many swarms tell what their cache misses add.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use ringtide::handler::Now;
use ringtide::tracker::InfoHash;
use ringtide::tracker::request::Event;
use ringtide::tracker::store::{Announce, Ipv4, Limits, Secrets, Shards};

fn main() {
    for (torrents, peers) in SHAPES {
        let bench = Bench::new(torrents, peers);
        bench.run("leecher announces, 50 wanted", |bench| bench.announce(1, 50));
        bench.run("seeder announces, 50 wanted", |bench| bench.announce(0, 50));
        bench.run("leecher announces, 0 wanted", |bench| bench.announce(1, 0));
        bench.run("leecher completes and is back", |bench| bench.announce_either(50));
        bench.run("new peer comes and stops", |bench| bench.come_and_go(50));
        bench.run("scrape", |bench| bench.scrape());
        bench.growth();
    }
}

struct Bench {
    shards: Shards,
    torrents: u32,
    peers: u32,
    rng: std::cell::RefCell<fastrand::Rng>,
}

impl Bench {
    fn new(torrents: u32, peers: u32) -> Self {
        println!("{torrents} torrents x {peers} peers");
        let shards = Shards::new(1, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
        let rng = fastrand::Rng::with_seed(1).into();
        let bench = Self { shards, torrents, peers, rng };
        for peer in 0..peers {
            (0..torrents)
                .for_each(|torrent| bench.send(torrent, peer, peer.is_multiple_of(4), START, 0));
        }
        bench
    }

    /// Prints the median over batches of `work`, in nanoseconds.
    fn run(&self, name: &str, work: impl Fn(&Self)) {
        let mut batches: Vec<f64> = (0..BATCHES)
            .map(|_| {
                let begin = Instant::now();
                (0..BATCH).for_each(|_| work(self));
                begin.elapsed().as_nanos() as f64 / f64::from(BATCH)
            })
            .collect();
        batches.sort_by(f64::total_cmp);
        println!("  {name:<32} {:7.1} ns", batches[batches.len() / 2]);
    }

    /// The slowest of the announces that add a peer or a torrent, growth of tables included.
    fn growth(&self) {
        let mut slowest = Duration::ZERO;
        for peer in 0..200_000 {
            let torrent = self.torrents + if self.torrents > 1000 { peer } else { 0 };
            let begin = processor_time();
            self.send(torrent, peer, false, START, 0);
            slowest = slowest.max(processor_time() - begin);
        }
        println!("  slowest of 200,000 new peers     {:7.1} us", slowest.as_nanos() as f64 / 1e3);
    }

    fn announce(&self, kind: u32, numwant: usize) {
        let (torrent, peer) = self.random();
        let peer = (peer / 4 * 4 + kind) % self.peers;
        self.send(torrent, peer, peer.is_multiple_of(4), Event::None, numwant);
    }

    fn announce_either(&self, numwant: usize) {
        let (torrent, peer) = self.random();
        self.send(torrent, peer, true, Event::Completed, numwant);
        self.send(torrent, peer, peer.is_multiple_of(4), Event::None, numwant);
    }

    fn come_and_go(&self, numwant: usize) {
        let (torrent, _) = self.random();
        self.send(torrent, self.peers, false, START, numwant);
        self.send(torrent, self.peers, false, Event::Stopped, numwant);
    }

    fn scrape(&self) {
        black_box(self.shards.lock(0).ipv4.scrape(&info_hash(self.random().0)));
    }

    fn random(&self) -> (u32, u32) {
        let mut rng = self.rng.borrow_mut();
        (rng.u32(..self.torrents), rng.u32(..self.peers))
    }

    fn send(&self, torrent: u32, peer: u32, seeder: bool, event: Event, numwant: usize) {
        let mut guard = self.shards.lock(0);
        let shard = &mut *guard;
        let request = Announce::<Ipv4> {
            now: Now::from_unix(Duration::from_secs(1_700_000_000)),
            info_hash: &info_hash(torrent),
            peer: SocketAddrV4::new(Ipv4Addr::from_bits(peer.wrapping_mul(0x9e37_79b1)), 6881),
            seeder,
            event,
            numwant,
        };
        let mut out = [0; 1472];
        let announced = shard.ipv4.announce(&request, &LIMITS, &mut shard.rng, &mut out);
        black_box((announced, &out));
    }
}

fn info_hash(torrent: u32) -> InfoHash {
    let mut info_hash = InfoHash([0; 20]);
    info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
    info_hash
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the thread's clock").into()
}

const LIMITS: Limits =
    Limits { torrents: usize::MAX, peers: usize::MAX, peers_per_torrent: usize::MAX };
const SHAPES: [(u32, u32); 7] =
    [(1, 2), (1, 30), (1, 200), (1, 2000), (1000, 2000), (1_000_000, 2), (1, 1_000_000)];
const START: Event = Event::Started;
const BATCH: u32 = 2000;
const BATCHES: u32 = 101;
