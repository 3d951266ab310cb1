use std::time::Duration;

use super::*;
use crate::io::{FrameMeta, ReceivePool};
use crate::relay::golden::{
    IPV4, IPV4_FRAGMENT_FIRST, IPV6, IPV6_ATOMIC, IPV6_FRAGMENTS, IPV6_PLAIN, plain, virtio,
};

/// A reassembly with its pool, and what came out of it.
pub(super) struct Bench {
    pub(super) reassembly: Reassembly,
    pub(super) pool: ReceivePool,
    pub(super) counters: FlowCounters,
    pub(super) whole: Vec<Vec<u8>>,
}

impl Bench {
    pub(super) fn new(held_max: usize) -> Self {
        Self {
            reassembly: Reassembly::new(held_max),
            pool: ReceivePool::new(256, 4096),
            counters: FlowCounters::default(),
            whole: Vec::new(),
        }
    }

    pub(super) fn frame(&mut self, second: u64, frame: &[u8]) -> Result<(), RelayDrop> {
        let fragment = parse(frame)?;
        let (_, frame) = FrameMeta::split(frame, None, false, false);
        let slice =
            BufferSlice { buffer: self.pool.fill(frame).unwrap(), range: fragment.bytes.clone() };
        self.reassembly.add(at(second), &fragment, slice, &self.counters, |whole| {
            assert!(!whole.slices.is_empty() && whole.slices.len() <= FRAGMENTS_MAX);
            let bytes: Vec<u8> =
                whole.slices.iter().flat_map(|slice| slice.bytes().to_vec()).collect();
            assert_eq!(bytes.len(), whole.bytes);
            self.whole.push(bytes);
            Ok(())
        })
    }

    /// A fragment of packet `id` that nothing was checked in yet.
    fn piece(
        &mut self,
        id: u32,
        offset: usize,
        length: usize,
        more: bool,
    ) -> Result<(), RelayDrop> {
        self.frame(0, &fragment(id, offset, &vec![0xaa; length], more))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.counters.snapshot().dropped(RelayDrop::Fragment)
    }
}

/// A frame behind its virtio header.
fn parse(received: &[u8]) -> Result<Fragment, RelayDrop> {
    let (meta, frame) = FrameMeta::split(received, None, false, false);
    Fragment::parse(SocketId(3), frame, &meta)
}

fn at(second: u64) -> Now {
    Now::from_unix(Duration::from_secs(1000 + second))
}

/// From fd00::1 to ff15::1, hop limit 7, class 0xb8, with UDP behind the fragment header.
pub(super) fn fragment(id: u32, offset: usize, bytes: &[u8], more: bool) -> Vec<u8> {
    let place = offset as u16 | u16::from(more);
    let mut packet = IPV6_PLAIN[..40].to_vec();
    packet[4..6].copy_from_slice(&(8 + bytes.len() as u16).to_be_bytes());
    packet[6] = 44;
    packet.extend([17, 0]);
    packet.extend(place.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(bytes);
    plain(IPV6, &packet)
}

#[test]
fn golden_fragments_become_a_datagram_in_any_order() {
    let frames = IPV6_FRAGMENTS.map(|packet| plain(IPV6, packet));
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bench = Bench::new(8);
        for index in order {
            assert_eq!(bench.frame(0, &frames[index]), Ok(()));
        }
        assert_eq!(bench.whole, [b"ringtide relays it"], "{order:?}");
        assert_eq!((bench.reassembly.held(), bench.pool.held()), (0, 0));
        assert_eq!(bench.counters.snapshot().dropped_total(), 0);
    }
}

