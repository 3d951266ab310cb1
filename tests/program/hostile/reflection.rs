//! Those who have not proved their address get no more bytes than they send: the source of their
//! datagrams may be the address of somebody else.

use std::fs;
use std::path::Path;

use fastrand::Rng;
use ringtide::telemetry::{Counter, DropReason};
use ringtide::tracker::core::TrackerSettings;
use ringtide::tracker::core::access_list::AccessList;

use crate::fuzz::tracker::{Id, Reflected, World, source, world_after};

const FLOOD_DATAGRAMS: usize = 30_000;
const CONNECT: [u8; 16] = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4];

fn world(answer_bad_connection_ids: bool) -> World {
    let settings = TrackerSettings { answer_bad_connection_ids, ..TrackerSettings::default() };
    World::with(settings, AccessList::default())
}

#[test]
fn a_connect_gets_as_many_bytes_as_it_has() {
    let mut world = world(false);
    let reply = world.arrive(source(0), &CONNECT).unwrap();
    assert_eq!(reply.bytes.len(), CONNECT.len());
    assert_eq!(world.reflected, Reflected { received: 16, sent: 16 });
}

#[test]
fn over_all_seeds_no_more_goes_out_than_came_in() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/tracker");
    let mut total = Reflected::default();
    for entry in fs::read_dir(seeds).unwrap() {
        let Reflected { received, sent } =
            world_after(&fs::read(entry.unwrap().path()).unwrap()).reflected;
        (total.received, total.sent) = (total.received + received, total.sent + sent);
    }
    println!("{total:?}: {:.3} bytes out per byte in", total.ratio());
    assert!(total.sent > 0, "some are answered");
    assert!(total.ratio() <= 1.0);
}

/// Each datagram is checked by itself as it arrives; these are the sums.
#[test]
fn over_random_floods_no_more_goes_out_than_came_in() {
    for answered in [false, true] {
        let mut world = world(answered);
        let mut rng = Rng::with_seed(if answered { 2 } else { 1 });
        for _ in 0..FLOOD_DATAGRAMS {
            let from = source(rng.u8(..));
            let mut payload = datagram(&mut rng);
            let id = [Id::AsItIs, Id::OfAnother, Id::Expired][rng.usize(..3)];
            world.put_id(&mut payload, from, if rng.bool() { id } else { Id::AsItIs });
            if rng.u8(..) == 0 {
                world.wait(rng.u64(..60));
            }
            world.arrive(from, &payload);
        }
        world.check_totals();
        let total = world.reflected;
        println!("answered {answered}: {total:?}, {:.3} out per byte in", total.ratio());
        assert!(total.sent > 0 && total.ratio() <= 1.0);
        assert_eq!(world.peers(), 0, "nothing of a stranger is stored");
        let counted = world.counted();
        let errors = counted.get(Counter::ErrorResponses);
        let refused = counted.dropped(DropReason::BadConnectionId);
        assert_eq!((errors > 0, refused > 0), (answered, !answered), "{errors} and {refused}");
    }
}

/// Connects, announces and scrapes, whole, cut or extended, among datagrams of any bytes.
fn datagram(rng: &mut Rng) -> Vec<u8> {
    let length = [16, 36, 56, 98, 98, 110, 2016, rng.usize(..=2048)][rng.usize(..8)];
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    let action = rng.u8(..5);
    if action == 0 && length >= 16 {
        bytes[..12].copy_from_slice(&CONNECT[..12]);
    } else if action < 4 && length >= 16 {
        bytes[8..12].copy_from_slice(&[0, 0, 0, action]);
    }
    bytes
}
