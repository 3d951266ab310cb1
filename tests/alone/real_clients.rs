//! Real clients from Debian packages find each other through the tracker and exchange a file.
//!
//! Every client is a process of its own that learns of peers from the tracker alone. Run with
//! `--nocapture` to see the transfers.

mod clients;
mod host;
mod process;
mod share;
mod tap;
mod tracker;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLockReadGuard};
use std::time::Instant;

use clients::{Client, Peer, start_libtorrent};
use host::{LIBTORRENT, PRIVATE_NETWORK, can_run, in_private_network};
use process::Process;
use share::{CONTENT, Kind, LEECHER, SEEDER, Share};
use tap::Tap;
use tracker::{Counts, Tracker};

use crate::MACHINE;

#[test]
fn libtorrent_to_libtorrent() {
    if can_run(&[LIBTORRENT]) {
        transfer(Client::Libtorrent, Client::Libtorrent, LOOPBACK_IPV4);
    }
}

#[test]
fn libtorrent_to_libtorrent_over_ipv6() {
    if can_run(&[LIBTORRENT]) {
        transfer(Client::Libtorrent, Client::Libtorrent, LOOPBACK_IPV6);
    }
}

#[test]
fn libtorrent_to_aria2() {
    transfer_in_private_network(Client::Libtorrent, Client::Aria2);
}

#[test]
fn aria2_to_transmission() {
    transfer_in_private_network(Client::Aria2, Client::Transmission);
}

#[test]
fn transmission_to_libtorrent() {
    transfer_in_private_network(Client::Transmission, Client::Libtorrent);
}

/// A peer that has all it wants and not everything announces event 4 (BEP 21): it counts as a
/// leecher, and others download from it.
#[test]
fn a_partial_seed_stays_a_leecher_and_serves() {
    if !can_run(&[LIBTORRENT]) {
        return;
    }
    let mut scene = Scene::new(LOOPBACK_IPV4);
    scene.share.directory_of(&["wanted.bin", "unwanted.bin"], &scene.tracker.url());
    let torrent = scene.share.torrent();
    let torrent = torrent.to_str().unwrap();
    let wanted = ["--torrent", torrent, "--only-file", "wanted.bin"];
    let seeder = scene.start(Client::Libtorrent, SEEDER);
    scene.wait_for(Counts { seeders: 1, completed: 0, leechers: 0 });

    let tap = Tap::start(scene.tracker.address, scene.network.leecher);
    let tapped = format!("udp://{}/announce", tap.address);
    let arguments = [&wanted[..], &["--tracker", &tapped]].concat();
    let mut partial = scene.libtorrent("partial", scene.network.leecher, &arguments);
    partial.wait_for_line(" finished", 1);
    scene.share.wait_for_copy("partial", "several/wanted.bin");
    partial.say("reannounce");
    partial.wait_for_line(" announced ", 2);
    let announces = tap.announces();
    assert!(announces.iter().any(|one| one.event == EVENT_PAUSED), "{announces:?}");
    let counts = scene.tracker.scrape(scene.share.info_hash);
    assert_eq!(counts, Counts { seeders: 1, completed: 0, leechers: 1 });

    seeder.stop();
    scene.wait_for(Counts { seeders: 0, completed: 0, leechers: 1 });
    let started = Instant::now();
    let another: IpAddr = "127.0.0.4".parse().unwrap();
    let leecher = scene.libtorrent(LEECHER, another, &wanted);
    let copied = scene.share.wait_for_copy(LEECHER, "several/wanted.bin");
    report("libtorrent (partial seed)", "libtorrent", started, &copied);
    scene.wait_for(Counts { seeders: 0, completed: 0, leechers: 2 });
    drop((leecher, partial));
    scene.end();
}

/// A magnet link carries a URL with a path, which libtorrent repeats in its announces (BEP 41).
#[test]
fn a_magnet_link_with_a_url_path() {
    if !can_run(&[LIBTORRENT]) {
        return;
    }
    let mut scene = Scene::new(LOOPBACK_IPV4);
    scene.share.one_file(&scene.tracker.url(), Kind::Public);
    let _seeder = scene.start(Client::Libtorrent, SEEDER);
    scene.wait_for(Counts { seeders: 1, completed: 0, leechers: 0 });

    let tap = Tap::start(scene.tracker.address, scene.network.leecher);
    let magnet = scene.share.magnet(&format!("udp://{}/announce?x=y", tap.address));
    let started = Instant::now();
    let arguments = ["--magnet", &magnet];
    let leecher = scene.libtorrent(LEECHER, scene.network.leecher, &arguments);
    let copied = scene.share.wait_for_copy(LEECHER, CONTENT);
    report("libtorrent", "libtorrent (magnet link)", started, &copied);
    scene.wait_for(Counts { seeders: 2, completed: 1, leechers: 0 });
    let announces = tap.announces();
    // Option 2 is URL data; a byte of length comes first.
    let options = b"\x02\x0d/announce?x=y";
    assert!(announces.iter().all(|one| one.options == options), "{announces:?}");
    assert!(announces.iter().any(|one| one.left == 0), "{announces:?}");
    leecher.stop();
    scene.end();
}

