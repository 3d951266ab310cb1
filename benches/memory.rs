//! Resident bytes per IPv4 peer, measured by the process's own resident set.
//!
//! Each shape is built in a fresh process, torrent by torrent in turns, as announces would come:
//! no table is grown in one go. "Whole process" is what an operator sees divided by the peers;
//! "storage" leaves out what was resident before the first announce. The last lines are of the
//! real program with one worker, announced to over loopback: its sockets' buffers, ring, receive
//! buffers and transmit slots count too.

#[path = "common/fill.rs"]
mod fill;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::{Child, Command};
use std::time::Duration;

use ringtide::io::Now;
use ringtide::tracker::core::InfoHash;
use ringtide::tracker::store::{Announce, Event, Ipv4, Limits, NoPeers, Secrets, Shards};

use fill::Filler;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, torrents, peers] = &arguments[..]
        && child == CHILD
    {
        let number = |text: &str| text.parse().expect("a number");
        return build(number(torrents), number(peers));
    }
    for (torrents, peers) in SHAPES {
        let (torrents, peers) = (torrents.to_string(), peers.to_string());
        let itself = std::env::current_exe().expect("the path of this program");
        let status = Command::new(itself).args([CHILD, &torrents, &peers]).status();
        assert!(status.expect("a child process").success());
    }
    for (torrents, peers) in SERVED_SHAPES {
        serve(torrents, peers);
    }
}

/// Announces to the real program and reads its resident set.
fn serve(torrents: u32, peers: u16) {
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let server = Command::new(env!("CARGO_BIN_EXE_ringtide"))
        .args(["tracker", "--workers", "1", "--report-interval", "0s", "--log-level", "warn"])
        .args(["--listen", &address.to_string()])
        .spawn()
        .expect("the program");
    let server = Server(server);
    let statm = format!("/proc/{}/statm", server.0.id());
    let mut filler = Filler::connect(address);
    let before = resident_bytes_of(&statm);
    let stored = filler.fill(torrents, peers);
    let after = resident_bytes_of(&statm);
    drop(server);
    let per_peer = |bytes: usize| bytes as f64 / stored as f64;
    println!(
        "{torrents:>9} torrents x {peers:>7} peers: real program  {:6.2} B/peer, \
         less its start {:6.2} B/peer ({} KiB before, {} KiB after)",
        per_peer(after),
        per_peer(after - before),
        before / 1024,
        after / 1024,
    );
}

/// The real program, ended with its bench whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn build(torrents: u32, peers: u32) {
    let shards = Shards::new(1, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]));
    let limits = Limits::NONE;
    let before = resident_bytes();
    for peer in 0..peers {
        for torrent in 0..torrents {
            let mut shard = shards.lock(0);
            let shard = &mut *shard;
            let mut info_hash = InfoHash([0; 20]);
            info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
            let address = Ipv4Addr::from_bits(peer.wrapping_mul(0x9e37_79b1));
            let request = Announce::<Ipv4> {
                now: Now::from_unix(Duration::from_secs(1_700_000_000)),
                info_hash: &info_hash,
                peer: SocketAddrV4::new(address, 6881),
                seeder: (peer + torrent).is_multiple_of(4),
                event: Event::Started,
                numwant: 0,
            };
            shard.ipv4.announce(&request, &limits, &mut shard.rng, &mut NoPeers);
        }
    }
    let after = resident_bytes();
    let stored = shards.lock(0).ipv4.peers();
    assert_eq!(stored, torrents as usize * peers as usize);
    let per_peer = |bytes: usize| bytes as f64 / stored as f64;
    println!(
        "{torrents:>9} torrents x {peers:>7} peers: whole process {:6.2} B/peer, \
         storage {:6.2} B/peer",
        per_peer(after),
        per_peer(after - before),
    );
}

/// The resident set of this process.
fn resident_bytes() -> usize {
    resident_bytes_of("/proc/self/statm")
}

fn resident_bytes_of(statm: &str) -> usize {
    let statm = std::fs::read_to_string(statm).expect("the process's statm");
    let pages = statm.split(' ').nth(1).expect("a second field");
    pages.parse::<usize>().expect("a number of pages") * PAGE_BYTES
}

const CHILD: &str = "build";
const SHAPES: [(u32, u32); 4] = [(1_000_000, 2), (1000, 2000), (100_000, 20), (1, 2_000_000)];
const SERVED_SHAPES: [(u32, u16); 2] = [(1_000_000, 2), (1000, 2000)];
const PAGE_BYTES: usize = 4096;
