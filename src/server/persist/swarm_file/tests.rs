//! Bytes written by hand, and what becomes of a file that was changed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::io::Now;
use crate::tracker::core::InfoHash;
use crate::tracker::store::{Ipv4Record, Ipv6Record, PeerChunk, Record, State};

/// 0x0000_0001_0203_0405, late enough for every age.
const SAVED_AT_S: u64 = 0x1_0203_0405;

fn at(seconds: u64) -> Now {
    Now::from_unix(Duration::from_secs(seconds))
}

fn hash(first: u8) -> InfoHash {
    InfoHash(std::array::from_fn(|at| first + at as u8))
}

fn ipv4(address: [u8; 4], port: u16, age_s: u16, seeder: bool, completed: bool) -> Ipv4Record {
    let endpoint = SocketAddrV4::new(Ipv4Addr::from(address), port);
    Ipv4Record::new(endpoint, State::aged(at(SAVED_AT_S), age_s, seeder, completed))
}

fn piece<'a, R>(info_hash: &'a InfoHash, completed: u32, slots: &'a [R]) -> PeerChunk<'a, R> {
    PeerChunk { info_hash, completed, continues: false, slots }
}

/// With a checksum of what is there so far behind it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    // The remainder of CRC-32 as in ISO 3309, bit by bit.
    let mut remainder = u32::MAX;
    for byte in &bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            remainder = remainder >> 1 ^ if remainder & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    bytes.extend_from_slice(&(!remainder).to_be_bytes());
    bytes
}

/// One IPv4 torrent of two peers and one IPv6 torrent of one, written by hand.
fn golden() -> Vec<u8> {
    let header = [&b"RTSWARMS"[..], &[0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5]].concat();
    let ipv4 = [
        &[0, 0, 0, 44, 0, 0, 0, 4, 0, 0, 0, 0][..],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
        &[0, 0, 0, 7, 0, 0, 0, 2],
        &[192, 0, 2, 1, 0x1a, 0xe1, 0x80, 0x00],
        &[192, 0, 2, 2, 0, 80, 0x41, 0x02],
    ];
    let ipv6 = [
        &[0, 0, 0, 48, 0, 0, 0, 6, 0, 0, 0, 1][..],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1a, 0xe1, 0x2a, 0x30],
    ];
    let end = [0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
    [sealed(header), sealed(ipv4.concat()), sealed(ipv6.concat()), sealed(end.to_vec())].concat()
}

type Peers = Vec<(Vec<u8>, bool, bool, u16)>;
/// By family and info hash: completed count and peers.
type Read = BTreeMap<(u32, InfoHash), (u32, Peers)>;

fn read(bytes: &[u8]) -> Result<(u64, Read), FormatError> {
    fn gather<F: SavedFamily>(read: &mut Read, entries: TorrentEntries<'_, F>) {
        for entry in entries {
            let (completed, peers) = read.entry((F::KIND, entry.info_hash)).or_default();
            *completed = entry.completed;
            peers.extend(entry.records(at(SAVED_AT_S), 0, u32::MAX).zip(entry.peers()).map(
                |(record, peer)| {
                    let mut wire = vec![0; F::Record::COMPACT_BYTES];
                    record.write_compact(&mut wire);
                    assert_eq!(record.state().seeder(), peer.seeder);
                    assert_eq!(record.state().completed(), peer.completed);
                    assert_eq!(record.state().age_s(at(SAVED_AT_S)), peer.age_s);
                    (wire, peer.seeder, peer.completed, peer.age_s)
                },
            ));
        }
    }
    scan(
        bytes,
        |header| Ok((header.saved_at_s, Read::new())),
        |(_, read), block| {
            match block {
                Block::Ipv4(entries) => gather(read, entries),
                Block::Ipv6(entries) => gather(read, entries),
            }
            Ok(())
        },
    )
}

fn written(write: impl FnOnce(&mut SwarmWriter)) -> Vec<u8> {
    let mut writer = SwarmWriter::new(at(SAVED_AT_S));
    write(&mut writer);
    writer.end();
    [&header(at(SAVED_AT_S))[..], writer.take()].concat()
}

