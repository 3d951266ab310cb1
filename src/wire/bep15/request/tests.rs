//! Tests of the request parser: golden messages, client quirks, and a naive second description.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::wire::bep15::golden;

fn announce(payload: &[u8]) -> AnnounceView<'_> {
    match Request::parse(payload) {
        Ok(Request::Announce(announce)) => announce,
        other => panic!("expected an announce, got {other:?}"),
    }
}

fn scrape(payload: &[u8]) -> Scrape<'_> {
    match Request::parse(payload) {
        Ok(Request::Scrape(scrape)) => scrape,
        other => panic!("expected a scrape, got {other:?}"),
    }
}

#[test]
fn golden_connect() {
    let expected = Ok(Request::Connect(Connect { transaction: golden::TRANSACTION }));
    let mut bytes = golden::connect_request();
    assert_eq!(Request::parse(&bytes), expected);
    bytes.extend([0xff; 100]);
    assert_eq!(Request::parse(&bytes), expected, "longer is fine");
}

#[test]
fn golden_announce() {
    let bytes = golden::announce_request();
    let announce = announce(&bytes);
    assert_eq!(announce.connection_id(), golden::CONNECTION);
    assert_eq!(announce.transaction(), golden::TRANSACTION);
    assert_eq!(announce.info_hash(), golden::HASH_A);
    assert_eq!(announce.peer_id(), golden::PEER_ID);
    assert_eq!(announce.downloaded(), 1000);
    assert_eq!(announce.left(), 65_536);
    assert_eq!(announce.uploaded(), 255);
    assert_eq!(announce.event(), Event::Started);
    assert_eq!(announce.key(), 0xdead_beef);
    assert_eq!(announce.numwant(), 200);
    assert_eq!(announce.port(), 6881);
    assert_eq!(announce.options(), b"");
}

#[test]
fn golden_scrape() {
    let bytes = golden::scrape_request();
    let scrape = scrape(&bytes);
    assert_eq!(scrape.connection_id, golden::CONNECTION);
    assert_eq!(scrape.transaction, golden::TRANSACTION);
    assert_eq!(scrape.count(), 2);
    assert!(scrape.hashes().eq([golden::HASH_A, golden::HASH_B]));
}

#[test]
fn libtorrent_appends_url_data() {
    let mut bytes = golden::announce_request();
    bytes.extend(golden::url_data());
    let announce = announce(&bytes);
    assert_eq!(announce.port(), 6881);
    assert_eq!(announce.options(), golden::url_data());
}

#[test]
fn partial_seeds_and_the_future_announce_no_event() {
    let mut bytes = golden::announce_request();
    let expected = [
        (0, Event::None),
        (1, Event::Completed),
        (2, Event::Started),
        (3, Event::Stopped),
        (4, Event::None),
        (5, Event::None),
        (0xffff_ffff, Event::None),
        (0x0100_0000, Event::None),
    ];
    for (code, event) in expected {
        bytes[80..84].copy_from_slice(&u32::to_be_bytes(code));
        assert_eq!(announce(&bytes).event(), event, "code {code}");
        assert_eq!(event.code(), if event == Event::None { 0 } else { code });
    }
    assert_eq!(Event::from_code(Event::PAUSED_CODE), Event::None);
}

#[test]
fn a_negative_number_of_peers_leaves_it_to_the_tracker() {
    let mut bytes = golden::announce_request();
    let mut wanted = |numwant: [u8; 4]| {
        bytes[92..96].copy_from_slice(&numwant);
        announce(&bytes).wanted()
    };
    assert_eq!(wanted([0xff; 4]), None);
    assert_eq!(wanted([0x80, 0, 0, 0]), None);
    assert_eq!(wanted([0, 0, 0, 0]), Some(0));
    assert_eq!(wanted([0, 0, 0, 1]), Some(1));
    assert_eq!(wanted([0x7f, 0xff, 0xff, 0xff]), Some(0x7fff_ffff));
}

