//! Golden responses, round trips and arbitrary bytes.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::wire::bep15::golden;

const TRANSACTION: TransactionId = golden::TRANSACTION;
const ENTRY: ScrapeEntry = ScrapeEntry { seeders: 5, completed: 260, leechers: 7 };
const HEADER: AnnounceHeader =
    AnnounceHeader { transaction: TRANSACTION, interval_s: 1801, leechers: 3, seeders: 2 };

#[test]
fn golden_responses() {
    let mut out = [0xee; 64];
    let length = emit_connect(&mut out, TRANSACTION, golden::CONNECTION);
    assert_eq!(out[..length], golden::connect_response());
    assert_eq!(out[length..], [0xee; 48]);
    let length = HEADER.emit(&mut out);
    assert_eq!(out[..length], golden::announce_header());
    let mut scrape = ScrapeWriter::new(&mut out, TRANSACTION);
    scrape.push(ENTRY).unwrap();
    scrape.push(ScrapeEntry::default()).unwrap();
    let length = scrape.finish();
    assert_eq!(out[..length], golden::scrape_response());
    let length = emit_error(&mut out, TRANSACTION, "denied");
    assert_eq!(out[..length], golden::error_response());
}

#[test]
fn a_short_buffer_is_left_alone() {
    let mut out = [0xee; 19];
    assert_eq!(emit_connect(&mut out[..15], TRANSACTION, golden::CONNECTION), 0);
    assert_eq!(HEADER.emit(&mut out), 0);
    assert_eq!(emit_error(&mut out[..7], TRANSACTION, "denied"), 0);
    let mut scrape = ScrapeWriter::new(&mut out[..7], TRANSACTION);
    assert_eq!(scrape.push(ENTRY), Err(ResponseFull));
    assert_eq!(scrape.finish(), 0);
    assert_eq!(out, [0xee; 19]);
    let mut scrape = ScrapeWriter::new(&mut out, TRANSACTION);
    assert_eq!(scrape.push(ENTRY), Err(ResponseFull));
    assert_eq!(scrape.finish(), 8);
}

proptest! {
    #[test]
    fn scrapes_hold_what_fits(space in 0..1500_usize, offered in 0..130_usize) {
        let mut out = vec![0; space];
        let mut scrape = ScrapeWriter::new(&mut out, TRANSACTION);
        let taken = (0..offered).take_while(|_| scrape.push(ENTRY).is_ok()).count();
        let fitting = space.saturating_sub(8) / 12;
        prop_assert_eq!(taken, offered.min(fitting));
        prop_assert_eq!(scrape.finish(), if space < 8 { 0 } else { 8 + 12 * taken });
    }

    #[test]
    fn error_messages_are_cut_between_characters(
        space in 0..200_usize,
        message in "[a-zé→🦀]{0,120}",
    ) {
        let mut out = vec![0; space];
        let length = emit_error(&mut out, TRANSACTION, &message);
        prop_assert!(length <= space.min(98));
        let Some(written) = out[..length].get(8..) else { return Ok(()) };
        let written = std::str::from_utf8(written).expect("whole characters");
        prop_assert!(message.starts_with(written));
        let missing = message[written.len()..].chars().next();
        prop_assert!(missing.is_none_or(|c| length + c.len_utf8() > space.min(98)));
    }
}

#[test]
fn golden_connect() {
    let mut bytes = golden::connect_response();
    let connection_id = golden::CONNECTION;
    let expected = Response::Connect { transaction: TRANSACTION, connection_id };
    assert_eq!(Response::parse(&bytes, Family::Ipv4), Ok(expected));
    assert_eq!(expected.transaction(), TRANSACTION);
    bytes.push(0);
    assert_eq!(Response::parse(&bytes, Family::Ipv4), Err(ResponseError::Length(17)));
}

#[test]
fn golden_announces() {
    let expected = [
        (Family::Ipv4, golden::peers_ipv4(), vec!["192.0.2.1:6881", "198.51.100.7:80"]),
        (Family::Ipv6, golden::peers_ipv6(), vec!["[2001:db8::1]:6881"]),
        (Family::Ipv6, vec![], vec![]),
    ];
    for (family, peer_bytes, addresses) in expected {
        let mut bytes = [golden::announce_header(), peer_bytes].concat();
        let Ok(Response::Announce { header, peers }) = Response::parse(&bytes, family) else {
            panic!("no announce response");
        };
        assert_eq!(header.transaction, TRANSACTION);
        assert_eq!((header.interval_s, header.leechers, header.seeders), (1801, 3, 2));
        assert_eq!(peers.len(), addresses.len());
        assert_eq!(peers.is_empty(), addresses.is_empty());
        let addresses = addresses.iter().map(|text| text.parse::<SocketAddr>().unwrap());
        assert!(peers.iter().eq(addresses));
        bytes.push(0);
        let error = ResponseError::Length(bytes.len());
        assert_eq!(Response::parse(&bytes, family), Err(error));
    }
}

#[test]
fn golden_scrape_and_error() {
    let bytes = golden::scrape_response();
    let Ok(Response::Scrape { transaction, entries }) = Response::parse(&bytes, Family::Ipv4)
    else {
        panic!("no scrape response");
    };
    let first = ScrapeEntry { seeders: 5, completed: 260, leechers: 7 };
    assert!(entries.iter().eq([first, ScrapeEntry::default()]));
    assert_eq!(transaction, TRANSACTION);
    assert_eq!(Response::parse(&bytes[..31], Family::Ipv4), Err(ResponseError::Length(31)));

    let bytes = golden::error_response();
    let expected = Response::Error { transaction: TRANSACTION, message: b"denied" };
    assert_eq!(Response::parse(&bytes, Family::Ipv6), Ok(expected));
    assert_eq!(expected.transaction(), TRANSACTION);
    assert_eq!(Response::parse(&bytes[..7], Family::Ipv4), Err(ResponseError::Length(7)));
    let unknown = golden::hex("00 00 00 04 ca fe ba be");
    let error = ResponseError::UnknownAction(4);
    assert_eq!(Response::parse(&unknown, Family::Ipv4), Err(error));
}