fn golden_write(writer: &mut SwarmWriter) {
    let peers = [
        ipv4([192, 0, 2, 1], 6881, 0, true, false),
        Ipv4Record::EMPTY,
        ipv4([192, 0, 2, 2], 80, 0x102, false, true),
    ];
    writer.push::<Ipv4>(&piece(&hash(0), 7, &peers));
    let endpoint = SocketAddrV6::new(Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), 6881, 0, 0);
    let peer = Ipv6Record::new(endpoint, State::aged(at(SAVED_AT_S), 10_800, false, false));
    writer.push::<Ipv6>(&piece(&hash(1), 0, &[peer]));
}

#[test]
fn golden_bytes_are_written() {
    assert_eq!(written(golden_write), golden());
}

#[test]
fn golden_bytes_are_read() {
    let (saved_at_s, torrents) = read(&golden()).unwrap();
    assert_eq!(saved_at_s, SAVED_AT_S);
    let first = vec![
        (vec![192, 0, 2, 1, 0x1a, 0xe1], true, false, 0),
        (vec![192, 0, 2, 2, 0, 80], false, true, 258),
    ];
    assert_eq!(torrents[&(4, hash(0))], (7, first));
    let address = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1a, 0xe1];
    assert_eq!(torrents[&(6, hash(1))], (0, vec![(address, false, false, 10_800)]));
    assert_eq!(torrents.len(), 2);
}

#[test]
fn every_cut_and_every_changed_bit_is_noticed() {
    let golden = golden();
    for length in 0..golden.len() {
        assert!(matches!(read(&golden[..length]), Err(FormatError::Truncated)), "{length} bytes");
    }
    for bit in 0..8 * golden.len() {
        let mut changed = golden.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&changed).is_err(), "bit {bit}");
    }
    let longer = [&golden[..], &[0]].concat();
    assert!(matches!(read(&longer), Err(FormatError::Malformed(_))));
}

#[test]
fn what_is_wrong_under_a_right_checksum_is_noticed() {
    let header = &golden()[..HEADER_BYTES].to_vec();
    let block = |length: u32, kind: u32, number: u32, held: &[u8]| {
        let head = [length, kind, number].map(u32::to_be_bytes).concat();
        sealed([&head[..], held].concat())
    };
    let end = |number: u32, entries: u64, peers: u64| {
        block(16, 0, number, &[entries.to_be_bytes(), peers.to_be_bytes()].concat())
    };
    let error = |blocks: &[Vec<u8>]| {
        let error = read(&[&header[..], &blocks.concat()].concat()).map(|_| ()).unwrap_err();
        error.to_string()
    };
    assert!(read(&[&header[..], &end(0, 0, 0)].concat()).unwrap().1.is_empty());
    assert!(error(&[end(1, 0, 0)]).contains("out of order"));
    assert!(error(&[end(0, 1, 0)]).contains("as its end says"));
    assert!(error(&[block(8, 0, 0, &[0; 8])]).contains("an end of another length"));
    assert!(error(&[block(0, 5, 0, &[])]).contains("no known kind"));
    assert!(error(&[block(1 << 21, 4, 0, &[])]).contains("too long"));
    assert!(error(&[block(20, 4, 0, &[1; 20])]).contains("reaches past"));
    assert!(error(&[block(28, 4, 0, &[0; 28])]).contains("without peers"));
    // A count of peers that no memory would hold.
    assert!(error(&[block(40, 6, 0, &[0xff; 40])]).contains("reaches past"));
    let mut torrent = [0; 36];
    torrent[27] = 1;
    assert!(error(&[block(36, 4, 0, &torrent)]).contains("port 0"));
    assert!(error(&[block(0, 4, 0, &[])]).contains("cut short"));
    let newer = sealed([&b"RTSWARMS"[..], &[0, 0, 0, 2], &[0; 8]].concat());
    assert!(matches!(read(&newer), Err(FormatError::Version(2))));
    assert!(matches!(read(&[b'x'; 100]), Err(FormatError::Magic)));
}

#[test]
fn large_torrents_are_cut_into_entries_and_blocks() {
    let peers: Vec<Ipv4Record> = (0..200_000_u32)
        .map(|number| ipv4(number.to_be_bytes(), 6881, 1, number % 3 == 0, false))
        .collect();
    let bytes = written(|writer| writer.push::<Ipv4>(&piece(&hash(3), 1, &peers)));
    // 200,000 peers of 8 bytes are more than one block holds.
    let (_, torrents) = read(&bytes).unwrap();
    assert_eq!(torrents[&(4, hash(3))].1.len(), peers.len());
    assert_eq!(torrents.len(), 1);
}

