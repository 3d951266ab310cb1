//! Saving from shards that differ from those that load.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::tracker::core::InfoHash;
use crate::tracker::store::{Announce, Event, NoPeers, PeerFamily, ScrapeCounts, Secrets};

fn shards(count: usize, seed: u8) -> Shards {
    Shards::new(count, &Secrets::from_seed(&[seed; Secrets::SEED_BYTES]))
}

fn hash(number: u32) -> InfoHash {
    let mut hash = InfoHash::default();
    hash.0[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    hash
}

fn announce<F: PeerFamily>(
    shards: &Shards,
    now: Now,
    torrent: u32,
    peer: F::Endpoint,
    seeder: bool,
    parts: impl Fn(&mut Shard) -> (&mut Torrents<F>, &mut Rng),
) {
    let info_hash = &hash(torrent);
    let limits = TrackerSettings::default().limits_per_shard(shards.len());
    let event = if seeder { Event::Completed } else { Event::None };
    let mut shard = shards.lock(shards.owner(info_hash));
    let (torrents, rng) = parts(&mut shard);
    let request = Announce { now, info_hash, peer, seeder, event, numwant: 0 };
    torrents.announce(&request, &limits, rng, &mut NoPeers);
}

/// Torrents of 1, 4, 9 and so on peers, of both families; the last is a large one.
fn fill(shards: &Shards, now: Now) {
    for torrent in 1..=50_u32 {
        let peers = if torrent == 50 { 30_000 } else { torrent * torrent };
        for peer in 0..peers {
            let seeder = peer % 5 == 0;
            let endpoint = SocketAddrV4::new((0x0a00_0000 + peer).into(), 6881);
            announce::<Ipv4>(shards, now, torrent, endpoint, seeder, |shard| {
                (&mut shard.ipv4, &mut shard.rng)
            });
            let endpoint = SocketAddrV6::new(u128::from(peer + 1).into(), 6881, 0, 0);
            if torrent % 7 == 0 {
                announce::<Ipv6>(shards, now, torrent, endpoint, seeder, |shard| {
                    (&mut shard.ipv6, &mut shard.rng)
                });
            }
        }
    }
}

/// What a scrape of each torrent tells, over IPv4 and IPv6.
fn scrapes(shards: &Shards) -> BTreeMap<u32, [Option<ScrapeCounts>; 2]> {
    let scrape = |torrent| {
        let shard = shards.lock(shards.owner(&hash(torrent)));
        (torrent, [shard.ipv4.scrape(&hash(torrent)), shard.ipv6.scrape(&hash(torrent))])
    };
    (1..=50).map(scrape).collect()
}

fn after(now: Now, seconds: u64) -> Now {
    now.after(Duration::from_secs(seconds))
}

#[test]
fn swarms_come_back_whole_in_shards_of_another_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swarms");
    let (before, clock) = (shards(3, 7), Clock::start());
    fill(&before, clock.now());
    let saved = save(&path, &before, &clock, WalkOptions::ALONE).unwrap();
    let peers = before.gauges().map(Gauges::peers).sum::<usize>() as u64;
    assert_eq!((saved.torrents, saved.peers), (57, peers));
    for count in [1, 2, 5] {
        let back = shards(count, 8);
        let settings = TrackerSettings::default();
        let loaded = load(&path, &back, &settings, after(clock.now(), 60)).unwrap().unwrap();
        assert_eq!((loaded.peers, loaded.expired, loaded.refused), (peers, 0, 0));
        assert!((60..70).contains(&loaded.age.as_secs()));
        assert_eq!(scrapes(&back), scrapes(&before));
    }
}

#[test]
fn caps_and_timeouts_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swarms");
    let (before, clock) = (shards(1, 7), Clock::start());
    let first = Now::from_unix(clock.now().since_epoch() - Duration::from_secs(1000));
    let leecher = |now, torrent, port| {
        let endpoint = SocketAddrV4::new([10, 0, 0, 1].into(), port);
        announce::<Ipv4>(&before, now, torrent, endpoint, false, |shard| {
            (&mut shard.ipv4, &mut shard.rng)
        });
    };
    (1..=10).for_each(|port| leecher(first, 1, port));
    (11..=20).for_each(|port| leecher(clock.now(), 1, port));
    (1..=10).for_each(|torrent| leecher(clock.now(), 1 + torrent, 1));
    save(&path, &before, &clock, WalkOptions::ALONE).unwrap();
    let loaded = |settings: TrackerSettings, age_s| {
        let back = shards(1, 9);
        let loaded = load(&path, &back, &settings, after(clock.now(), age_s)).unwrap().unwrap();
        assert_eq!(back.gauges().map(Gauges::peers).sum::<usize>() as u64, loaded.peers);
        (loaded.peers, loaded.expired, loaded.refused)
    };
    let usual = TrackerSettings::default();
    assert_eq!(loaded(usual.clone(), 1690), (30, 0, 0));
    assert_eq!(loaded(usual.clone(), 1800), (20, 10, 0));
    let settings = TrackerSettings { peer_timeout_s: 500, ..usual.clone() };
    assert_eq!(loaded(settings, 1), (20, 10, 0));
    let settings = TrackerSettings { peers_per_torrent_max: 5, ..usual.clone() };
    assert_eq!(loaded(settings, 1), (15, 0, 15));
    let settings = TrackerSettings { torrents_max: 4, ..usual.clone() };
    assert_eq!(
        loaded(settings, 1).0 + loaded(TrackerSettings { torrents_max: 4, ..usual.clone() }, 1).2,
        30
    );
    let settings = TrackerSettings { peers_max: 7, ..usual };
    assert_eq!(loaded(settings, 1), (7, 0, 23));
}

#[test]
fn what_cannot_be_used_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swarms");
    let (before, clock) = (shards(1, 7), Clock::start());
    fill(&before, clock.now());
    save(&path, &before, &clock, WalkOptions::ALONE).unwrap();
    let good = fs::read(&path).unwrap();
    let back = shards(1, 8);
    let settings = TrackerSettings::default();
    let place = |bytes: &[u8], mode: u32| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    let names = |begin: &str| {
        let names = fs::read_dir(folder.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.any(|name| name.starts_with(begin))
    };
    let mut damaged = good.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for (bytes, mode, error) in [
        (&damaged[..], 0o600, "the checksum of a block is wrong"),
        (&good[..last], 0o600, "cut short"),
        (&[], 0o600, "cut short"),
        (&good, 0o666, "mode 666 lets others read or write it"),
    ] {
        place(bytes, mode);
        let message = load(&path, &back, &settings, clock.now()).unwrap_err().to_string();
        assert!(message.contains(error), "{message}");
        load_or_set_aside(&path, &back, &settings, after(clock.now(), 5));
        assert!(!path.exists() && names("swarms.damaged-"), "{message}");
        assert_eq!(back.gauges().map(Gauges::peers).sum::<usize>(), 0, "{message}");
    }
    place(&good, 0o600);
    let late = after(clock.now(), 2710);
    assert!(matches!(load(&path, &back, &settings, late), Err(LoadError::Old(_))));
    load_or_set_aside(&path, &back, &settings, late);
    assert!(!path.exists() && names("swarms.old"));
    assert_eq!(load(&path, &back, &settings, late).unwrap(), None);
}

#[test]
fn a_save_that_is_called_off_leaves_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swarms");
    fs::write(&path, "the last one").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(true);
    let error = save(&path, &shards(1, 7), &Clock::start(), WalkOptions::beside_workers(&stop));
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::Interrupted);
    assert_eq!(fs::read_to_string(&path).unwrap(), "the last one");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
