//! The longest a worker is kept from its socket: a slice of expiry while 2 million IPv4 peers
//! expire at once, and an announce that grows a table. In processor time, so that other programs
//! on the machine do not count.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use ringtide::io::Now;
use ringtide::tracker::core::InfoHash;
use ringtide::tracker::store::{
    Announce, EXPIRY_VISITS_MAX, Event, Ipv4, Limits, NoPeers, Secrets, Shard, Shards,
};

fn main() {
    for (torrents, peers) in SHAPES {
        // All expire, every other one expires, none expires.
        for stale in [1.0, 0.5, 0.0] {
            sweep(torrents, peers, stale);
        }
    }
    for (torrents, peers) in GROWN {
        growth(torrents, peers);
    }
}

/// The slowest of the announces that add a peer to one torrent, or a torrent to many.
fn growth(torrents: u32, peers: u32) {
    let shards = Shards::new(1, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
    let mut guard = shards.lock(0);
    fill(&mut guard, torrents, peers, 0.0, 1_700_000_000);
    let mut slowest = Duration::ZERO;
    for new in 0..NEW_PEERS {
        let (torrent, peer) = if torrents > 1 { (torrents + new, 0) } else { (0, peers + new) };
        let begin = processor_time();
        announce(&mut guard, torrent, peer, 1_700_000_000);
        slowest = slowest.max(processor_time() - begin);
    }
    println!(
        "{torrents:>8} x {peers:>8}, slowest of {NEW_PEERS} new peers {:7.1} us",
        slowest.as_nanos() as f64 / 1000.0
    );
}

fn sweep(torrents: u32, peers: u32, stale: f64) {
    let shards = Shards::new(1, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
    let mut guard = shards.lock(0);
    let shard = &mut *guard;
    let start = 1_700_000_000;
    fill(shard, torrents, peers, stale, start);
    let now = Now::from_unix(Duration::from_secs(start + 1500));
    let mut slices: Vec<Duration> = Vec::new();
    let mut removed = 0;
    loop {
        let begin = processor_time();
        let expired = shard.ipv4.expire(now, 1000, EXPIRY_VISITS_MAX);
        slices.push(processor_time() - begin);
        removed += expired.peers;
        if expired.finished {
            break;
        }
    }
    let count = slices.len();
    slices.sort_unstable();
    let mean = slices.iter().sum::<Duration>() / count as u32;
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    println!(
        "{torrents:>8} x {peers:>8}, {:>3.0} % expire: slice median {:7.1} us, mean {:7.1}, \
         99 % {:7.1}, largest {:7.1}; {count} slices, {removed} peers removed",
        stale * 100.0,
        micros(slices[count / 2]),
        micros(mean),
        micros(slices[count * 99 / 100]),
        micros(slices[count - 1]),
    );
}

/// Peers that announced at `start`, or 1,000 s later if they are not to expire.
fn fill(shard: &mut Shard, torrents: u32, peers: u32, stale: f64, start: u64) {
    let mut rng = fastrand::Rng::with_seed(1);
    for peer in 0..peers {
        for torrent in 0..torrents {
            let fresh = rng.f64() >= stale;
            announce(shard, torrent, peer, start + u64::from(fresh) * 1000);
        }
    }
}

fn announce(shard: &mut Shard, torrent: u32, peer: u32, at_s: u64) {
    let limits = Limits::NONE;
    let mut info_hash = InfoHash([0; 20]);
    info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
    let address = Ipv4Addr::from_bits(peer.wrapping_mul(0x9e37_79b1));
    let request = Announce::<Ipv4> {
        now: Now::from_unix(Duration::from_secs(at_s)),
        info_hash: &info_hash,
        peer: SocketAddrV4::new(address, 6881),
        seeder: (peer + torrent).is_multiple_of(4),
        event: Event::Started,
        numwant: 0,
    };
    shard.ipv4.announce(&request, &limits, &mut shard.rng, &mut NoPeers);
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the thread's clock").into()
}

const SHAPES: [(u32, u32); 4] = [(1_000_000, 2), (2_000_000, 1), (1000, 2000), (1, 2_000_000)];
const GROWN: [(u32, u32); 2] = [(1_000_000, 2), (1, 1_000_000)];
const NEW_PEERS: u32 = 200_000;