#[test]
fn peers_that_announce_during_a_save_are_fresh() {
    let bytes = written(|writer| {
        writer.set_now(at(SAVED_AT_S + 100));
        let state = |age_s| State::aged(at(SAVED_AT_S + 100), age_s, false, false);
        let endpoint = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let peers = [(1, 0), (2, 99), (3, 100), (4, 130)]
            .map(|(port, age_s)| Ipv4Record::new(endpoint(port), state(age_s)));
        writer.push::<Ipv4>(&piece(&hash(0), 0, &peers));
    });
    let (_, torrents) = read(&bytes).unwrap();
    let ages: Vec<u16> = torrents[&(4, hash(0))].1.iter().map(|peer| peer.3).collect();
    assert_eq!(ages, [0, 0, 0, 30]);
}

#[test]
fn peers_that_expired_since_the_save_are_left_out() {
    let peers = [0, 5, 10].map(|age_s| ipv4([1, 2, 3, 4], 1 + age_s, age_s, false, true));
    let bytes = written(|writer| writer.push::<Ipv4>(&piece(&hash(0), 0, &peers)));
    for (elapsed_s, left) in
        [(0, 3), (90, 3), (91, 2), (96, 1), (101, 0), (70_000, 0), (u64::MAX, 0)]
    {
        let now = at(SAVED_AT_S.saturating_add(elapsed_s));
        let count = |sum: &mut usize, block: Block<'_>| {
            let Block::Ipv4(entries) = block else { panic!("only IPv4 was written") };
            for record in entries.flat_map(|entry| entry.records(now, elapsed_s, 100)) {
                assert!(u64::from(record.state().age_s(now)) >= elapsed_s);
                assert!(record.state().completed() && !record.state().seeder());
                *sum += 1;
            }
            Ok::<(), FormatError>(())
        };
        assert_eq!(scan(&bytes[..], |_| Ok(0), count).unwrap(), left, "after {elapsed_s} s");
    }
}

type Torrent = (u8, u32, Vec<([u8; 4], u16, u16, bool, bool)>);

fn torrents() -> impl Strategy<Value = Vec<Torrent>> {
    let peer = (any::<[u8; 4]>(), 1..=u16::MAX, 0..=10_800_u16, any::<bool>(), any::<bool>());
    let torrent = (0..200_u8, any::<u32>(), prop::collection::vec(peer, 1..40));
    prop::collection::vec(torrent, 0..20)
}

fn write_all(torrents: &[Torrent]) -> Vec<u8> {
    written(|writer| {
        for (number, completed, peers) in torrents {
            let peers: Vec<Ipv4Record> = peers
                .iter()
                .map(|(address, port, age_s, seeder, completed)| {
                    ipv4(*address, *port, *age_s, *seeder, *completed)
                })
                .collect();
            writer.push::<Ipv4>(&piece(&hash(*number), *completed, &peers));
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(torrents in torrents()) {
        let mut expected = Read::new();
        for (number, completed, peers) in &torrents {
            let entry = expected.entry((4, hash(*number))).or_default();
            entry.0 = *completed;
            entry.1.extend(peers.iter().map(|(address, port, age_s, seeder, completed)| {
                let wire = [&address[..], &port.to_be_bytes()].concat();
                (wire, *seeder, *completed, *age_s)
            }));
        }
        prop_assert_eq!(read(&write_all(&torrents)).unwrap(), (SAVED_AT_S, expected));
    }

    #[test]
    fn damage_is_noticed(torrents in torrents(), place: prop::sample::Index, flip in 1..=255_u8) {
        let mut bytes = write_all(&torrents);
        let at = place.index(bytes.len());
        prop_assert!(read(&bytes[..at]).is_err());
        bytes[at] ^= flip;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
        // Past the header, and with checksums that are right.
        let mut from = golden()[..HEADER_BYTES].to_vec();
        let mut head = [0_u32, 4, 0].map(u32::to_be_bytes).concat();
        head[..4].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        from.extend(sealed([&head[..], &bytes].concat()));
        let _ = read(&from);
    }
}
