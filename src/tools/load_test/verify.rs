//! Checks of answers, and the reasons for which one is wrong.

use std::net::{IpAddr, SocketAddr};

use crate::wire::bep15::response::ScrapeEntry;
use crate::wire::bep15::{ConnectionId, Family, Response, ResponseError};

/// Declares the reasons of one kind with the names that reports use.
macro_rules! reasons {
    ($(#[$meta:meta])* $enum:ident {
        $($(#[doc = $help:literal])+ $variant:ident = $name:literal;)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum { $($(#[doc = $help])+ $variant,)+ }

        impl $enum {
            /// Every reason, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// Why a request that was sent has failed.
    Failure {
        /// No answer in time.
        Timeout = "timeout";
        /// The tracker answered with an error message.
        ErrorResponse = "error_response";
        /// The answer's action is not the request's.
        WrongAction = "wrong_action";
        /// Not a length that the answer can have.
        WrongLength = "wrong_length";
        /// A peer whose address or port nobody can connect to.
        BadAddress = "bad_address";
        /// More peers than were wanted.
        TooManyPeers = "too_many_peers";
        /// Counts that cannot be, such as fewer peers in the swarm than in the answer.
        BadCounts = "bad_counts";
        /// Not as many entries in a scrape as hashes were asked for.
        WrongEntries = "wrong_entries";
    }
}

reasons! {
    /// Why a datagram that arrived answers no request.
    Stray {
        /// No request has its transaction ID.
        WrongTransaction = "wrong_transaction";
        /// Its request was answered before.
        Duplicate = "duplicate";
        /// Its request had been given up.
        Late = "late";
        /// It came from another address than the one that was asked.
        WrongSource = "wrong_source";
        /// Too short to hold a transaction ID.
        Unreadable = "unreadable";
    }
}

/// The answer that a request expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A connection ID.
    Connect,
    /// Counts and at most this many peers; `None` where the tracker chooses.
    Announce { peers_max: Option<usize> },
    /// This many entries.
    Scrape { entries: usize },
}

/// The content of a correct answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brings {
    Connection(ConnectionId),
    Peers(usize),
    Entries,
}

/// Checks an answer whose transaction ID has been found right.
pub(super) fn verify(
    payload: &[u8],
    family: Family,
    expected: Expected,
) -> Result<Brings, Failure> {
    let response = Response::parse(payload, family).map_err(|error| match error {
        ResponseError::Length(_) => Failure::WrongLength,
        ResponseError::UnknownAction(_) => Failure::WrongAction,
    })?;
    match (response, expected) {
        (Response::Error { .. }, _) => Err(Failure::ErrorResponse),
        (Response::Connect { connection_id, .. }, Expected::Connect) => {
            Ok(Brings::Connection(connection_id))
        }
        (Response::Announce { header, peers }, Expected::Announce { peers_max }) => {
            if peers_max.is_some_and(|max| peers.len() > max) {
                return Err(Failure::TooManyPeers);
            }
            // Peers of the answer are peers of the swarm; the one that asks is not among them.
            let swarm = u64::from(header.seeders) + u64::from(header.leechers);
            let counts = [header.seeders, header.leechers, header.interval_s];
            if swarm < peers.len() as u64 || counts.iter().any(|count| *count > COUNT_MAX) {
                return Err(Failure::BadCounts);
            }
            if !peers.iter().all(is_plausible) {
                return Err(Failure::BadAddress);
            }
            Ok(Brings::Peers(peers.len()))
        }
        (Response::Scrape { entries: found, .. }, Expected::Scrape { entries }) => {
            if found.iter().len() != entries {
                return Err(Failure::WrongEntries);
            }
            let is_count = |entry: ScrapeEntry| {
                entry.seeders.max(entry.leechers).max(entry.completed) <= COUNT_MAX
            };
            if found.iter().all(is_count) { Ok(Brings::Entries) } else { Err(Failure::BadCounts) }
        }
        _ => Err(Failure::WrongAction),
    }
}

/// Whether somebody could connect to this peer.
fn is_plausible(peer: SocketAddr) -> bool {
    let address = match peer.ip() {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    address && peer.port() != 0
}

/// BEP 15 has 32-bit integers without saying whether they are signed: what is negative to some
/// clients is a mistake.
const COUNT_MAX: u32 = i32::MAX as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bep15::golden;

    const ANNOUNCE: Expected = Expected::Announce { peers_max: Some(50) };

    fn announce(peers: &[u8]) -> Vec<u8> {
        [golden::announce_header(), peers.to_vec()].concat()
    }

    #[test]
    fn right_answers_pass() {
        let family = Family::Ipv4;
        let connect = verify(&golden::connect_response(), family, Expected::Connect);
        assert_eq!(connect, Ok(Brings::Connection(golden::CONNECTION)));
        let peers = announce(&golden::peers_ipv4());
        assert_eq!(verify(&peers, family, ANNOUNCE), Ok(Brings::Peers(2)));
        let any = Expected::Announce { peers_max: None };
        let peers = announce(&golden::peers_ipv6());
        assert_eq!(verify(&peers, Family::Ipv6, any), Ok(Brings::Peers(1)));
        let two = Expected::Scrape { entries: 2 };
        assert_eq!(verify(&golden::scrape_response(), family, two), Ok(Brings::Entries));
    }

    #[test]
    fn each_mistake_has_its_reason() {
        let peer =
            |address: [u8; 4], port: u16| announce(&[&address[..], &port.to_be_bytes()].concat());
        let changed = |mut bytes: Vec<u8>, at: usize, value: u8| {
            bytes[at] = value;
            bytes
        };
        let cut = |mut bytes: Vec<u8>| {
            bytes.pop();
            bytes
        };
        let six = announce(&golden::peers_ipv4().repeat(3));
        let one = Expected::Announce { peers_max: Some(1) };
        let three = Expected::Scrape { entries: 3 };
        let two = Expected::Scrape { entries: 2 };
        for (bytes, expected, reason) in [
            (golden::error_response(), ANNOUNCE, Failure::ErrorResponse),
            (golden::connect_response(), ANNOUNCE, Failure::WrongAction),
            (golden::scrape_response(), Expected::Connect, Failure::WrongAction),
            (changed(golden::connect_response(), 3, 9), Expected::Connect, Failure::WrongAction),
            (cut(golden::connect_response()), Expected::Connect, Failure::WrongLength),
            (cut(announce(&golden::peers_ipv4())), ANNOUNCE, Failure::WrongLength),
            (announce(&golden::peers_ipv4()), one, Failure::TooManyPeers),
            (six, ANNOUNCE, Failure::BadCounts),
            (changed(announce(&[]), 16, 0x80), ANNOUNCE, Failure::BadCounts),
            (changed(golden::scrape_response(), 8, 0x80), two, Failure::BadCounts),
            (golden::scrape_response(), three, Failure::WrongEntries),
            (peer([192, 0, 2, 1], 0), ANNOUNCE, Failure::BadAddress),
            (peer([0; 4], 6881), ANNOUNCE, Failure::BadAddress),
            (peer([239, 1, 1, 1], 6881), ANNOUNCE, Failure::BadAddress),
            (peer([255; 4], 6881), ANNOUNCE, Failure::BadAddress),
        ] {
            assert_eq!(verify(&bytes, Family::Ipv4, expected), Err(reason), "{bytes:?}");
        }
    }
}