#[test]
fn a_client_scrapes_the_counts_of_a_transfer() {
    if !can_run(&[LIBTORRENT]) {
        return;
    }
    let mut scene = Scene::new(LOOPBACK_IPV4);
    scene.share.one_file(&scene.tracker.url(), Kind::Private);
    let mut seeder = scene.start(Client::Libtorrent, SEEDER);
    scene.wait_for(Counts { seeders: 1, completed: 0, leechers: 0 });
    let leecher = scene.start(Client::Libtorrent, LEECHER);
    scene.share.wait_for_copy(LEECHER, CONTENT);
    scene.wait_for(Counts { seeders: 2, completed: 1, leechers: 0 });
    seeder.say("scrape");
    let scraped = seeder.wait_for_line(" scraped ", 1);
    assert!(scraped.ends_with(" seeders=2 completed=1 leechers=0"), "{scraped}");
    leecher.stop();
    seeder.say("scrape");
    let scraped = seeder.wait_for_line(" scraped ", 2);
    assert!(scraped.ends_with(" seeders=1 completed=1 leechers=0"), "{scraped}");
    drop(seeder);
    scene.end();
}

/// The addresses of one scenario.
#[derive(Clone, Copy)]
struct Network {
    tracker: IpAddr,
    seeder: IpAddr,
    leecher: IpAddr,
}

/// A tracker and something to share.
struct Scene {
    network: Network,
    // Dropped before the directories in which it writes.
    tracker: Tracker,
    share: Share,
    _machine: RwLockReadGuard<'static, ()>,
}

impl Scene {
    fn new(network: Network) -> Self {
        let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        let share = Share::new();
        let tracker = Tracker::start(&share.directory("tracker"), network.tracker);
        Self { network, tracker, share, _machine }
    }

    fn start(&self, client: Client, role: &str) -> Process {
        let (address, port) = match role {
            SEEDER => (self.network.seeder, SEEDER_PORT),
            _ => (self.network.leecher, LEECHER_PORT),
        };
        let directory = self.share.directory(role);
        let peer = Peer { role, directory: &directory, address, port };
        client.start(&peer, &self.share.torrent())
    }

    fn libtorrent(&self, role: &str, address: IpAddr, arguments: &[&str]) -> Process {
        let directory = self.share.directory(role);
        start_libtorrent(&Peer { role, directory: &directory, address, port: 0 }, arguments)
    }

    fn wait_for(&self, counts: Counts) {
        self.tracker.wait_for(self.share.info_hash, counts);
    }

    fn end(self) {
        self.tracker.stop();
    }
}

/// The whole life of a swarm of two: the seeder is there, the leecher comes, gets the content,
/// is counted, and leaves.
fn transfer(seeder: Client, leecher: Client, network: Network) {
    let mut scene = Scene::new(network);
    scene.share.one_file(&scene.tracker.url(), Kind::Private);
    let seeding = scene.start(seeder, SEEDER);
    scene.wait_for(Counts { seeders: 1, completed: 0, leechers: 0 });
    let started = Instant::now();
    let leeching = scene.start(leecher, LEECHER);
    let copied = scene.share.wait_for_copy(LEECHER, CONTENT);
    let family = if network.tracker.is_ipv6() { "IPv6" } else { "IPv4" };
    report(seeder.name(), &format!("{} over {family}", leecher.name()), started, &copied);
    scene.wait_for(Counts { seeders: 2, completed: 1, leechers: 0 });
    leeching.stop();
    if leecher.tells_the_tracker_when_it_leaves() {
        scene.wait_for(Counts { seeders: 1, completed: 1, leechers: 0 });
    }
    seeding.stop();
    if leecher.tells_the_tracker_when_it_leaves() && seeder.tells_the_tracker_when_it_leaves() {
        // A torrent without peers is forgotten, and what was counted with it.
        scene.wait_for(Counts { seeders: 0, completed: 0, leechers: 0 });
    }
    scene.end();
}

fn transfer_in_private_network(seeder: Client, leecher: Client) {
    // Libtorrent writes the torrents.
    let needs = [LIBTORRENT, PRIVATE_NETWORK, seeder.requirement(), leecher.requirement()];
    if can_run(&needs) {
        in_private_network(|| transfer(seeder, leecher, PRIVATE));
    }
}

fn report(seeder: &str, leecher: &str, started: Instant, (digest, bytes): &(String, u64)) {
    let seconds = started.elapsed().as_secs_f64();
    println!("transfer: {seeder} -> {leecher}, {bytes} bytes, {seconds:.2} s, SHA-256 {digest}");
}

const LOOPBACK_IPV4: Network = Network {
    tracker: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
    seeder: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    leecher: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
};
const LOOPBACK_IPV6: Network = Network {
    tracker: IpAddr::V6(Ipv6Addr::LOCALHOST),
    seeder: IpAddr::V6(Ipv6Addr::LOCALHOST),
    leecher: IpAddr::V6(Ipv6Addr::LOCALHOST),
};
/// Exists inside [`in_private_network`].
const PRIVATE: Network = Network {
    tracker: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    seeder: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    leecher: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 3)),
};
const SEEDER_PORT: u16 = 6881;
const LEECHER_PORT: u16 = 6882;
/// BEP 21.
const EVENT_PAUSED: u32 = 4;
