//! The table against a plain map, and its own rules after every change.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::*;
use crate::io::Now;
use crate::tracker::store::{Ipv4Record, State};

type Table = PeerTable<Ipv4Record>;

fn peer(number: u32, seconds: u64) -> Ipv4Record {
    let now = Now::from_unix(Duration::from_secs(seconds));
    let endpoint = SocketAddrV4::new(Ipv4Addr::from_bits(number >> 3), 1 + (number & 7) as u16);
    Ipv4Record::new(endpoint, State::new(now, false, false))
}

fn state_at(seconds: u64) -> State {
    peer(0, seconds).state()
}

/// Asserts everything that lookups, growth and the sweep rely on.
fn check(table: &Table) {
    let peers: Vec<_> = table.peers().collect();
    assert_eq!(peers.len(), table.len());
    assert!(table.len * 8 <= table.capacity * 7, "{} of {}", table.len, table.capacity);
    assert!(table.slots.len() >= table.capacity as usize);
    assert!(peers.is_sorted_by_key(|peer| peer.hash(table.key)));
    for (slot, record) in table.slots.iter().enumerate().filter(|(_, record)| !record.is_empty()) {
        let home = table.home(record.hash(table.key));
        assert!(home <= slot);
        assert!(table.slots[home..slot].iter().all(|record| !record.is_empty()));
    }
}

fn same(table: &Table, model: &BTreeMap<u32, Ipv4Record>) {
    let mut peers: Vec<_> = table.peers().copied().collect();
    let mut expected: Vec<_> = model.values().copied().collect();
    peers.sort_by_key(|peer| peer.hash(0));
    expected.sort_by_key(|peer| peer.hash(0));
    assert_eq!(peers, expected);
}

#[test]
fn behaves_as_a_map_at_any_size() {
    for (seed, universe) in [(1, 3), (2, 9), (3, 60), (4, 700), (5, 20_000)] {
        let mut rng = Rng::with_seed(seed);
        let mut table = Table::from_peers(Vec::new(), &mut rng);
        let mut model = BTreeMap::new();
        let (mut hits, mut misses, mut inserts, mut removals) = (0, 0, 0, 0);
        for step in 0..universe * 12 + 500 {
            let number = rng.u32(..universe);
            let wanted = peer(number, u64::from(step));
            let growing = step / (universe * 2) % 2 == 0;
            if rng.u8(..) < if growing { 200 } else { 60 } {
                match (table.get_mut(&wanted), model.get_mut(&number)) {
                    (Some(stored), Some(expected)) => {
                        assert_eq!(stored, expected);
                        (*stored, *expected) = (wanted, wanted);
                        hits += 1;
                    }
                    (None, None) => {
                        table.insert(wanted, &mut rng);
                        model.insert(number, wanted);
                        inserts += 1;
                    }
                    other => panic!("table and model differ: {other:?}"),
                }
            } else {
                let removed = table.remove(&wanted);
                assert_eq!(removed, model.remove(&number));
                *if removed.is_some() { &mut removals } else { &mut misses } += 1;
            }
            if universe < 1000 || step % 97 == 0 {
                check(&table);
            }
        }
        same(&table, &model);
        assert!(hits > 50 && misses > 50 && inserts > 50 && removals > 50);
        for number in std::mem::take(&mut model).into_keys() {
            assert!(table.remove(&peer(number, 0)).is_some());
        }
        check(&table);
        assert_eq!((table.len(), table.slots.capacity()), (0, 0), "an empty table has no memory");
    }
}

#[test]
fn last_records_lie_beyond_the_home_slots() {
    let mut beyond = 0;
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut table = Table::from_peers(Vec::new(), &mut rng);
        (0..56).for_each(|number| table.insert(peer(number, 0), &mut rng));
        check(&table);
        beyond += usize::from(table.slots.len() > table.capacity as usize);
        for number in (0..56).rev() {
            assert!(table.remove(&peer(number, 0)).is_some());
            check(&table);
        }
    }
    assert!(beyond > 20, "{beyond} of 200 tables reached beyond their home slots");
}

