//! Who is named in replies, and what a swarm's size changes about it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::*;
use crate::io::Now;
use crate::tracker::store::{CompactPeers, Ipv4Record};

type Tally = BTreeMap<u32, f64>;

fn peer(number: u32, seeder: bool) -> Ipv4Record {
    let now = Now::from_unix(Duration::from_secs(5));
    let endpoint = SocketAddrV4::new(Ipv4Addr::from_bits(number), 6881);
    Ipv4Record::new(endpoint, State::new(now, seeder, false))
}

/// Peers 0 to `seeders` are seeders, as many as `leechers` after them are not.
fn swarm(seeders: u32, leechers: u32, rng: &mut Rng) -> Swarm<Ipv4Record> {
    let mut swarm = Swarm::of(peer(0, seeders > 0));
    for number in 1..seeders + leechers {
        assert_eq!(swarm.store(peer(number, number < seeders), true, rng), Placed::Inserted);
    }
    swarm
}

/// The numbers of the peers in one reply, each at most once.
fn reply(swarm: &Swarm<Ipv4Record>, me: Ipv4Record, want: usize, rng: &mut Rng) -> Vec<u32> {
    let mut out = [0; 6 * 2000];
    let mut reply = CompactPeers::new(&mut out);
    swarm.sample(&me, true, want, rng, &mut reply);
    let written = reply.written();
    let wire = out[..written].as_chunks::<6>().0;
    let number = |wire: &[u8; 6]| u32::from_be_bytes([wire[0], wire[1], wire[2], wire[3]]);
    let mut numbers: Vec<u32> = wire.iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|a, b| a < b), "a peer twice in {numbers:?}");
    numbers
}

/// How often each peer was named, relative to a fair share, over `rounds` replies to `me`.
fn tally(
    swarm: &Swarm<Ipv4Record>,
    me: Ipv4Record,
    eligible: impl Iterator<Item = u32>,
    want: usize,
    rounds: usize,
) -> Tally {
    let mut rng = Rng::with_seed(99);
    let mut tally: Tally = eligible.map(|number| (number, 0.0)).collect();
    let fair = (want * rounds) as f64 / tally.len() as f64;
    for _ in 0..rounds {
        let numbers = reply(swarm, me, want, &mut rng);
        assert_eq!(numbers.len(), want);
        for number in numbers {
            *tally.get_mut(&number).expect("an eligible peer") += 1.0 / fair;
        }
    }
    tally
}

fn assert_fair(tally: &Tally, tolerance: f64, case: &str) {
    let most = tally.values().fold(0.0, |a: f64, b| a.max(*b));
    let least = tally.values().fold(9.0, |a: f64, b| a.min(*b));
    assert!(most < 1.0 + tolerance && least > 1.0 - tolerance, "{case}: {least} to {most}");
}

#[test]
fn every_eligible_peer_is_named_equally_often() {
    let mut rng = Rng::with_seed(1);
    for (seeders, leechers) in [(3, 5), (10, 20), (0, 40), (20, 80), (700, 700), (100, 900)] {
        let swarm = swarm(seeders, leechers, &mut rng);
        let total = seeders + leechers;
        for want in [1, 7, 50] {
            if want + 1 < leechers as usize {
                let rounds = 1000 * total as usize / want;
                let case = format!("{seeders} + {leechers} peers, {want} wanted");
                let everybody_else = 0..total - 1;
                let me = peer(total - 1, false);
                let tally_both = tally(&swarm, me, everybody_else, want, rounds);
                assert_fair(&tally_both, 0.3, &case);
                let me = peer(0, true);
                let tally_leechers = tally(&swarm, me, seeders..total, want, rounds);
                if seeders > 0 {
                    assert_fair(&tally_leechers, 0.3, &format!("seeder, {case}"));
                }
            }
        }
    }
}

#[test]
fn neither_old_nor_new_peers_are_preferred() {
    let mut rng = Rng::with_seed(2);
    for total in [30, 300, 3000] {
        let swarm = swarm(0, total, &mut rng);
        let me = peer(total - 1, false);
        let tally = tally(&swarm, me, 0..total - 1, 10, 20_000);
        let mean = |range: std::ops::Range<u32>| {
            let count = f64::from(range.end - range.start);
            tally.range(range).map(|(_, share)| share).sum::<f64>() / count
        };
        let (old, new) = (mean(0..total / 10), mean(total - 1 - total / 10..total - 1));
        assert!((0.95..1.05).contains(&old) && (0.95..1.05).contains(&new), "{old}, {new}");
    }
}

