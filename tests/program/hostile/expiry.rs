//! What a flood leaves behind when its time is over, in virtual time: slices of bounded size that
//! come more often while there is much to remove.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use ringtide::io::{DatagramService, Now, RecordedTransmit};
use ringtide::telemetry::{Counter, Counters};
use ringtide::tracker::core::policy::{Policy, SharedPolicy};
use ringtide::tracker::core::{InfoHash, TrackerSettings};
use ringtide::tracker::store::{
    Announce, EXPIRY_VISITS_MAX, Event, Ipv4, Limits, NoPeers, Secrets, Shards,
};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::tracker::udp::handler::{Tracker, TrackerParts};

const TORRENTS: u32 = 400_000;
const START_S: u64 = 1_700_000_000;
const TIMEOUT_S: u32 = 600;
const TICK: Duration = Duration::from_millis(100);

fn at(seconds: u64) -> Now {
    Now::from_unix(Duration::from_secs(seconds))
}

fn fill(shards: &Shards) {
    let mut guard = shards.lock(0);
    let shard = &mut *guard;
    for torrent in 0..TORRENTS {
        let mut info_hash = InfoHash([0; 20]);
        info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
        let request = Announce::<Ipv4> {
            now: at(START_S),
            info_hash: &info_hash,
            peer: SocketAddrV4::new(Ipv4Addr::from_bits(torrent), 1),
            seeder: false,
            event: Event::Started,
            numwant: 0,
        };
        shard.ipv4.announce(&request, &Limits::NONE, &mut shard.rng, &mut NoPeers);
    }
}

#[test]
fn many_that_expire_at_once_go_within_seconds_and_in_bounded_slices() {
    let shards = Arc::new(Shards::new(1, &Secrets::from_seed(&[7; Secrets::SEED_BYTES])));
    fill(&shards);
    let settings = TrackerSettings { peer_timeout_s: TIMEOUT_S, ..TrackerSettings::default() };
    let counters = Arc::<Counters>::default();
    let mut tracker = Tracker::new(TrackerParts {
        worker: 0,
        shards: Arc::clone(&shards),
        policy: SharedPolicy::new(Policy { settings, ..Policy::default() }, [1, 2]),
        ids: ConnectionIds::new([7; 16], 120),
        counters: Arc::clone(&counters),
    });
    let mut tx = RecordedTransmit::default();
    let expired = || counters.get(Counter::PeersExpired);
    // As a loop without traffic does it: from tick to tick, or to what the handler asks for.
    let begin = at(START_S + u64::from(TIMEOUT_S) + 1);
    let (mut now, mut next_tick, mut slices, mut largest) = (begin, begin, 0, 0);
    while expired() < TORRENTS.into() {
        let before = expired();
        tracker.on_flush(now, &mut tx);
        if now >= next_tick {
            tracker.on_tick(now, &mut tx);
            next_tick = now.after(TICK);
        }
        largest = largest.max(expired() - before);
        slices += u32::from(expired() > before);
        now = tracker.wakeup().at.map_or(next_tick, |due| due.min(next_tick));
        let elapsed = now.since_epoch() - begin.since_epoch();
        assert!(elapsed < Duration::from_secs(20), "{} left", shards.lock(0).ipv4.peers());
    }
    let elapsed = now.since_epoch() - begin.since_epoch();
    println!("{TORRENTS} torrents in {elapsed:?}, {slices} slices of at most {largest} peers");
    assert!(largest as usize <= 2 * EXPIRY_VISITS_MAX);
    // Nothing is left to hurry for.
    tracker.on_tick(now.after(TICK), &mut tx);
    assert_eq!(tracker.wakeup().at, None);
}