#[test]
fn a_whole_datagram_tells_where_it_comes_from_and_goes() {
    let mut bench = Bench::new(8);
    for (index, packet) in IPV6_FRAGMENTS.iter().enumerate() {
        let bytes = plain(IPV6, packet);
        let fragment = parse(&bytes).unwrap();
        assert_eq!((fragment.ttl, fragment.tos, fragment.more), (7, 0xb8, index < 2));
        let (_, frame) = FrameMeta::split(&bytes, None, false, false);
        let slice =
            BufferSlice { buffer: bench.pool.fill(frame).unwrap(), range: fragment.bytes.clone() };
        let taken = bench.reassembly.add(at(0), &fragment, slice, &bench.counters, |whole| {
            assert_eq!(whole.source, "[fd00::1]:58793".parse().unwrap());
            assert_eq!(whole.destination, "[ff15::1]:5001".parse().unwrap());
            assert_eq!((whole.ttl, whole.tos, whole.bytes), (7, 0xb8, 18));
            Err(RelayDrop::NoRule)
        });
        assert_eq!(taken, if index == 2 { Err(RelayDrop::NoRule) } else { Ok(()) });
    }
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn what_is_no_fragment_over_ipv6_is_refused() {
    let of = |frame: &[u8]| parse(frame).unwrap_err();
    assert_eq!(of(&plain(IPV4, IPV4_FRAGMENT_FIRST)), RelayDrop::Fragment);
    assert_eq!(of(&plain(IPV6, IPV6_ATOMIC)), RelayDrop::Fragment);
    assert_eq!(of(&plain(IPV6, IPV6_PLAIN)), RelayDrop::Fragment);
    let super_packet = crate::relay::golden::frame(&virtio(1, 5, 8, 54), IPV6, IPV6_FRAGMENTS[0]);
    assert_eq!(of(&super_packet), RelayDrop::Fragment);
    assert_eq!(of(&fragment(1, 0, &[0; 12], true)), RelayDrop::Malformed, "no multiple of eight");
    assert_eq!(of(&fragment(1, 8, &[], false)), RelayDrop::Malformed, "empty");
    assert_eq!(of(&fragment(1, 65_528, &[0; 8], false)), RelayDrop::Malformed, "too far");
    assert!(parse(&fragment(1, 65_528, &[0; 7], false)).is_ok());
    let frame = plain(IPV6, IPV6_FRAGMENTS[0]);
    for length in 0..frame.len() {
        assert_eq!(of(&frame[..length]), RelayDrop::Malformed, "{length}");
    }
}

#[test]
fn overlaps_and_contradictions_discard_the_packet_and_what_follows() {
    let cases: [&[(usize, usize, bool)]; 8] = [
        &[(0, 16, true), (8, 16, true)],
        &[(8, 16, true), (0, 16, true)],
        &[(0, 24, true), (8, 8, true)],
        &[(8, 8, true), (0, 24, true)],
        &[(0, 16, true), (0, 8, true)],
        &[(16, 4, false), (24, 8, false)],
        &[(16, 8, false), (24, 8, true)],
        &[(16, 8, true), (8, 8, false)],
    ];
    for pieces in cases {
        let mut bench = Bench::new(8);
        let [first, second] = [0, 1].map(|index| pieces[index]);
        assert_eq!(bench.piece(1, first.0, first.1, first.2), Ok(()));
        let dropped = bench.piece(1, second.0, second.1, second.2);
        assert_eq!(dropped, Err(RelayDrop::Fragment), "{pieces:?}");
        assert_eq!((bench.dropped(), bench.pool.held()), (1, 0), "{pieces:?}");
        assert_eq!(bench.piece(1, 32, 8, true), Err(RelayDrop::Fragment), "{pieces:?}");
        assert_eq!(bench.piece(2, 32, 8, true), Ok(()), "others go on");
    }
}

#[test]
fn an_exact_repetition_is_dropped_alone() {
    let mut bench = Bench::new(8);
    let frames = IPV6_FRAGMENTS.map(|packet| plain(IPV6, packet));
    for index in [0, 2] {
        assert_eq!(bench.frame(0, &frames[index]), Ok(()));
        assert_eq!(bench.frame(0, &frames[index]), Err(RelayDrop::Fragment));
    }
    assert_eq!(bench.frame(0, &frames[1]), Ok(()));
    assert_eq!(bench.whole.len(), 1);
    assert_eq!(bench.dropped(), 0, "the caller counts what it is told of");
}

#[test]
fn corrupt_and_unchecked_datagrams_are_dropped() {
    let [first, second, last] = IPV6_FRAGMENTS.map(|packet| plain(IPV6, packet));
    for (frame, byte) in [(0, 10 + 14 + 48), (1, 10 + 14 + 50), (2, 10 + 14 + 48)] {
        let mut bench = Bench::new(8);
        let mut frames = [first.clone(), second.clone(), last.clone()];
        frames[frame][byte] ^= 0x10;
        let results = frames.map(|frame| bench.frame(0, &frame));
        assert_eq!(results, [Ok(()), Ok(()), Err(RelayDrop::Corrupt)]);
        assert_eq!((bench.whole.len(), bench.pool.held()), (0, 0));
        let others = bench.counters.snapshot().dropped(RelayDrop::Corrupt);
        assert_eq!(others, 2, "the caller counts the one that it is told of");
    }
    let mut bench = Bench::new(8);
    let mut unchecked = first.clone();
    unchecked[10 + 14 + 48 + 6..10 + 14 + 48 + 8].fill(0);
    let results = [unchecked, second.clone(), last].map(|frame| bench.frame(0, &frame));
    assert_eq!(results[2], Err(RelayDrop::Corrupt));
    let mut short = first;
    short[10 + 14 + 48 + 4..10 + 14 + 48 + 6].copy_from_slice(&100_u16.to_be_bytes());
    let last = plain(IPV6, IPV6_FRAGMENTS[2]);
    let results = [short, second, last].map(|frame| bench.frame(0, &frame));
    assert_eq!(results[2], Err(RelayDrop::Malformed));
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn a_packet_that_is_refused_takes_no_room() {
    let mut bench = Bench::new(8);
    assert_eq!(bench.piece(1, 8, 8, true), Ok(()));
    let id = parse(&fragment(1, 0, &[0; 8], true)).unwrap().id;
    bench.reassembly.refuse(at(0), id, RelayDrop::NoRule, &bench.counters);
    assert_eq!(bench.counters.snapshot().dropped(RelayDrop::NoRule), 1);
    assert_eq!(bench.piece(1, 16, 8, true), Err(RelayDrop::NoRule));
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn what_does_not_become_whole_in_time_is_counted() {
    let mut bench = Bench::new(8);
    bench.piece(1, 0, 8, true).unwrap();
    bench.piece(1, 16, 8, true).unwrap();
    bench.frame(3, &fragment(2, 0, &[0; 8], true)).unwrap();
    bench.reassembly.expire(at(4), &bench.counters);
    assert_eq!((bench.dropped(), bench.reassembly.held()), (0, 3));
    bench.reassembly.expire(at(5), &bench.counters);
    assert_eq!((bench.dropped(), bench.reassembly.held(), bench.pool.held()), (2, 1, 1));
    // The packet begins anew.
    bench.frame(6, &fragment(1, 8, &[0; 8], true)).unwrap();
    bench.reassembly.abandon(&bench.counters);
    assert_eq!((bench.dropped(), bench.reassembly.held(), bench.pool.held()), (4, 0, 0));
}

#[test]
fn lone_fragments_drain_no_pool_and_the_oldest_go_first() {
    let mut bench = Bench::new(8);
    for id in 0..1000 {
        assert_eq!(bench.piece(id, 8, 8, true), Ok(()));
        assert!(bench.pool.held() <= 8);
    }
    assert_eq!((bench.dropped(), bench.reassembly.held()), (992, 8));
    let frames = IPV6_FRAGMENTS.map(|packet| plain(IPV6, packet));
    frames.iter().for_each(|frame| bench.frame(0, frame).unwrap());
    assert_eq!(bench.whole.len(), 1);
    assert_eq!(bench.piece(992, 0, 8, true), Err(RelayDrop::Fragment), "it was the oldest");
    assert_eq!(bench.piece(999, 0, 8, true), Ok(()), "it was the newest");
}

#[test]
fn packets_in_progress_are_bounded() {
    let mut bench = Bench::new(200);
    for id in 0..PACKETS_MAX as u32 {
        assert_eq!(bench.piece(id, 8, 8, true), Ok(()));
    }
    assert_eq!(bench.dropped(), 0);
    assert_eq!(bench.piece(5000, 8, 8, true), Ok(()));
    assert_eq!((bench.dropped(), bench.reassembly.held()), (1, PACKETS_MAX));
}

#[test]
fn a_packet_of_too_many_fragments_is_given_up() {
    let mut bench = Bench::new(200);
    for index in 0..FRAGMENTS_MAX {
        assert_eq!(bench.piece(1, 8 * index, 8, true), Ok(()));
    }
    assert_eq!(bench.piece(1, 8 * FRAGMENTS_MAX, 8, true), Err(RelayDrop::Fragment));
    assert_eq!((bench.dropped(), bench.pool.held()), (FRAGMENTS_MAX as u64, 0));
    let mut bench = Bench::new(4);
    (0..4).for_each(|index| bench.piece(1, 8 * index, 8, true).unwrap());
    assert_eq!(
        bench.piece(1, 32, 8, true),
        Err(RelayDrop::Fragment),
        "more than there is room for"
    );
    assert_eq!((bench.dropped(), bench.pool.held()), (4, 0));
}
