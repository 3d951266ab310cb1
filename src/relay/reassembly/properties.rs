//! Packets cut at random, and their fragments shuffled, repeated, lost and made to overlap, next
//! to the plainest model: bytes that are there or not.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::tests::{Bench, fragment};
use super::*;

/// A datagram and how it travels.
#[derive(Clone, Debug)]
struct Recipe {
    payload: Vec<u8>,
    /// Lengths of fragments in units of eight bytes, again and again.
    cuts: Vec<usize>,
    /// A fragment to move by so many units of eight bytes: it overlaps, or leaves a hole.
    moved: Option<(prop::sample::Index, usize)>,
    /// A bit to flip in what a fragment carries.
    flipped: Option<(prop::sample::Index, usize)>,
    identification: u32,
}

#[derive(Clone, Debug)]
struct Piece {
    offset: usize,
    bytes: Vec<u8>,
    more: bool,
}

fn word_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let words = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The addresses that [`fragment`] puts into its frames.
fn addresses() -> Vec<u8> {
    let mut addresses = vec![0; 32];
    (addresses[0], addresses[15]) = (0xfd, 1);
    (addresses[16], addresses[17], addresses[31]) = (0xff, 0x15, 1);
    addresses
}

impl Recipe {
    fn datagram(&self) -> Vec<u8> {
        let length = 8 + self.payload.len() as u16;
        let mut udp = [0x13, 0x88, 0x13, 0x89].to_vec();
        udp.extend(length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let pseudo = [&addresses()[..], &u32::from(length).to_be_bytes(), &[0, 0, 0, 17]].concat();
        let checksum = match !word_sum(&[&pseudo[..], &udp].concat()) {
            0 => 0xffff,
            checksum => checksum,
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        udp
    }

    /// The fragments as they are sent, at least two.
    fn pieces(&self) -> Vec<Piece> {
        let datagram = self.datagram();
        let mut pieces = Vec::new();
        let mut offset = 0;
        for units in self.cuts.iter().cycle() {
            let end = (offset + 8 * units).min(datagram.len());
            let more = end < datagram.len();
            pieces.push(Piece { offset, bytes: datagram[offset..end].to_vec(), more });
            offset = end;
            if !more {
                break;
            }
        }
        if let Some((index, units)) = &self.moved {
            let index = index.index(pieces.len());
            pieces[index].offset += 8 * units;
        }
        if let Some((index, bit)) = &self.flipped {
            let index = index.index(pieces.len());
            let bytes = &mut pieces[index].bytes;
            let bit = bit % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        pieces
    }
}

/// What becomes of arrivals of one packet, without bounds on room and time: the whole datagrams.
#[derive(Default)]
struct Model {
    /// Ranges that came, with their bytes and whether others follow.
    there: Vec<Piece>,
    discarded: bool,
    whole: Vec<Vec<u8>>,
}

impl Model {
    fn arrive(&mut self, piece: &Piece) {
        if self.discarded || self.there.iter().any(|there| same(there, piece)) {
            return;
        }
        let end = |piece: &Piece| piece.offset + piece.bytes.len();
        let wrong = |there: &Piece| {
            let overlap = there.offset < end(piece) && piece.offset < end(there);
            let behind_last = !there.more && (!piece.more || end(piece) >= end(there));
            let last_before = !piece.more && end(there) >= end(piece);
            overlap || behind_last || last_before
        };
        if self.there.iter().any(wrong) {
            self.discarded = true;
            return;
        }
        self.there.push(piece.clone());
        self.there.sort_by_key(|piece| piece.offset);
        let bytes: Vec<u8> = self.there.iter().flat_map(|piece| piece.bytes.clone()).collect();
        let last = self.there.last().filter(|last| !last.more && end(last) == bytes.len());
        if last.is_none() {
            return;
        }
        self.there.clear();
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        if !(8..=bytes.len()).contains(&length) || bytes[6..8] == [0, 0] {
            return;
        }
        let pseudo = [&addresses()[..], &(length as u32).to_be_bytes(), &[0, 0, 0, 17]].concat();
        if word_sum(&[&pseudo[..], &bytes[..length]].concat()) == 0xffff {
            self.whole.push(bytes[8..length].to_vec());
        }
    }
}

fn same(there: &Piece, piece: &Piece) -> bool {
    there.offset == piece.offset
        && there.bytes.len() == piece.bytes.len()
        && there.more == piece.more
}

prop_compose! {
    fn recipe()(
        payload in prop::collection::vec(any::<u8>(), 1..600),
        cuts in prop::collection::vec(1_usize..30, 1..4),
        order in prop_oneof![
            Just((0..64).collect::<Vec<usize>>()),
            Just((0..64).rev().collect::<Vec<usize>>()),
            prop::collection::vec(0_usize..64, 0..80),
        ],
        moved in prop::option::weighted(0.2, (any::<prop::sample::Index>(), 1_usize..4)),
        flipped in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<usize>())),
        identification in 0_u32..4,
    ) -> (Vec<usize>, Recipe) {
        (order, Recipe { payload, cuts, moved, flipped, identification })
    }
}

/// Arrivals of one packet: all pieces in the order of `order`, which may leave some out.
fn arrivals(order: &[usize], recipe: &Recipe) -> Vec<Piece> {
    let pieces = recipe.pieces();
    let in_range = order.iter().filter(|index| **index < pieces.len());
    in_range.map(|index| pieces[*index].clone()).collect()
}

#[test]
fn recipes_reach_every_end() {
    let mut runner = TestRunner::deterministic();
    let (mut whole, mut discarded, mut repeated, mut incomplete, mut corrupt) = (0, 0, 0, 0, 0);
    for _ in 0..500 {
        let (order, recipe) = recipe().new_tree(&mut runner).unwrap().current();
        let (mut model, arrivals) = (Model::default(), arrivals(&order, &recipe));
        for piece in &arrivals {
            repeated += usize::from(model.there.iter().any(|there| same(there, piece)));
            let there = model.there.len();
            model.arrive(piece);
            let completed = model.there.is_empty() && there > 0 && !model.discarded;
            corrupt += usize::from(completed && model.whole.is_empty());
        }
        whole += model.whole.len();
        discarded += usize::from(model.discarded);
        incomplete += usize::from(!model.discarded && !model.there.is_empty());
    }
    for count in [whole, discarded, repeated, incomplete, corrupt] {
        assert!(count > 10, "{:?}", (whole, discarded, repeated, incomplete, corrupt));
    }
}

proptest! {
    #[test]
    fn datagrams_are_what_the_model_says(
        recipes in prop::collection::vec(recipe(), 1..6),
        turns in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
    ) {
        let mut bench = Bench::new(256);
        let mut models: HashMap<u32, Model> = HashMap::new();
        let mut queues: Vec<(u32, VecDeque<Piece>)> = recipes
            .iter()
            .map(|(order, recipe)| (recipe.identification, arrivals(order, recipe).into()))
            .collect();
        let mut expected = Vec::new();
        for turn in turns {
            let queue = turn.index(queues.len());
            let (id, queue) = &mut queues[queue];
            let Some(piece) = queue.pop_front() else { continue };
            // What is no fragment takes another path.
            if piece.offset == 0 && !piece.more {
                continue;
            }
            let model = models.entry(*id).or_default();
            model.arrive(&piece);
            expected.append(&mut model.whole);
            let _ = bench.frame(0, &fragment(*id, piece.offset, &piece.bytes, piece.more));
            prop_assert_eq!(&bench.whole, &expected);
            let there = models.values().filter(|model| !model.discarded);
            let there: usize = there.map(|model| model.there.len()).sum();
            prop_assert_eq!((bench.reassembly.held(), bench.pool.held()), (there, there));
        }
        bench.reassembly.abandon(&bench.counters);
        prop_assert_eq!(bench.pool.held(), 0);
    }

    #[test]
    fn garbage_is_answered_and_room_is_bounded(
        frames in prop::collection::vec(
            (0_u32..100, 0_usize..20, prop::collection::vec(any::<u8>(), 1..100), any::<bool>()),
            0..300,
        ),
        held_max in 1_usize..40,
    ) {
        let mut bench = Bench::new(held_max);
        let (mut refused, mut malformed) = (0, 0);
        for (second, (id, units, bytes, more)) in frames.iter().enumerate() {
            match bench.frame(second as u64 / 50, &fragment(*id, 8 * units, bytes, *more)) {
                Err(RelayDrop::Malformed) if *more && bytes.len() % 8 > 0 => malformed += 1,
                Err(_) => refused += 1,
                Ok(()) => {}
            }
            bench.reassembly.expire(at_second(second as u64 / 50), &bench.counters);
            prop_assert!(bench.reassembly.held() <= held_max);
            prop_assert_eq!(bench.reassembly.held(), bench.pool.held());
        }
        bench.reassembly.abandon(&bench.counters);
        let counted = bench.counters.snapshot().dropped_total();
        // Each frame is in a count of its own, or was part of a whole.
        prop_assert!(counted + refused + malformed <= frames.len() as u64);
        prop_assert_eq!(bench.pool.held(), 0);
    }
}

fn at_second(second: u64) -> Now {
    Now::from_unix(Duration::from_secs(1000 + second))
}
