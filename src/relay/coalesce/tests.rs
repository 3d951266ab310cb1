//! Batches by hand, then random pushes against what every send must obey.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::io::{Buffer, ReceivePool};
use crate::relay::count_datagrams;

/// What one closed batch was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    bytes: Vec<u8>,
    slices: usize,
    segment_bytes: Option<u16>,
    datagrams: usize,
    ttl_tos: (Option<u8>, Option<u8>),
}

fn record(slices: &[BufferSlice], options: SendOptions) -> Sent {
    let SendOptions { segment_bytes, ttl, tos } = options;
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.bytes().to_vec()).collect();
    let datagrams = count_datagrams(bytes.len(), segment_bytes);
    Sent { bytes, slices: slices.len(), segment_bytes, datagrams, ttl_tos: (ttl, tos) }
}

/// A datagram, or a super-packet.
fn plain(segment_bytes: Option<u16>) -> SendOptions {
    SendOptions { segment_bytes, ..SendOptions::default() }
}

/// The size of the whole send, of its segments, and how many there are.
fn shape(sent: &Sent) -> (usize, Option<u16>, usize) {
    (sent.bytes.len(), sent.segment_bytes, sent.datagrams)
}

/// A buffer of 65,535 bytes that count up in a period which no segment size divides.
fn buffer() -> Buffer {
    let bytes: Vec<u8> = (0..65_535_u32).map(|at| (at % 251) as u8).collect();
    ReceivePool::new(1, bytes.len()).fill(&bytes).unwrap()
}

fn slice(buffer: &Buffer, bytes: usize) -> BufferSlice {
    BufferSlice { buffer: buffer.clone(), range: 0..bytes }
}

/// Pushes (bytes, segment) one after the other and lists the shapes of what leaves.
fn shapes(segment_max: u16, pushes: &[(usize, Option<u16>)]) -> Vec<(usize, Option<u16>, usize)> {
    let buffer = buffer();
    let mut batch = Batch::new(segment_max);
    let mut sent = Vec::new();
    for (bytes, segment) in pushes {
        let note = |slices: &[_], options| sent.push(shape(&record(slices, options)));
        batch.gather(slice(&buffer, *bytes), plain(*segment), note);
    }
    batch.close(|slices, options| sent.push(shape(&record(slices, options))));
    assert!(batch.is_empty());
    sent
}

#[test]
fn equal_datagrams_leave_together_and_a_shorter_one_ends_them() {
    let pushes = [(100, None), (100, None), (100, None), (40, None), (100, None)];
    assert_eq!(shapes(1472, &pushes), [(340, Some(100), 4), (100, None, 1)]);
}

#[test]
fn a_larger_one_starts_anew() {
    assert_eq!(shapes(1472, &[(40, None), (100, None)]), [(40, None, 1), (100, None, 1)]);
}

#[test]
fn at_most_64_datagrams() {
    assert_eq!(
        shapes(1472, &[(9, None); 130]),
        [(576, Some(9), 64), (576, Some(9), 64), (18, Some(9), 2)]
    );
}

#[test]
fn at_most_65_000_bytes() {
    assert_eq!(
        shapes(1472, &[(1472, None); 50]),
        [(64_768, Some(1472), 44), (8832, Some(1472), 6)]
    );
    assert_eq!(shapes(1300, &[(1300, None); 50]), [(65_000, Some(1300), 50)]);
    assert_eq!(shapes(1300, &[(1300, None); 51]), [(65_000, Some(1300), 50), (1300, None, 1)]);
    assert_eq!(shapes(65_507, &[(65_507, None); 2]), [(65_507, None, 1), (65_507, None, 1)]);
}

#[test]
fn empty_datagrams_go_alone() {
    let pushes = [(0, None), (0, None), (9, None), (0, None), (9, None), (9, None)];
    let expected = [(0, None, 1), (0, None, 1), (9, None, 1), (0, None, 1), (18, Some(9), 2)];
    assert_eq!(shapes(1472, &pushes), expected);
    assert_eq!(shapes(0, &[(0, Some(9)), (0, None)]), [(0, None, 1), (0, None, 1)]);
}