#[test]
fn a_reply_comes_from_many_places_of_the_table() {
    let mut rng = Rng::with_seed(3);
    let swarm = swarm(0, 2000, &mut rng);
    let order: Vec<Ipv4Record> = swarm.to_vec();
    let place = |number: &u32| order.iter().position(|other| other.is_peer(&peer(*number, false)));
    for _ in 0..100 {
        let numbers = reply(&swarm, peer(0, false), 50, &mut rng);
        let mut places: Vec<_> = numbers.iter().filter_map(place).collect();
        places.sort_unstable();
        let runs = 1 + places.windows(2).filter(|pair| pair[1] - pair[0] > 2).count();
        assert!((6..=20).contains(&runs), "{runs} runs of neighbours");
    }
}

#[test]
fn everybody_is_named_when_everybody_fits() {
    let mut rng = Rng::with_seed(4);
    for (seeders, leechers) in [(1, 1), (2, 30), (0, 33), (33, 0), (40, 60), (100, 100)] {
        let swarm = swarm(seeders, leechers, &mut rng);
        let total = seeders + leechers;
        for want in [total as usize - 1, total as usize, 1500] {
            if leechers > 0 {
                let expected: Vec<u32> = (0..total - 1).collect();
                assert_eq!(reply(&swarm, peer(total - 1, false), want, &mut rng), expected);
            }
            if seeders > 0 {
                let expected: Vec<u32> = (seeders..total).take(want).collect();
                assert_eq!(reply(&swarm, peer(0, true), want, &mut rng), expected);
            }
        }
        // One fewer than there are: the arcs must find all but one.
        if leechers > 2 {
            let want = total as usize - 2;
            assert_eq!(reply(&swarm, peer(total - 1, false), want, &mut rng).len(), want);
        }
        assert_eq!(reply(&swarm, peer(0, seeders > 0), 0, &mut rng), Vec::<u32>::new());
    }
}

#[test]
fn a_reply_has_no_more_than_fits() {
    let mut rng = Rng::with_seed(5);
    for total in [10, 1000] {
        let swarm = swarm(0, total, &mut rng);
        for bytes in [0, 5, 6, 23, 24] {
            let mut out = vec![0; bytes];
            let mut reply = CompactPeers::new(&mut out);
            swarm.sample(&peer(total, false), false, 50, &mut rng, &mut reply);
            assert_eq!(reply.written(), bytes / 6 * 6);
        }
    }
}

#[test]
fn a_swarm_changes_its_shape_with_hysteresis() {
    let mut rng = Rng::with_seed(6);
    let mut swarm = swarm(10, 22, &mut rng);
    let is_flat = |swarm: &Swarm<_>| matches!(swarm, Swarm::Flat(_));
    assert!(is_flat(&swarm));
    swarm.store(peer(32, false), true, &mut rng);
    assert!(!is_flat(&swarm));
    (16..33).for_each(|number| assert!(swarm.remove(&peer(number, false))));
    assert!(!is_flat(&swarm));
    assert_eq!(swarm.counts(), Counts { seeders: 10, leechers: 6 });
    assert!(swarm.remove(&peer(0, false)), "whatever kind it says it is");
    assert!(is_flat(&swarm));
    assert_eq!(swarm.counts(), Counts { seeders: 9, leechers: 6 });
    assert!(!swarm.remove(&peer(0, false)));
    (1..14).for_each(|number| assert!(swarm.remove(&peer(number, false))));
    assert!(matches!(&swarm, Swarm::Flat(peers) if peers.len() == 2 && !peers.spilled()));
}

#[test]
fn a_peer_that_changes_its_kind_moves() {
    let mut rng = Rng::with_seed(7);
    for total in [20, 200] {
        let mut swarm = swarm(0, total, &mut rng);
        let placed = swarm.store(peer(5, true), false, &mut rng);
        assert_eq!(placed, Placed::Updated(peer(5, false).state()));
        assert_eq!(swarm.counts(), Counts { seeders: 1, leechers: total - 1 });
        let placed = swarm.store(peer(5, false), false, &mut rng);
        assert_eq!(placed, Placed::Updated(peer(5, true).state()));
        assert_eq!(swarm.counts(), Counts { seeders: 0, leechers: total });
        assert_eq!(swarm.store(peer(total, true), false, &mut rng), Placed::Refused);
        assert_eq!(swarm.len(), total as usize);
    }
}

#[test]
fn repair_keeps_every_peer_once() {
    let mut rng = Rng::with_seed(8);
    for total in [1, 20, 200] {
        let mut swarm = swarm(total / 2, total - total / 2, &mut rng);
        match &mut swarm {
            Swarm::Flat(peers) => peers.push(peers[0]),
            Swarm::Large(large) => large.seeders.insert(peer(total - 1, true), &mut rng),
        }
        swarm.repair(&mut rng);
        assert_eq!(swarm.len(), total as usize);
        assert!((0..total).all(|number| swarm.remove(&peer(number, false))));
    }
}
