//! What `scripts/bench_tracker.sh` needs beside trackers and load: the ceiling that the loop and
//! the kernel set, a recorder of info hashes for trackers that want a list of them, and a client
//! that fills a tracker with a known number of peers.
#![allow(clippy::unwrap_used)]

#[path = "../benches/common/canned.rs"]
mod canned;
#[path = "../benches/common/fill.rs"]
mod fill;
#[path = "../benches/common/served.rs"]
mod served;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use ringtide::io::Engine;
use ringtide::io::{DatagramService, Now, Packet, Transmit};
use ringtide::tracker::core::InfoHash;
use ringtide::wire::bep15::Request;

use canned::Canned;

/// The other side of a tracker's benchmark.
#[derive(Parser)]
enum Command {
    /// Answers every request with a reply of fixed size, from no storage, until it is ended.
    Echo {
        #[arg(long)]
        listen: String,
        #[arg(long, default_value_t = 1)]
        workers: usize,
        /// Peers in each announce response.
        #[arg(long, default_value_t = 50)]
        peers: usize,
    },
    /// Answers likewise, and writes down the info hashes of all announces, one a line.
    Record {
        #[arg(long)]
        listen: String,
        /// Ends when there were so many, or no new one for two seconds.
        #[arg(long)]
        torrents: usize,
        #[arg(long)]
        file: PathBuf,
    },
    /// Announces so many peers to each of so many torrents.
    Fill {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        torrents: u32,
        #[arg(long)]
        peers: u16,
    },
    /// Prints the info hashes that `fill` announces, one a line.
    Hashes {
        #[arg(long)]
        torrents: u32,
    },
}

fn main() {
    match Command::parse() {
        Command::Echo { listen, workers, peers } => {
            let echo = Canned::with_peers(peers);
            let served = served::serve(&listen, Engine::IoUring, &vec![None; workers], move |_| {
                echo.clone()
            });
            eprintln!("ready on {}", served.address);
            loop {
                std::thread::park();
            }
        }
        Command::Record { listen, torrents, file } => {
            let hashes = record(&listen, torrents);
            std::fs::write(file, lines(hashes.iter())).unwrap();
        }
        Command::Fill { target, torrents, peers } => {
            println!("{}", fill::Filler::connect(target).fill(torrents, peers));
        }
        Command::Hashes { torrents } => {
            let hashes: Vec<_> = (0..torrents).map(fill::info_hash).collect();
            print!("{}", lines(hashes.iter()));
        }
    }
}

fn lines<'a>(hashes: impl Iterator<Item = &'a [u8; 20]>) -> String {
    let mut text = String::new();
    for hash in hashes {
        for byte in hash {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn record(listen: &str, torrents: usize) -> HashSet<[u8; 20]> {
    let seen: Arc<Mutex<HashSet<[u8; 20]>>> = Arc::default();
    let shared = Arc::clone(&seen);
    let recorder = move |_| Recorder { canned: Canned::with_peers(0), seen: Arc::clone(&shared) };
    let served = served::serve(listen, Engine::IoUring, &[None], recorder);
    eprintln!("ready on {}", served.address);
    let (mut count, mut last_new) = (0, Instant::now());
    while count < torrents && (last_new.elapsed() < QUIET || count == 0) {
        std::thread::sleep(Duration::from_millis(20));
        let now = seen.lock().unwrap().len();
        if now > count {
            (count, last_new) = (now, Instant::now());
        }
    }
    served.workers.stop();
    std::mem::take(&mut *seen.lock().unwrap())
}

struct Recorder {
    canned: Canned,
    seen: Arc<Mutex<HashSet<[u8; 20]>>>,
}

impl DatagramService for Recorder {
    fn on_datagram<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
        if let Ok(Request::Announce(announce)) = Request::parse(packet.payload) {
            let InfoHash(hash) = announce.info_hash();
            self.seen.lock().unwrap().insert(hash);
        }
        self.canned.on_datagram(now, packet, tx);
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

const QUIET: Duration = Duration::from_secs(2);