#[test]
fn requests_are_shown_on_one_line() {
    let shown = |bytes: &[u8]| Request::parse(bytes).unwrap().to_string();
    assert_eq!(shown(&golden::connect_request()), "cafebabe: connect");
    assert_eq!(
        shown(&golden::announce_request()),
        "cafebabe: announce 6161616161616161616161616161616161616141, Started, 65536 bytes left, \
         port 6881"
    );
    assert_eq!(shown(&golden::scrape_request()), "cafebabe: scrape 2 torrents");
}

#[test]
fn transmission_scrapes_sixty_hashes_at_once() {
    let mut bytes = golden::scrape_request();
    bytes.truncate(16);
    let hashes: Vec<InfoHash> = (0..60).map(|n| InfoHash([n; 20])).collect();
    hashes.iter().for_each(|hash| bytes.extend(hash.0));
    assert_eq!(bytes.len(), 16 + 60 * 20);
    assert!(scrape(&bytes).hashes().eq(hashes.iter().copied()));
    // The first 19 bytes of a 61st hash.
    bytes.extend([0xee; 19]);
    assert!(scrape(&bytes).hashes().eq(hashes));
}

#[test]
fn errors() {
    let error = |bytes: &[u8]| Request::parse(bytes).unwrap_err();
    let connect = golden::connect_request();
    let announce = golden::announce_request();
    let scrape = golden::scrape_request();
    assert_eq!(error(b""), RequestError::TooShort);
    assert_eq!(error(&connect[..15]), RequestError::TooShort);
    assert_eq!(error(&announce[..97]), RequestError::TooShort);
    assert_eq!(error(&scrape[..16]), RequestError::ScrapeWithoutHash);
    assert_eq!(error(&scrape[..35]), RequestError::ScrapeWithoutHash);
    let mut wrong = connect.clone();
    wrong[7] ^= 1;
    assert_eq!(error(&wrong), RequestError::BadMagic);
    wrong[8..12].copy_from_slice(&[0, 0, 0, 3]);
    assert_eq!(error(&wrong), RequestError::UnknownAction, "error is a response only");
    wrong[8..12].copy_from_slice(&[1, 0, 0, 1]);
    assert_eq!(error(&wrong), RequestError::UnknownAction);
}

/// Datagrams that are mostly close to a request, and sometimes anything.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let opening = prop_oneof![Just(0x0417_2710_1980_u64), any::<u64>()];
    let action = prop_oneof![9 => 0..5_u32, 1 => any::<u32>()];
    let rest = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 75..100),
        prop::collection::vec(any::<u8>(), 0..1500),
    ];
    let near = (opening, action, rest).prop_map(|(opening, action, rest)| {
        let head = [&opening.to_be_bytes()[..], &action.to_be_bytes()].concat();
        [head, rest].concat()
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..20), 9 => near]
}

/// The rules once more, counted from the end of what has been taken rather than by ranges.
#[derive(Clone, Debug, PartialEq)]
enum Naive {
    Drop(RequestError),
    Connect { transaction: u64 },
    Announce { integers: [u64; 10], info_hash: Vec<u8>, peer_id: Vec<u8>, options: Vec<u8> },
    Scrape { connection: u64, transaction: u64, hashes: Vec<Vec<u8>> },
}

