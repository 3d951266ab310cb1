//! Floods of torrents and of peers against a small share of memory, in virtual time.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::io::Now;
use crate::tracker::store::Ipv6;
use crate::tracker::store::torrents::CONFIRMED_AFTER_S;
use crate::tracker::store::{
    Announce, Announced, CompactPeers, Event, Limits, Outcome, Secrets, Shard, ShardGuard, Shards,
    Unstored, Walk,
};
use crate::values::InfoHash;

const LIMIT_BYTES: usize = 16 << 20;
const START_S: u64 = 1_700_000_000;

fn shards() -> Shards {
    Shards::with_memory(1, &Secrets::from_seed(&[5; Secrets::SEED_BYTES]), LIMIT_BYTES)
}

fn hash(number: u32, kind: u8) -> InfoHash {
    let mut hash = InfoHash([kind; 20]);
    hash.0[..4].copy_from_slice(&number.to_be_bytes());
    hash
}

fn request<F: PeerFamily>(hash: &InfoHash, peer: F::Endpoint, at_s: u64) -> Announce<'_, F> {
    let now = Now::from_unix(Duration::from_secs(at_s));
    Announce { now, info_hash: hash, peer, seeder: false, event: Event::None, numwant: 10 }
}

/// Announces of `host`, an IPv4 address.
fn ipv4(shard: &mut Shard, hash: InfoHash, host: u32, port: u16, at_s: u64) -> Announced {
    let limits = shard.limits_ipv4(Limits::NONE);
    let peer = SocketAddrV4::new(Ipv4Addr::from_bits(host), port);
    shard.ipv4.announce(
        &request(&hash, peer, at_s),
        &limits,
        &mut shard.rng,
        &mut CompactPeers::new(&mut [0; 60]),
    )
}

/// Announces of `host`, the number of a /64.
fn ipv6(shard: &mut Shard, hash: InfoHash, host: u64, port: u16, at_s: u64) -> Announced {
    let limits = shard.limits_ipv6(Limits::NONE);
    let peer = SocketAddrV6::new(Ipv6Addr::from_bits(u128::from(host) << 64), port, 0, 0);
    shard.ipv6.announce(
        &request(&hash, peer, at_s),
        &limits,
        &mut shard.rng,
        &mut CompactPeers::new(&mut [0; 180]),
    )
}

fn used(shard: &Shard) -> usize {
    shard.ipv4.usage().bytes() + shard.ipv6.usage().bytes()
}

/// What is accounted is what the parts say, and within the share.
fn check(shard: &Shard) {
    fn check<F: PeerFamily>(torrents: &Torrents<F>) {
        let numbers = 0..torrents.slab.numbers();
        let swarms = numbers.filter_map(|number| Some(&torrents.slab.get(number)?.swarm));
        let (peers, bytes) = swarms.fold((0, 0), |(peers, bytes), swarm| {
            (peers + swarm.len(), bytes + swarm.heap_bytes())
        });
        assert_eq!((torrents.peers, torrents.peers_bytes), (peers, bytes));
    }
    check(&shard.ipv4);
    check(&shard.ipv6);
    assert!(used(shard) <= share_bytes(LIMIT_BYTES, 1), "{} bytes", used(shard));
}

/// Fills the shard with single torrents of `hosts` hosts until they displace each other.
fn flood(shard: &mut Shard, rng: &mut Rng, hosts: u32, announces: u32, at_s: u64) -> u32 {
    let mut evicted = 0;
    for _ in 0..announces {
        let host = 0x0b00_0000 + rng.u32(..hosts);
        let announced = ipv4(shard, hash(rng.u32(..), rng.u8(..)), host, rng.u16(1..), at_s);
        evicted += u32::from(announced.evicted > 0);
    }
    evicted
}

