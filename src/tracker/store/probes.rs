//! What lookups pass when somebody chooses info hashes, addresses and ports: no more than with
//! random ones. What these print is in `developer_docs/reliability.md`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use fastrand::Rng;

use super::segments::PartitionedTable;
use super::{
    Announce, Event, Ipv4, Ipv4Record, Ipv6Record, Limits, NoPeers, Record, State, Torrents,
};
use crate::io::Now;
use crate::values::InfoHash;

const TORRENTS: u32 = 200_000;
const PEERS: u32 = 100_000;

/// Lengths of many lookups.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    mean: f64,
    longest: usize,
}

impl Lengths {
    fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let (mut sum, mut count, mut longest) = (0, 0, 0);
        for length in lengths {
            (sum, count, longest) = (sum + length, count + 1, longest.max(length));
        }
        Self { mean: sum as f64 / f64::from(count), longest }
    }
}

fn now() -> Now {
    Now::from_unix(Duration::from_secs(1_700_000_000))
}

/// Fills an index with `hashes`: numbers compared in a lookup, and torrents per part.
fn index_of(hashes: &[InfoHash]) -> (Lengths, Lengths) {
    let mut torrents = Torrents::<Ipv4>::new([0x0123_4567_89ab_cdef, 7]);
    let mut rng = Rng::with_seed(1);
    for info_hash in hashes {
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let (seeder, event, numwant) = (false, Event::None, 0);
        let request = Announce { now: now(), info_hash, peer, seeder, event, numwant };
        torrents.announce(&request, &Limits::NONE, &mut rng, &mut NoPeers);
    }
    assert_eq!(torrents.torrents(), hashes.len());
    let (index, slab) = (&torrents.index, &torrents.slab);
    let comparisons = hashes.iter().map(|hash| {
        let digest = index.digest(hash);
        let number = index.find(slab, digest, hash).unwrap_or(u32::MAX);
        index.comparisons(digest, number)
    });
    (Lengths::of(comparisons), Lengths::of(index.part_lens()))
}

/// Info hashes whose last eight bytes are `word` of their numbers, the others all alike.
fn hashes(word: impl Fn(u64) -> u64) -> Vec<InfoHash> {
    let hash = |number: u32| {
        let mut hash = InfoHash([0x5a; 20]);
        hash.0[12..].copy_from_slice(&word(number.into()).to_be_bytes());
        hash
    };
    (0..TORRENTS).map(hash).collect()
}

#[test]
fn chosen_info_hashes_are_found_as_fast_as_random_ones() {
    let mut rng = Rng::with_seed(2);
    let random: Vec<_> =
        (0..TORRENTS).map(|_| InfoHash(std::array::from_fn(|_| rng.u8(..)))).collect();
    let (by_chance, parts_by_chance) = index_of(&random);
    println!("random: compared {by_chance:.3?}, torrents per part {parts_by_chance:.1?}");
    for (name, set) in [
        ("counted, equal first 16 bytes", hashes(|number| number)),
        ("counted in the high bytes, equal low 32 bits", hashes(|number| number << 32)),
        ("counted by 1024, equal low 10 bits", hashes(|number| number << 10)),
        ("the same bits twice", hashes(|number| number << 32 | number)),
    ] {
        let (compared, parts) = index_of(&set);
        println!("{name}: compared {compared:.3?}, torrents per part {parts:.1?}");
        assert!(compared.mean < by_chance.mean * 1.05, "{name}");
        assert!(compared.longest <= COMPARED_MAX, "{name}: {compared:?}");
        assert!(parts.longest < parts_by_chance.longest * 5 / 4, "{name}: {parts:?}");
    }
}

/// Slots passed in the tables of a swarm of these peers, as it grows by one at a time.
fn tables_of<R: Record>(peers: impl Iterator<Item = R>) -> (Lengths, usize) {
    let mut rng = Rng::with_seed(3);
    let mut segments = PartitionedTable::from_peers(Vec::new(), &mut rng);
    peers.for_each(|peer| segments.insert(peer, &mut rng));
    assert_eq!(segments.len(), PEERS as usize);
    let largest = segments.probes().map(|(len, _)| len).max().unwrap_or(0);
    (Lengths::of(segments.probes().flat_map(|(_, probes)| probes)), largest)
}

fn ipv4(address: u32, port: u16) -> Ipv4Record {
    let endpoint = SocketAddrV4::new(Ipv4Addr::from_bits(address), port);
    Ipv4Record::new(endpoint, State::new(now(), false, false))
}

fn ipv6(address: u128, port: u16) -> Ipv6Record {
    let endpoint = SocketAddrV6::new(Ipv6Addr::from_bits(address), port, 0, 0);
    Ipv6Record::new(endpoint, State::new(now(), false, false))
}

fn compare(cases: Vec<(&str, (Lengths, usize))>) {
    let (_, (by_chance, _)) = cases[0];
    for (name, (passed, largest)) in cases {
        println!("{name}: passed {passed:.3?}, largest table {largest} peers");
        assert!(passed.mean < by_chance.mean * 1.5, "{name}: {passed:?}");
        assert!(passed.longest <= PASSED_MAX, "{name}: {passed:?}");
    }
}

#[test]
fn chosen_ipv4_peers_are_found_as_fast_as_random_ones() {
    let mut rng = Rng::with_seed(4);
    let peers = |peer: fn(u32) -> Ipv4Record| tables_of((0..PEERS).map(peer));
    let random =
        (0..PEERS).map(|number| ipv4(rng.u32(..) & 0xffff_0000 | number >> 1, rng.u16(1..)));
    compare(vec![
        ("random", tables_of(random)),
        ("addresses in a row, one port", peers(|number| ipv4(number, 6881))),
        ("ports in a row", peers(|number| ipv4(number >> 15, (number as u16) & 0x7fff | 0x8000))),
        ("addresses with equal low 14 bits", peers(|number| ipv4(number << 14, 6881))),
        ("address equal to port", peers(|number| ipv4(number, number as u16 | 0x8000))),
    ]);
}

#[test]
fn chosen_ipv6_peers_are_found_as_fast_as_random_ones() {
    let mut rng = Rng::with_seed(5);
    let peers = |peer: fn(u128) -> Ipv6Record| tables_of((0..u128::from(PEERS)).map(peer));
    let random = (0..PEERS).map(|number| ipv6(rng.u128(..) << 32 | u128::from(number), 1));
    compare(vec![
        ("random", tables_of(random)),
        ("hosts of one /64", peers(|number| ipv6(0x2001 << 112 | number, 6881))),
        ("networks, one host part", peers(|number| ipv6(number << 64 | 1, 6881))),
        ("network equal to host", peers(|number| ipv6(number << 64 | number, 6881))),
        (
            "equal low 96 bits but for ports",
            peers(|number| ipv6(number >> 12 << 96, number as u16 & 0xfff | 0x8000)),
        ),
    ]);
}

/// With one bit pattern in 128 alike by chance, more than so many in a row do not come up.
const COMPARED_MAX: usize = 8;
/// Half of what makes a table change its key.
const PASSED_MAX: usize = 64;