fn naive(datagram: &[u8]) -> Naive {
    if datagram.len() < 16 {
        return Naive::Drop(RequestError::TooShort);
    }
    let mut left = datagram.iter().copied();
    let mut take = |bytes: usize| left.by_ref().take(bytes).collect::<Vec<u8>>();
    let number = |bytes: Vec<u8>| bytes.iter().fold(0_u64, |sum, b| sum * 256 + u64::from(*b));
    let first = number(take(8));
    let action = number(take(4));
    let transaction = number(take(4));
    match action {
        0 if first == 4_497_486_125_440 => Naive::Connect { transaction },
        0 => Naive::Drop(RequestError::BadMagic),
        1 if datagram.len() < 98 => Naive::Drop(RequestError::TooShort),
        1 => {
            let info_hash = take(20);
            let peer_id = take(20);
            let sizes = [8, 8, 8, 4, 4, 4, 4, 2];
            let tail = sizes.map(|bytes| number(take(bytes)));
            let mut integers = [first, transaction, 0, 0, 0, 0, 0, 0, 0, 0];
            integers[2..].copy_from_slice(&tail);
            Naive::Announce { integers, info_hash, peer_id, options: take(usize::MAX) }
        }
        2 if datagram.len() < 36 => Naive::Drop(RequestError::ScrapeWithoutHash),
        2 => {
            let hashes = (0..(datagram.len() - 16) / 20).map(|_| take(20)).collect();
            Naive::Scrape { connection: first, transaction, hashes }
        }
        _ => Naive::Drop(RequestError::UnknownAction),
    }
}