#[test]
fn datagrams_beyond_the_mtu_go_singly() {
    let pushes = [(1473, None), (1473, None), (1472, None), (1472, None), (1473, None)];
    let expected = [(1473, None, 1), (1473, None, 1), (2944, Some(1472), 2), (1473, None, 1)];
    assert_eq!(shapes(1472, &pushes), expected);
}

#[test]
fn super_packets_join_and_end_batches() {
    // Whole ones of the same size, and single datagrams before and after.
    let pushes = [(8, None), (24, Some(8)), (16, Some(8)), (8, None), (3, None)];
    assert_eq!(shapes(1472, &pushes), [(59, Some(8), 8)]);
    // A shorter last datagram ends it.
    assert_eq!(shapes(1472, &[(20, Some(8)), (8, None)]), [(20, Some(8), 3), (8, None, 1)]);
    // Another size does not join, not even a smaller one.
    let pushes = [(16, Some(8)), (8, Some(4)), (27, Some(9))];
    assert_eq!(shapes(1472, &pushes), [(16, Some(8), 2), (8, Some(4), 2), (27, Some(9), 3)]);
    // A size that is not exceeded is none.
    assert_eq!(shapes(1472, &[(8, Some(8)), (8, Some(900)), (8, Some(0))]), [(24, Some(8), 3)]);
    // One that does not fit any more starts anew.
    let pushes = [(480, Some(8)), (40, Some(8))];
    assert_eq!(shapes(1472, &pushes), [(480, Some(8), 60), (40, Some(8), 5)]);
}

#[test]
fn super_packets_beyond_the_limits_are_cut_at_a_segment() {
    assert_eq!(shapes(1472, &[(1024, Some(8))]), [(512, Some(8), 64), (512, Some(8), 64)]);
    assert_eq!(shapes(1472, &[(65_507, Some(1472))]), [(64_768, Some(1472), 44), (739, None, 1)]);
    let pushes = [(8, None), (1028, Some(8)), (4, None)];
    let expected =
        [(8, None, 1), (512, Some(8), 64), (512, Some(8), 64), (4, None, 1), (4, None, 1)];
    assert_eq!(shapes(1472, &pushes)[..3], expected[..3]);
    assert_eq!(shapes(1472, &pushes)[3..], [(8, Some(4), 2)], "equal ones meet again");
    assert_eq!(shapes(7, &[(20, Some(8))]), [(8, None, 1), (8, None, 1), (4, None, 1)]);
    assert_eq!(shapes(0, &[(8, None), (16, Some(8))]), [(8, None, 1); 3]);
}

#[test]
fn another_ttl_or_type_of_service_starts_a_new_batch() {
    let buffer = buffer();
    let mut batch = Batch::new(1472);
    let mut sent = Vec::new();
    for (ttl, tos) in [(7, 0), (7, 0), (8, 0), (8, 4), (8, 4)] {
        let note = |slices: &[_], options| sent.push(record(slices, options));
        batch.gather(
            slice(&buffer, 9),
            SendOptions { segment_bytes: None, ttl: Some(ttl), tos: Some(tos) },
            note,
        );
    }
    batch.close(|slices, options| sent.push(record(slices, options)));
    let headers: Vec<_> = sent.iter().map(|sent| (sent.datagrams, sent.ttl_tos)).collect();
    let expected = [(2, (Some(7), Some(0))), (1, (Some(8), Some(0))), (2, (Some(8), Some(4)))];
    assert_eq!(headers, expected);
}

#[test]
fn a_new_mtu_counts_from_the_next_batch() {
    let buffer = buffer();
    let mut batch = Batch::new(1472);
    assert!(matches!(batch.push(slice(&buffer, 1000), plain(None)), Pushed::Open));
    batch.set_segment_max(999);
    let Pushed::Refused(refused) = batch.push(slice(&buffer, 1000), plain(None)) else {
        panic!("the old limit held");
    };
    assert_eq!(batch.close(|slices, options| record(slices, options).datagrams), Some(1));
    assert!(matches!(batch.push(refused, plain(None)), Pushed::Full));
}