/// What a response holds, owned.
#[derive(Clone, Debug)]
enum Content {
    Connect(u64),
    Announce([u32; 3], Vec<u8>),
    Scrape(Vec<[u32; 3]>),
    Error(String),
}

fn content(family: Family) -> impl Strategy<Value = Content> {
    let peers = prop::collection::vec(any::<[u8; 18]>(), 0..80).prop_map(move |peers| {
        peers.iter().flat_map(|peer| peer[..family.peer_bytes()].to_vec()).collect()
    });
    prop_oneof![
        any::<u64>().prop_map(Content::Connect),
        (any::<[u32; 3]>(), peers).prop_map(|(counts, peers)| Content::Announce(counts, peers)),
        prop::collection::vec(any::<[u32; 3]>(), 0..100).prop_map(Content::Scrape),
        "[ -~é]{0,45}".prop_map(Content::Error),
    ]
}

fn emit(content: &Content, transaction: TransactionId, out: &mut [u8]) -> usize {
    match content {
        Content::Connect(id) => emit_connect(out, transaction, ConnectionId(*id)),
        Content::Announce([interval_s, leechers, seeders], peers) => {
            let (interval_s, leechers, seeders) = (*interval_s, *leechers, *seeders);
            let header = AnnounceHeader { transaction, interval_s, leechers, seeders };
            let start = header.emit(out);
            out[start..start + peers.len()].copy_from_slice(peers);
            start + peers.len()
        }
        Content::Scrape(entries) => {
            let mut writer = ScrapeWriter::new(out, transaction);
            for &[seeders, completed, leechers] in entries {
                writer.push(ScrapeEntry { seeders, completed, leechers }).unwrap();
            }
            writer.finish()
        }
        Content::Error(message) => emit_error(out, transaction, message),
    }
}

fn agrees(response: Response<'_>, content: &Content) -> bool {
    match (response, content) {
        (Response::Connect { connection_id, .. }, Content::Connect(id)) => connection_id.0 == *id,
        (Response::Announce { header, peers }, Content::Announce(counts, bytes)) => {
            let list = peers.iter().flat_map(|peer| {
                let address = match peer.ip() {
                    std::net::IpAddr::V4(address) => address.octets().to_vec(),
                    std::net::IpAddr::V6(address) => address.octets().to_vec(),
                };
                [address, peer.port().to_be_bytes().to_vec()].concat()
            });
            [header.interval_s, header.leechers, header.seeders] == *counts
                && list.eq(bytes.iter().copied())
        }
        (Response::Scrape { entries, .. }, Content::Scrape(expected)) => entries
            .iter()
            .map(|entry| [entry.seeders, entry.completed, entry.leechers])
            .eq(expected.iter().copied()),
        (Response::Error { message, .. }, Content::Error(expected)) => {
            message == expected.as_bytes()
        }
        _ => false,
    }
}

fn any_content() -> impl Strategy<Value = (Family, Content)> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
        .prop_flat_map(|family| (Just(family), content(family)))
}

proptest! {
    #[test]
    fn responses_round_trip((family, content) in any_content(), transaction: [u8; 4]) {
        let mut out = [0; 1472];
        let length = emit(&content, TransactionId(transaction), &mut out);
        prop_assert!(length <= family.reply_bytes_max());
        let response = Response::parse(&out[..length], family).expect("a response");
        prop_assert_eq!(response.transaction().0, transaction);
        prop_assert!(agrees(response, &content), "{:?} from {:?}", response, content);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        action in 0..5_u8,
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [vec![0, 0, 0, action], rest].concat();
        for family in [Family::Ipv4, Family::Ipv6] {
            if let Ok(Response::Announce { peers, .. }) = Response::parse(&bytes, family) {
                prop_assert_eq!(peers.iter().count(), (bytes.len() - 20) / family.peer_bytes());
            }
        }
    }
}

#[test]
fn the_generator_reaches_every_variant() {
    let mut runner = TestRunner::deterministic();
    let generator = any_content();
    let mut reached = [[false; 4]; 2];
    for _ in 0..200 {
        let (family, content) = generator.new_tree(&mut runner).expect("content").current();
        let variant = match content {
            Content::Connect(_) => 0,
            Content::Announce(..) => 1,
            Content::Scrape(_) => 2,
            Content::Error(_) => 3,
        };
        reached[usize::from(family == Family::Ipv6)][variant] = true;
    }
    assert_eq!(reached, [[true; 4]; 2]);
}

#[test]
fn responses_are_shown_on_one_line() {
    let shown = |bytes: &[u8]| Response::parse(bytes, Family::Ipv4).unwrap().to_string();
    assert_eq!(shown(&golden::connect_response()), "cafebabe: connection ID 0123456789abcdef");
    assert_eq!(
        shown(&[golden::announce_header(), golden::peers_ipv4()].concat()),
        "cafebabe: interval 1801 s, 2 seeders, 3 leechers, 2 peers"
    );
    assert_eq!(shown(&golden::scrape_response()), "cafebabe: counts of 2 torrents");
    assert_eq!(shown(&golden::error_response()), "cafebabe: error: denied");
}
