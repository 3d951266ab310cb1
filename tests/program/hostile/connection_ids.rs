//! Connection IDs that do not hold: each is refused, counted, and changes nothing.

use ringtide::telemetry::{Counter, DropReason};
use ringtide::tracker::core::TrackerSettings;
use ringtide::tracker::core::access_list::AccessList;

use crate::fuzz::tracker::{Id, LIFETIME_S, World, source};

/// By hand: action 1, event 2, numwant -1, port 6881.
fn announce() -> Vec<u8> {
    let mut request = vec![0; 98];
    request[11] = 1;
    request[16..36].copy_from_slice(b"aaaaaaaaaaaaaaaaaaaA");
    request[83] = 2;
    request[92..98].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x1a, 0xe1]);
    request
}

/// By hand: action 2 and one hash.
fn scrape() -> Vec<u8> {
    let mut request = vec![0; 36];
    request[11] = 2;
    request
}

fn world() -> World {
    World::with(TrackerSettings::default(), AccessList::default())
}

#[test]
fn forged_stale_and_foreign_ids_are_refused_and_counted() {
    let mut refused = 0;
    let mut world = world();
    for id in [Id::AsItIs, Id::OfAnother, Id::Expired] {
        for mut request in [announce(), scrape()] {
            for from in [0, 2, 3].map(source) {
                world.put_id(&mut request, from, id);
                assert_eq!(world.arrive(from, &request), None, "{id:?} from {from}");
                refused += 1;
            }
        }
    }
    assert_eq!(world.counted().dropped(DropReason::BadConnectionId), refused);
    assert_eq!(world.counted().dropped_total(), refused);
    assert_eq!((world.peers(), world.reflected.sent), (0, 0));
}

#[test]
fn a_recorded_announce_works_until_its_id_ends() {
    let mut world = world();
    let from = source(0);
    let mut recorded = announce();
    world.put_id(&mut recorded, from, Id::Valid);
    assert!(world.arrive(from, &recorded).is_some());
    assert_eq!(world.arrive(source(1), &recorded), None, "from another address");
    world.wait(u64::from(LIFETIME_S) - 1);
    assert!(world.arrive(from, &recorded).is_some(), "it holds for its lifetime");
    world.wait(u64::from(LIFETIME_S) + 1);
    for replays in 2..=10 {
        assert_eq!(world.arrive(from, &recorded), None, "replayed after twice the lifetime");
        assert_eq!(world.counted().dropped(DropReason::BadConnectionId), replays);
    }
    assert_eq!(world.counted().get(Counter::AnnouncesIpv4), 2);
}

#[test]
fn bad_ids_are_not_answered_unless_asked_for() {
    assert!(!TrackerSettings::default().answer_bad_connection_ids);
    let settings =
        TrackerSettings { answer_bad_connection_ids: true, ..TrackerSettings::default() };
    let mut world = World::with(settings, AccessList::default());
    for request in [announce(), scrape()] {
        let reply = world.arrive(source(0), &request).unwrap();
        assert!(reply.bytes.len() <= request.len());
        assert_eq!(reply.bytes[..4], [0, 0, 0, 3]);
    }
    assert_eq!(world.counted().get(Counter::BadConnectionIdsAnswered), 2);
    assert_eq!((world.counted().dropped_total(), world.peers()), (0, 0));
}