#[test]
fn closing_lets_go_of_the_buffers() {
    let pool = ReceivePool::new(2, 64);
    let mut batch = Batch::new(1472);
    assert_eq!(batch.close(|_, _| ()), None);
    for _ in 0..2 {
        let buffer = pool.fill(b"tide").unwrap();
        assert!(matches!(
            batch.push(BufferSlice { buffer, range: 0..4 }, plain(None)),
            Pushed::Open
        ));
    }
    assert_eq!(pool.held(), 2);
    assert_eq!(batch.close(|slices, _| slices.len()), Some(2));
    assert_eq!(pool.held(), 0);
    assert!(batch.is_empty());
}

#[test]
fn split_finds_every_datagram() {
    let buffer = buffer();
    let ranges = |slices: &[BufferSlice], segment| -> Vec<_> {
        Split::new(slices, segment).map(|datagram| datagram.range).collect()
    };
    let super_packet = BufferSlice { buffer: buffer.clone(), range: 10..30 };
    let plain = BufferSlice { buffer: buffer.clone(), range: 40..45 };
    let empty = BufferSlice { buffer: buffer.clone(), range: 7..7 };
    let slices = [super_packet, plain];
    assert_eq!(ranges(&slices, Some(5)), [10..15, 15..20, 20..25, 25..30, 40..45]);
    assert_eq!(ranges(&slices[..1], Some(8)), [10..18, 18..26, 26..30]);
    assert_eq!(ranges(&slices[1..], None), [40..45; 1]);
    assert_eq!(ranges(&[empty], None), [7..7; 1]);
    assert!(ranges(&[], Some(8)).is_empty());
}

/// One push: how many bytes, which segment size, and an index of TTL and class.
type Push = (usize, Option<u16>, u8);

fn pushes() -> impl Strategy<Value = Vec<Push>> {
    // Few sizes, so that batches form; some at the limits, so that they end there.
    let size = prop_oneof![
        6 => Just(100_usize),
        2 => Just(1400),
        1 => prop::sample::select(vec![0, 1, 99, 101, 1399, 1472, 1473, 9000, 65_000, 65_507]),
        1 => 0_usize..65_508,
    ];
    let segments = prop_oneof![
        4 => Just(None),
        1 => prop::sample::select(vec![1_u16, 99, 100, 1400, 1472, 1473]).prop_map(Some),
        1 => any::<u16>().prop_map(Some),
    ];
    let super_packet = (prop::sample::select(vec![100_u16, 1400]), 1_usize..130, 0_usize..3)
        .prop_map(|(size, count, short)| {
            let bytes = usize::from(size) * count + short * 7;
            (bytes.min(65_507), Some(size))
        });
    let data = prop_oneof![3 => (size, segments), 1 => super_packet];
    let ttl = prop_oneof![9 => Just(0_u8), 1 => Just(1)];
    let push = (data, ttl).prop_map(|((bytes, segment), ttl)| (bytes, segment, ttl));
    let again = prop_oneof![3 => Just(1_usize), 1 => 1_usize..80];
    prop::collection::vec((push, again), 1..30).prop_map(|pushes| {
        pushes.into_iter().flat_map(|(push, again)| std::iter::repeat_n(push, again)).collect()
    })
}

fn segment_maxima() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![1472_u16, 1472, 1400, 8972, 0, 99, u16::MAX])
}

/// The datagrams of a stretch of bytes, and their marks.
fn datagrams(bytes: &[u8], segment: Option<u16>, ttl: u8) -> Vec<(Vec<u8>, u8)> {
    match segment {
        Some(size) if size > 0 && !bytes.is_empty() => {
            bytes.chunks(usize::from(size)).map(|datagram| (datagram.to_vec(), ttl)).collect()
        }
        _ => vec![(bytes.to_vec(), ttl)],
    }
}

/// Pushes everything, closing where the batch asks for it and, as at the end of an iteration,
/// after every `flush` pushes. Checks each send.
fn run(segment_max: u16, pushes: &[Push], flush: usize, buffer: &Buffer) -> Vec<Sent> {
    let mut batch = Batch::new(segment_max);
    let mut sent = Vec::new();
    for (index, (bytes, segment, ttl)) in pushes.iter().enumerate() {
        let start = index % 29;
        let end = (start + bytes).min(buffer.bytes().len());
        let slice = BufferSlice { buffer: buffer.clone(), range: start..end };
        let note = |slices: &[_], options| sent.push(checked(segment_max, slices, options));
        let (ttl, tos) = (Some(*ttl), Some(ttl * 4));
        batch.gather(slice, SendOptions { segment_bytes: *segment, ttl, tos }, note);
        if index % flush == flush - 1 {
            batch.close(|slices, options| sent.push(checked(segment_max, slices, options)));
            assert!(batch.is_empty());
        }
    }
    batch.close(|slices, options| sent.push(checked(segment_max, slices, options)));
    sent
}