/// Swarms of `peers` hosts each, announced twice.
fn establish(shard: &mut Shard, torrents: u32, peers: u32) {
    for at_s in [START_S, START_S + 100] {
        for (torrent, peer) in (0..torrents).flat_map(|t| (0..peers).map(move |p| (t, p))) {
            ipv4(shard, hash(torrent, 1), 0x0a00_0000 + peer, 1, at_s);
        }
    }
}

fn are_there(shard: &Shard, torrents: u32, peers: u32) -> bool {
    let counts = (0..torrents).map(|torrent| shard.ipv4.scrape(&hash(torrent, 1)));
    counts.into_iter().all(|counts| counts.is_some_and(|counts| counts.leechers == peers))
}

#[test]
fn a_flood_displaces_itself_and_no_established_swarm() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    establish(shard, 3000, 2);
    establish(shard, 20, 60);
    let mut rng = Rng::with_seed(1);
    let evicted = flood(shard, &mut rng, 1 << 20, 1_000_000, START_S + 110);
    check(shard);
    let stored = shard.ipv4.torrents();
    println!("{stored} torrents in {} bytes, {evicted} evicted", used(shard));
    assert!(evicted > 800_000 && stored > 100_000);
    assert!(are_there(shard, 20, 60), "large swarms");
    assert!((20..3000).all(|torrent| shard.ipv4.scrape(&hash(torrent, 1)).is_some()));
}

#[test]
fn newcomers_get_in_during_a_flood_and_stay_if_somebody_comes_back() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    let mut rng = Rng::with_seed(2);
    flood(shard, &mut rng, 8, 300_000, START_S);
    for number in 0..1000 {
        let (first, second) = (0x0c00_0000 + number, 0x0d00_0000 + number);
        let announced = ipv4(shard, hash(number, 2), first, 7, START_S + 1);
        assert_eq!((announced.outcome, announced.evicted > 0), (Outcome::Stored, true));
        // The second learns of the first, however many come in between.
        flood(shard, &mut rng, 8, 200, START_S + 2);
        let announced = ipv4(shard, hash(number, 2), second, 7, START_S + 2);
        assert_eq!(announced.leechers, 2, "torrent {number}");
    }
    let at_s = START_S + 2 + u64::from(CONFIRMED_AFTER_S);
    let mut kept = 0;
    for number in 0..1000 {
        assert_eq!(ipv4(shard, hash(number, 2), 0x0c00_0000 + number, 7, at_s).leechers, 2);
    }
    // Of many hosts this time: what they announced once is older than what is confirmed.
    flood(shard, &mut rng, 1 << 20, 600_000, at_s);
    for number in 0..1000 {
        kept += u32::from(shard.ipv4.scrape(&hash(number, 2)).is_some_and(|c| c.leechers == 2));
    }
    assert_eq!(kept, 1000);
    check(shard);
}

#[test]
fn who_floods_from_few_hosts_displaces_its_own() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    for number in 0..5000 {
        ipv4(shard, hash(number, 3), 0x0c00_0000 + number, 7, START_S);
    }
    let mut rng = Rng::with_seed(3);
    flood(shard, &mut rng, 1, 1_000_000, START_S + 50);
    let left = (0..5000).filter(|number| shard.ipv4.scrape(&hash(*number, 3)).is_some()).count();
    println!("{left} of 5000 single torrents outlast a flood of one host");
    // Those that lie in the way as the flood begins have nothing of the flood beside them.
    assert!(left > 4000, "{left}");
}

