//! Reader of responses (BEP 15), for the load tester, the simulation and the tests.
//!
//! It is stricter than a client needs to be: bytes that belong to no field are an error, so that
//! a response which some client would refuse is noticed here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::connection_id::ConnectionId;
use super::response::{
    AnnounceHeader, CONNECT_RESPONSE_BYTES, Family, PEER_IPV4_BYTES, PEER_IPV6_BYTES,
    RESPONSE_HEADER_BYTES, SCRAPE_ENTRY_BYTES, ScrapeEntry,
};
use super::wire::{
    ANNOUNCE_HEADER_BYTES, TransactionId, action, read, response_field as field, scrape_field,
};

/// A response, its lists borrowed from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// To a connect request.
    Connect {
        /// From the request.
        transaction: TransactionId,
        /// To be sent with announces and scrapes.
        connection_id: ConnectionId,
    },
    /// To an announce request.
    Announce {
        /// Transaction, interval and counts.
        header: AnnounceHeader,
        /// Other peers.
        peers: Peers<'a>,
    },
    /// To a scrape request.
    Scrape {
        /// From the request.
        transaction: TransactionId,
        /// One for each hash that was answered.
        entries: ScrapeEntries<'a>,
    },
    /// To any request.
    Error {
        /// From the request.
        transaction: TransactionId,
        /// Text, usually UTF-8.
        message: &'a [u8],
    },
}

impl<'a> Response<'a> {
    /// Reads one datagram's payload; `family` is the one it came over.
    ///
    /// # Errors
    ///
    /// [`ResponseError`], when the bytes are not exactly one response.
    pub fn parse(payload: &'a [u8], family: Family) -> Result<Self, ResponseError> {
        let Some((header, rest)) = payload.split_first_chunk::<RESPONSE_HEADER_BYTES>() else {
            return Err(ResponseError::Length(payload.len()));
        };
        let transaction = TransactionId(read(header, field::TRANSACTION));
        match u32::from_be_bytes(read(header, field::ACTION)) {
            action::CONNECT => parse_connect(payload, transaction),
            action::ANNOUNCE => parse_announce(payload, transaction, family),
            action::SCRAPE => match rest.as_chunks() {
                (entries, []) => Ok(Self::Scrape { transaction, entries: ScrapeEntries(entries) }),
                _ => Err(ResponseError::Length(payload.len())),
            },
            action::ERROR => Ok(Self::Error { transaction, message: rest }),
            unknown => Err(ResponseError::UnknownAction(unknown)),
        }
    }

    /// The transaction ID, which says what request this answers.
    pub const fn transaction(&self) -> TransactionId {
        match self {
            Self::Announce { header, .. } => header.transaction,
            Self::Connect { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

fn parse_connect(
    payload: &[u8],
    transaction: TransactionId,
) -> Result<Response<'_>, ResponseError> {
    if payload.len() != CONNECT_RESPONSE_BYTES {
        return Err(ResponseError::Length(payload.len()));
    }
    let connection_id = ConnectionId(u64::from_be_bytes(read(payload, field::CONNECTION_ID)));
    Ok(Response::Connect { transaction, connection_id })
}

fn parse_announce(
    payload: &[u8],
    transaction: TransactionId,
    family: Family,
) -> Result<Response<'_>, ResponseError> {
    let wrong_length = ResponseError::Length(payload.len());
    let (fixed, rest) = payload.split_first_chunk::<ANNOUNCE_HEADER_BYTES>().ok_or(wrong_length)?;
    let number = |range| u32::from_be_bytes(read(fixed, range));
    let header = AnnounceHeader {
        transaction,
        interval_s: number(field::INTERVAL),
        leechers: number(field::LEECHERS),
        seeders: number(field::SEEDERS),
    };
    Ok(Response::Announce { header, peers: Peers::parse(rest, family).ok_or(wrong_length)? })
}

/// The peers of an announce response, read where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers<'a> {
    /// Addresses of 4 bytes and ports.
    Ipv4(&'a [[u8; PEER_IPV4_BYTES]]),
    /// Addresses of 16 bytes and ports.
    Ipv6(&'a [[u8; PEER_IPV6_BYTES]]),
}

impl<'a> Peers<'a> {
    /// The peers in `bytes`; `None` when the last one is cut off.
    pub fn parse(bytes: &'a [u8], family: Family) -> Option<Self> {
        match family {
            Family::Ipv4 => Some(Self::Ipv4(whole_chunks(bytes)?)),
            Family::Ipv6 => Some(Self::Ipv6(whole_chunks(bytes)?)),
        }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::Ipv4(entries) => entries.len(),
            Self::Ipv6(entries) => entries.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The peer at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<SocketAddr> {
        match self {
            Self::Ipv4(entries) => entries.get(index).map(|entry| {
                let port = u16::from_be_bytes(read(entry, 4..6));
                SocketAddr::from((Ipv4Addr::from(read::<4>(entry, 0..4)), port))
            }),
            Self::Ipv6(entries) => entries.get(index).map(|entry| {
                let port = u16::from_be_bytes(read(entry, 16..18));
                SocketAddr::from((Ipv6Addr::from(read::<16>(entry, 0..16)), port))
            }),
        }
    }

    /// The peers in the order of the response.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> + Clone + use<'a> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// The entries of a scrape response, read where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeEntries<'a>(&'a [[u8; SCRAPE_ENTRY_BYTES]]);

impl<'a> ScrapeEntries<'a> {
    /// The entries in the order of the response.
    pub fn iter(self) -> impl ExactSizeIterator<Item = ScrapeEntry> + Clone + use<'a> {
        self.0.iter().map(|entry| {
            let number = |range| u32::from_be_bytes(read(entry, range));
            ScrapeEntry {
                seeders: number(scrape_field::SEEDERS),
                completed: number(scrape_field::COMPLETED),
                leechers: number(scrape_field::LEECHERS),
            }
        })
    }
}

fn whole_chunks<const N: usize>(bytes: &[u8]) -> Option<&[[u8; N]]> {
    let (chunks, remainder) = bytes.as_chunks();
    remainder.is_empty().then_some(chunks)
}

/// Why a datagram is not a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not a length that the response's kind can have.
    #[error("{0} bytes do not make a response of this kind")]
    Length(usize),
    /// An action that BEP 15 does not define.
    #[error("unknown action {0}")]
    UnknownAction(u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::udp::golden;
    use crate::tracker::udp::response::{ScrapeWriter, write_connect, write_error};
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    const TRANSACTION: TransactionId = golden::TRANSACTION;

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

    fn write(content: &Content, transaction: TransactionId, out: &mut [u8]) -> usize {
        match content {
            Content::Connect(id) => write_connect(out, transaction, ConnectionId(*id)),
            Content::Announce([interval_s, leechers, seeders], peers) => {
                let (interval_s, leechers, seeders) = (*interval_s, *leechers, *seeders);
                let header = AnnounceHeader { transaction, interval_s, leechers, seeders };
                let start = header.write(out);
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
            Content::Error(message) => write_error(out, transaction, message),
        }
    }

    fn agrees(response: Response<'_>, content: &Content) -> bool {
        match (response, content) {
            (Response::Connect { connection_id, .. }, Content::Connect(id)) => {
                connection_id.0 == *id
            }
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
            let length = write(&content, TransactionId(transaction), &mut out);
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
}
