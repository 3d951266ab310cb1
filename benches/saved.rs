//! How long 2 million IPv4 peers take to save and to load, to and from a file on this machine's
//! disk, and for how long a save beside workers holds the lock of a shard.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use ringtide::io::clock::Clock;
use ringtide::server::persist::export;
use ringtide::server::persist::slices::WalkOptions;
use ringtide::server::persist::swarm_file::SwarmWriter;
use ringtide::server::persist::swarms::{load, save};
use ringtide::tracker::core::{InfoHash, TrackerSettings};
use ringtide::tracker::store::{
    Announce, Event, Ipv4, Limits, NoPeers, PeerChunk, Secrets, Shards, WALK_VISITS, Walk,
};

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = folder.path().join("swarms");
    for (torrents, peers) in SHAPES {
        measure(torrents, peers, &path);
    }
}

fn measure(torrents: u32, peers: u32, path: &Path) {
    let clock = Clock::start();
    let shards = Shards::new(SHARDS, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
    fill(&shards, torrents, peers, &clock);
    let began = Instant::now();
    let saved = save(path, &shards, &clock, WalkOptions::ALONE).expect("a save");
    let saving = began.elapsed();
    let bytes = std::fs::metadata(path).expect("the file").len();
    let began = Instant::now();
    let list = path.with_extension("csv");
    export::export(&list, &shards, WalkOptions::ALONE).expect("a list");
    let exporting = began.elapsed();
    let slice = longest_slice(&shards, &clock);
    drop(shards);
    let shards = Shards::new(SHARDS, &Secrets::from_seed(&[8; Secrets::SEED_BYTES]));
    let began = Instant::now();
    let loaded = load(path, &shards, &TrackerSettings::default(), clock.now());
    let loading = began.elapsed();
    assert_eq!(loaded.expect("a load").map(|loaded| loaded.peers), Some(saved.peers));
    println!(
        "{torrents:>8} x {peers:>8}: save {saving:7.2?}, load {loading:7.2?}, {:5.1} MB; \
         longest slice {slice:7.2?}; list of torrents {exporting:7.2?}",
        bytes as f64 / 1e6,
    );
}

/// The longest that a save keeps a shard's lock, as the clock on the wall has it.
fn longest_slice(shards: &Shards, clock: &Clock) -> Duration {
    let mut writer = SwarmWriter::new(clock.now());
    let mut longest = Duration::ZERO;
    for index in 0..shards.len() {
        let mut walk = Walk::default();
        loop {
            let shard = shards.lock(index);
            let began = Instant::now();
            let push = |piece: &PeerChunk<'_, _>| writer.push::<Ipv4>(piece);
            let finished = shard.ipv4.walk(&mut walk, WALK_VISITS, push);
            longest = longest.max(began.elapsed());
            drop(shard);
            writer.take();
            writer.clear();
            if finished {
                break;
            }
        }
    }
    longest
}

fn fill(shards: &Shards, torrents: u32, peers: u32, clock: &Clock) {
    let limits = Limits::NONE;
    for peer in 0..peers {
        for torrent in 0..torrents {
            let mut info_hash = InfoHash([0; 20]);
            info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
            let address = Ipv4Addr::from_bits(peer.wrapping_mul(0x9e37_79b1));
            let request = Announce::<Ipv4> {
                now: clock.now(),
                info_hash: &info_hash,
                peer: SocketAddrV4::new(address, 6881),
                seeder: (peer + torrent).is_multiple_of(4),
                event: Event::Started,
                numwant: 0,
            };
            let mut shard = shards.lock(shards.owner(&info_hash));
            let shard = &mut *shard;
            shard.ipv4.announce(&request, &limits, &mut shard.rng, &mut NoPeers);
        }
    }
}

const SHARDS: usize = 2;
const SHAPES: [(u32, u32); 3] = [(1_000_000, 2), (1000, 2000), (2, 1_000_000)];