/// Records a send and asserts everything that the kernel and the design ask of one.
fn checked(segment_max: u16, slices: &[BufferSlice], options: SendOptions) -> Sent {
    let sent = record(slices, options);
    assert!((1..=BATCH_DATAGRAMS_MAX).contains(&sent.datagrams));
    assert!((1..=sent.datagrams).contains(&sent.slices));
    match sent.segment_bytes {
        None => assert_eq!((sent.datagrams, sent.slices), (1, 1)),
        Some(size) => {
            assert!(size > 0 && size <= segment_max);
            assert!(sent.datagrams > 1 && sent.bytes.len() <= BATCH_BYTES_MAX);
            assert_eq!(sent.datagrams, sent.bytes.len().div_ceil(usize::from(size)));
        }
    }
    // Taken apart, it is what the kernel makes of it: equal but for the last.
    let single: Vec<_> = Split::new(slices, options.segment_bytes).collect();
    let single: Vec<_> = single.iter().map(|slice| (slice.bytes().to_vec(), 0)).collect();
    assert_eq!(single, datagrams(&sent.bytes, sent.segment_bytes, 0));
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_leaves_is_what_came_in(
        pushes in pushes(),
        segment_max in segment_maxima(),
        flush in 1_usize..200,
    ) {
        let buffer = buffer();
        let sent = run(segment_max, &pushes, flush, &buffer);
        let came: Vec<_> = pushes.iter().enumerate().flat_map(|(index, (bytes, segment, ttl))| {
            let start = index % 29;
            let end = (start + bytes).min(buffer.bytes().len());
            datagrams(&buffer.bytes()[start..end], *segment, *ttl)
        }).collect();
        let left: Vec<_> = sent.iter().flat_map(|sent| {
            let ttl = sent.ttl_tos.0.unwrap();
            assert_eq!(sent.ttl_tos.1, Some(ttl * 4));
            datagrams(&sent.bytes, sent.segment_bytes, ttl)
        }).collect();
        prop_assert!(came == left, "datagrams were lost, changed or reordered");
    }

    #[test]
    fn nothing_that_could_have_stayed_together_is_apart(
        count in 1_usize..300,
        size in 1_usize..1473,
    ) {
        let per_send = (BATCH_BYTES_MAX / size).min(BATCH_DATAGRAMS_MAX);
        let sent = shapes(1472, &vec![(size, None); count]);
        prop_assert_eq!(sent.len(), count.div_ceil(per_send));
    }
}

#[test]
fn the_generators_reach_every_way_to_end_a_batch() {
    let mut runner = TestRunner::deterministic();
    let buffer = buffer();
    let mut reached = HashSet::new();
    for _ in 0..100 {
        let inputs = (pushes(), segment_maxima()).new_tree(&mut runner).unwrap().current();
        for sent in run(inputs.1, &inputs.0, 100, &buffer) {
            let size = sent.segment_bytes.map_or(sent.bytes.len(), usize::from);
            reached.extend(
                [
                    (sent.bytes.is_empty(), "empty"),
                    (sent.datagrams == BATCH_DATAGRAMS_MAX, "64 datagrams"),
                    (
                        sent.datagrams > 1 && sent.bytes.len() + size > BATCH_BYTES_MAX,
                        "65,000 bytes",
                    ),
                    (sent.bytes.len() % size.max(1) != 0, "shorter last one"),
                    (sent.datagrams == 1 && size > usize::from(inputs.1), "beyond the MTU"),
                    (sent.datagrams > sent.slices, "super-packet"),
                    (sent.datagrams > sent.slices && sent.slices > 1, "super-packet among others"),
                    (sent.slices == BATCH_DATAGRAMS_MAX, "64 slices"),
                ]
                .iter()
                .filter(|reached| reached.0)
                .map(|reached| reached.1),
            );
        }
    }
    assert_eq!(reached.len(), 8, "only {reached:?}");
}