#[test]
fn expiry_by_regions_removes_all_that_is_old_and_nothing_else() {
    let now = Now::from_unix(Duration::from_secs(1000));
    let is_expired = |state: State| state.expired(now, 100);
    for (seed, peers) in [(1, 1), (2, 40), (3, 3000), (4, 50_000)] {
        let mut rng = Rng::with_seed(seed);
        for old_in_256 in [0, 1, 128, 255, 256] {
            let mut model = BTreeMap::new();
            let mut table = Table::from_peers(Vec::new(), &mut rng);
            for number in 0..peers {
                let seconds = if rng.u32(..256) < old_in_256 { 10 } else { 990 };
                model.insert(number, peer(number, seconds));
                table.insert(peer(number, seconds), &mut rng);
            }
            let (bits, mut all_removed) = (table.region_bits(), 0);
            for number in 0..1_u32 << bits {
                let region = number.reverse_bits().checked_shr(32 - bits).unwrap_or(0);
                let (visited, removed) = table.expire(region, bits, is_expired);
                assert!(visited < SHIFT_LENGTH_MAX);
                all_removed += removed;
                if number % 64 == 0 {
                    check(&table);
                    let tail = table.slots.len() - table.capacity as usize;
                    assert!(tail <= PROBE_LENGTH_MAX, "{tail} beyond the home slots");
                }
            }
            let before = model.len();
            model.retain(|_, peer| !is_expired(peer.state()));
            check(&table);
            same(&table, &model);
            assert_eq!(all_removed, before - model.len());
        }
    }
}

#[test]
fn expiry_goes_on_where_it_was_while_the_table_changes() {
    let now = Now::from_unix(Duration::from_secs(1000));
    let mut rng = Rng::with_seed(8);
    let mut table = Table::from_peers(Vec::new(), &mut rng);
    (0..5000).for_each(|number| table.insert(peer(number, 10), &mut rng));
    let (key, bits, mut fresh) = (table.key, table.region_bits(), 5000);
    for number in 0..1_u32 << bits {
        table.expire(number.reverse_bits() >> (32 - bits), bits, |state| state.expired(now, 100));
        // Growth, deletion and shifting between slices, of fresh peers only.
        for _ in 0..60 {
            table.insert(peer(fresh, 1000), &mut rng);
            fresh += 1;
        }
        table.remove(&peer(rng.u32(5000..fresh), 0));
        check(&table);
    }
    assert!(table.peers().all(|peer| peer.state() == state_at(1000)));
    assert_eq!(table.key, key, "nothing crowded");
}

#[test]
fn crowded_tables_change_their_key() {
    let mut rng = Rng::with_seed(9);
    let mut table = Table::from_peers(Vec::new(), &mut rng);
    (0..2000).for_each(|number| table.insert(peer(number, 0), &mut rng));
    let key = table.key;
    // Somebody who has found out the key inserts peers of nearly equal hashes.
    let aimed = (5000..).filter(|number| peer(*number, 0).hash(key) >> 56 == 7);
    let mut inserted = 0;
    for number in aimed.take(1000) {
        table.insert(peer(number, 0), &mut rng);
        inserted += 1;
        check(&table);
        if table.key != key {
            break;
        }
    }
    assert_ne!(table.key, key, "{inserted} aimed peers");
    assert_eq!(table.len(), 2000 + inserted);
    assert!((0..2000).all(|number| table.get_mut(&peer(number, 0)).is_some()));
}

#[test]
fn tables_are_built_from_any_records() {
    let mut rng = Rng::with_seed(10);
    let mut records: Vec<_> = (0..500).map(|number| peer(number % 300, 0)).collect();
    records.push(Ipv4Record::EMPTY);
    rng.shuffle(&mut records);
    let table = Table::from_peers(records, &mut rng);
    check(&table);
    assert_eq!(table.len(), 300);
}

#[test]
fn memory_per_peer_stays_low() {
    let mut rng = Rng::with_seed(11);
    let mut table = Table::from_peers(Vec::new(), &mut rng);
    let (mut bytes, mut tables) = (0.0, 0.0);
    for number in 0..20_000_u32 {
        table.insert(peer(number, 0), &mut rng);
        if number > 1000 {
            bytes += (table.slots.capacity() * 8) as f64 / table.len() as f64;
            tables += 1.0;
        }
    }
    assert!(bytes / tables < 9.8, "{} bytes per peer", bytes / tables);
}