#[test]
fn each_family_and_peers_have_their_part_whatever_came_first() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    let mut rng = Rng::with_seed(4);
    flood(shard, &mut rng, 1 << 20, 500_000, START_S);
    for number in 0..300_000 {
        let announced = ipv6(shard, hash(number, 4), u64::from(number), 9, START_S);
        assert_eq!(announced.outcome, Outcome::Stored);
    }
    check(shard);
    let share = share_bytes(LIMIT_BYTES, 1);
    let (of_ipv4, of_ipv6) = (shard.ipv4.usage(), shard.ipv6.usage());
    println!("IPv4 {of_ipv4:?}, IPv6 {of_ipv6:?} of {share}");
    assert!(of_ipv6.torrents_bytes > share / TORRENTS_SHARE - Torrents::<Ipv6>::CHUNK_BYTES);
    // One swarm has room for its peers then.
    for port in 1..60_000 {
        let announced = ipv4(shard, hash(7, 5), 0x0e00_0000, port, START_S);
        assert_eq!(announced.outcome, Outcome::Stored, "peer {port}");
    }
    check(shard);
}

#[test]
fn peers_beyond_the_limit_are_refused_and_swarms_shrink_again() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    let mut refused = 0;
    for number in 0..3_000_000_u32 {
        let host = 0x0b00_0000 + number / 50_000;
        let port = (number % 50_000) as u16 + 1;
        let outcome = ipv4(shard, hash(number % 7, 6), host, port, START_S).outcome;
        match outcome {
            Outcome::Stored => {}
            Outcome::Unstored(Unstored::MemoryLimit) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    check(shard);
    println!("{} peers in {} bytes, {refused} refused", shard.ipv4.peers(), used(shard));
    assert!(refused > 1_000_000 && shard.ipv4.peers() > 1_000_000);
    // New torrents get in all the same.
    assert_eq!(ipv4(shard, hash(1, 7), 1, 1, START_S).outcome, Outcome::Stored);
    let now = Now::from_unix(Duration::from_secs(START_S + 5000));
    while !shard.ipv4.expire(now, 100, 100_000).finished {}
    check(shard);
    assert_eq!((shard.ipv4.peers(), shard.ipv4.peers_bytes), (0, 0));
}

#[test]
fn torrents_of_two_hosts_that_never_come_back_go_in_the_end() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    let mut refused = 0;
    for number in 0..400_000_u32 {
        for host in [0x0b00_0001, 0x0b00_0002] {
            let outcome = ipv4(shard, hash(number, 8), host, 9, START_S).outcome;
            refused += u32::from(outcome != Outcome::Stored);
        }
    }
    check(shard);
    println!("{refused} of 800000 refused, {} torrents", shard.ipv4.torrents());
    assert!(refused < 1000, "{refused}");
}

#[test]
fn what_was_saved_is_loaded_up_to_the_limit() {
    let large = Shards::new(1, &Secrets::from_seed(&[6; Secrets::SEED_BYTES]));
    let mut saved: ShardGuard<'_> = large.lock(0);
    establish(&mut saved, 100, 3);
    let mut rng = Rng::with_seed(5);
    flood(&mut saved, &mut rng, 1 << 20, 500_000, START_S);
    let shards = shards();
    let shard = &mut *shards.lock(0);
    let (mut walk, mut stored, mut lost) = (Walk::default(), 0, 0);
    while !saved.ipv4.walk(&mut walk, 1000, |piece| {
        let limits = shard.limits_ipv4(Limits::NONE);
        let peers = piece.peers().copied();
        let restored = shard.ipv4.restore(piece.info_hash, 3, peers, &limits, &mut shard.rng);
        stored += restored.stored;
        lost += restored.refused + restored.evicted;
    }) {}
    check(shard);
    assert_eq!(shard.ipv4.peers() + lost, saved.ipv4.peers());
    assert!(lost > 200_000 && stored > 100_000, "{stored} stored, {lost} lost");
    assert!(are_there(shard, 100, 3));
}

#[test]
fn recover_puts_the_account_right() {
    let shards = shards();
    let shard = &mut *shards.lock(0);
    establish(shard, 100, 40);
    let before = shard.ipv4.usage();
    shard.ipv4.peers_bytes = 12_345;
    shard.ipv4.recover(&mut Rng::with_seed(1));
    check(shard);
    assert!(before.bytes() > 0 && are_there(shard, 100, 40));
}