/// What the parser says, in the same terms.
fn parsed(datagram: &[u8]) -> Naive {
    let number = |transaction: TransactionId| u64::from(u32::from_be_bytes(transaction.0));
    match Request::parse(datagram) {
        Err(error) => Naive::Drop(error),
        Ok(Request::Connect(connect)) => {
            Naive::Connect { transaction: number(connect.transaction) }
        }
        Ok(Request::Announce(announce)) => Naive::Announce {
            integers: [
                announce.connection_id().0,
                number(announce.transaction()),
                announce.downloaded(),
                announce.left(),
                announce.uploaded(),
                u64::from(announce.event().code()),
                0,
                u64::from(announce.key()),
                u64::from(announce.numwant().cast_unsigned()),
                u64::from(announce.port()),
            ],
            info_hash: announce.info_hash().0.to_vec(),
            peer_id: announce.peer_id().to_vec(),
            options: announce.options().to_vec(),
        },
        Ok(Request::Scrape(scrape)) => Naive::Scrape {
            connection: scrape.connection_id.0,
            transaction: number(scrape.transaction),
            hashes: scrape.hashes().map(|hash| hash.0.to_vec()).collect(),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_parser_agrees_with_the_naive_description(datagram in datagram()) {
        let mut expected = naive(&datagram);
        if let Naive::Announce { integers, .. } = &mut expected {
            // What the parser does not pass on: events without a meaning, and the address.
            integers[5] = if (1..=3).contains(&integers[5]) { integers[5] } else { 0 };
            integers[6] = 0;
        }
        prop_assert_eq!(parsed(&datagram), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(datagram in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parsed(&datagram);
    }
}

#[test]
fn the_generator_reaches_every_variant() {
    let mut runner = TestRunner::deterministic();
    let generator = datagram();
    let mut reached = [false; 7];
    for _ in 0..2000 {
        let datagram = generator.new_tree(&mut runner).expect("a datagram").current();
        let variant = match naive(&datagram) {
            Naive::Connect { .. } => 0,
            Naive::Announce { .. } => 1,
            Naive::Scrape { .. } => 2,
            Naive::Drop(RequestError::TooShort) => 3,
            Naive::Drop(RequestError::BadMagic) => 4,
            Naive::Drop(RequestError::UnknownAction) => 5,
            Naive::Drop(RequestError::ScrapeWithoutHash) => 6,
        };
        reached[variant] = true;
    }
    assert_eq!(reached, [true; 7]);
}

const ANNOUNCE: AnnounceRequest = AnnounceRequest {
    connection_id: golden::CONNECTION,
    transaction: golden::TRANSACTION,
    info_hash: golden::HASH_A,
    peer_id: golden::PEER_ID,
    downloaded: 1000,
    left: 65_536,
    uploaded: 255,
    event_code: Event::Started.code(),
    ip: 0,
    key: 0xdead_beef,
    numwant: 200,
    port: 6881,
};

fn scrape_of_two(out: &mut [u8]) -> usize {
    let hashes = [golden::HASH_A, golden::HASH_B];
    emit_scrape(out, golden::CONNECTION, golden::TRANSACTION, hashes)
}

#[test]
fn golden_requests() {
    let mut out = [0xee; 200];
    let length = emit_connect(&mut out, golden::TRANSACTION);
    assert_eq!(out[..length], golden::connect_request());
    let length = ANNOUNCE.emit(&mut out);
    assert_eq!(out[..length], golden::announce_request());
    assert_eq!(out[length..], [0xee; 102]);
    let length = scrape_of_two(&mut out);
    assert_eq!(out[..length], golden::scrape_request());
}

#[test]
fn the_fields_that_the_parser_does_not_read() {
    let mut out = [0; 98];
    AnnounceRequest { ip: 0x0102_0304, event_code: 4, ..ANNOUNCE }.emit(&mut out);
    assert_eq!(out[80..88], [0, 0, 0, 4, 1, 2, 3, 4]);
}

#[test]
fn a_short_buffer_is_left_alone() {
    let mut out = [0xee; 97];
    assert_eq!(emit_connect(&mut out[..15], golden::TRANSACTION), 0);
    assert_eq!(ANNOUNCE.emit(&mut out), 0);
    assert_eq!(scrape_of_two(&mut out[..15]), 0);
    assert_eq!(out, [0xee; 97]);
    assert_eq!(scrape_of_two(&mut out[..35]), 16);
    assert_eq!(scrape_of_two(&mut out[..55]), 36);
    assert_eq!(scrape_of_two(&mut out), 56);
}

prop_compose! {
    fn announces()(
        ids: (u64, [u8; 4], [u8; 20], [u8; 20]),
        bytes: (u64, u64, u64),
        event_code in prop_oneof![0..6_u32, any::<u32>()],
        rest: (u32, u32, i32, u16),
    ) -> AnnounceRequest {
        AnnounceRequest {
            connection_id: ConnectionId(ids.0),
            transaction: TransactionId(ids.1),
            info_hash: InfoHash(ids.2),
            peer_id: ids.3,
            downloaded: bytes.0,
            left: bytes.1,
            uploaded: bytes.2,
            event_code,
            ip: rest.0,
            key: rest.1,
            numwant: rest.2,
            port: rest.3,
        }
    }
}

proptest! {
    #[test]
    fn announces_round_trip(sent in announces()) {
        let mut out = [0; 98];
        prop_assert_eq!(sent.emit(&mut out), 98);
        let Ok(Request::Announce(got)) = Request::parse(&out) else { panic!("no announce") };
        let read = AnnounceRequest {
            connection_id: got.connection_id(),
            transaction: got.transaction(),
            info_hash: got.info_hash(),
            peer_id: got.peer_id(),
            downloaded: got.downloaded(),
            left: got.left(),
            uploaded: got.uploaded(),
            event_code: sent.event_code,
            ip: sent.ip,
            key: got.key(),
            numwant: got.numwant(),
            port: got.port(),
        };
        prop_assert_eq!(read, sent);
        prop_assert_eq!(got.event(), Event::from_code(sent.event_code));
    }

    #[test]
    fn connects_and_scrapes_round_trip(
        connection: u64,
        transaction: [u8; 4],
        hashes in prop::collection::vec(any::<[u8; 20]>(), 1..100),
    ) {
        let transaction = TransactionId(transaction);
        let mut out = [0; 1472];
        let length = emit_connect(&mut out, transaction);
        let Ok(Request::Connect(got)) = Request::parse(&out[..length]) else {
            panic!("no connect")
        };
        prop_assert_eq!(got.transaction, transaction);

        let fitting = hashes.len().min(72);
        let hashes = hashes.into_iter().map(InfoHash);
        let id = ConnectionId(connection);
        let length = emit_scrape(&mut out, id, transaction, hashes.clone());
        let Ok(Request::Scrape(got)) = Request::parse(&out[..length]) else {
            panic!("no scrape")
        };
        prop_assert_eq!((got.connection_id, got.transaction), (id, transaction));
        prop_assert!(got.hashes().eq(hashes.take(fitting)));
    }
}
