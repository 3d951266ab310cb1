//! The UDP tracker protocol (BEP 15): its messages, parsed and emitted in both directions.
//!
//! A server parses [`Request`]s and emits the messages in [`response`]; a client emits those in
//! [`request`] and parses [`Response`]s. Parsing borrows from the datagram, and emitting writes
//! into the caller's buffer: nothing here allocates.
//!
//! Every integer is big-endian. The ranges below are the only place where the offsets stand, for
//! both directions and for the kernel's steering program; the golden messages in the tests are
//! written out by hand and do not use them.

#[cfg(test)]
pub(crate) mod golden;
pub mod request;
pub mod response;

use std::fmt;
use std::net::IpAddr;

pub use request::{Request, RequestError};
pub use response::{Response, ResponseError};

/// What a client puts into a request to recognise the answer: echoed, never interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TransactionId(pub [u8; 4]);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The number that a client gets from a connect response and sends with all its other requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The kind of address a client has, which decides the layout and the number of peers it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// BEP 15's original layout.
    Ipv4,
    /// The layout of BEP 15 for packets over IPv6.
    Ipv6,
}

impl Family {
    /// The family of a source address; an IPv4-mapped IPv6 address is IPv4, as its packets are.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The size of one peer in an announce response.
    pub const fn peer_bytes(self) -> usize {
        match self {
            Self::Ipv4 => PEER_IPV4_BYTES,
            Self::Ipv6 => PEER_IPV6_BYTES,
        }
    }

    /// The largest response that leaves Ethernet unfragmented, in bytes of UDP payload.
    pub const fn reply_bytes_max(self) -> usize {
        match self {
            Self::Ipv4 => REPLY_BYTES_MAX_IPV4,
            Self::Ipv6 => REPLY_BYTES_MAX_IPV6,
        }
    }
}

/// How many peers an announce response can hold and stay in one unfragmented datagram: 242 over
/// IPv4, 79 over IPv6.
pub const fn peers_max(family: Family) -> usize {
    (family.reply_bytes_max() - ANNOUNCE_HEADER_BYTES) / family.peer_bytes()
}

/// The fixed number that opens a connect request and marks it as this protocol.
pub const MAGIC: u64 = 0x0417_2710_1980;

/// The values of the action field.
pub mod action {
    /// Asks for, or carries, a connection ID.
    pub const CONNECT: u32 = 0;
    /// Adds, refreshes or removes a peer, and lists others.
    pub const ANNOUNCE: u32 = 1;
    /// Asks for a torrent's counts, or carries them.
    pub const SCRAPE: u32 = 2;
    /// Carries an error message; only ever a response.
    pub const ERROR: u32 = 3;
}

/// Fields of requests: byte ranges from the start of the datagram.
pub mod request_field {
    use std::ops::Range;

    /// u64: [`super::MAGIC`]; connect requests only.
    pub const MAGIC: Range<usize> = 0..8;
    /// u64: the connection ID; announce and scrape.
    pub const CONNECTION_ID: Range<usize> = 0..8;
    /// u32: one of [`super::action`].
    pub const ACTION: Range<usize> = 8..12;
    /// 4 opaque bytes.
    pub const TRANSACTION: Range<usize> = 12..16;
    /// 20 bytes: the info hash of an announce, and the first one of a scrape.
    pub const INFO_HASH: Range<usize> = 16..36;
    /// 20 bytes.
    pub const PEER_ID: Range<usize> = 36..56;
    /// u64, bytes.
    pub const DOWNLOADED: Range<usize> = 56..64;
    /// u64, bytes.
    pub const LEFT: Range<usize> = 64..72;
    /// u64, bytes.
    pub const UPLOADED: Range<usize> = 72..80;
    /// u32: the event's code.
    pub const EVENT: Range<usize> = 80..84;
    /// IPv4 address the client claims; ignored by this tracker.
    pub const IP: Range<usize> = 84..88;
    /// u32: the client's own random number.
    pub const KEY: Range<usize> = 88..92;
    /// i32: peers wanted; negative leaves the number to the tracker.
    pub const NUMWANT: Range<usize> = 92..96;
    /// u16: the port the client listens on.
    pub const PORT: Range<usize> = 96..98;
}

/// Fields of responses: byte ranges from the start of the datagram.
pub mod response_field {
    use std::ops::Range;

    /// u32: one of [`super::action`].
    pub const ACTION: Range<usize> = 0..4;
    /// 4 opaque bytes, as in the request.
    pub const TRANSACTION: Range<usize> = 4..8;
    /// u64; connect responses.
    pub const CONNECTION_ID: Range<usize> = 8..16;
    /// u32, seconds; announce responses, like the two that follow.
    pub const INTERVAL: Range<usize> = 8..12;
    /// u32.
    pub const LEECHERS: Range<usize> = 12..16;
    /// u32.
    pub const SEEDERS: Range<usize> = 16..20;
}

/// Fields of one entry of a scrape response: byte ranges from the start of the entry.
pub mod scrape_field {
    use std::ops::Range;

    /// u32.
    pub const SEEDERS: Range<usize> = 0..4;
    /// u32.
    pub const COMPLETED: Range<usize> = 4..8;
    /// u32.
    pub const LEECHERS: Range<usize> = 8..12;
}

/// A connect request, and the connection ID, action and transaction ID that open the others.
pub const REQUEST_HEADER_BYTES: usize = 16;
/// An announce request before its BEP 41 options.
pub const ANNOUNCE_REQUEST_BYTES: usize = 98;
/// The action and transaction ID that open every response.
pub const RESPONSE_HEADER_BYTES: usize = 8;
/// A connect response, exactly: Transmission and aria2 refuse any other length.
pub const CONNECT_RESPONSE_BYTES: usize = 16;
/// An announce response before its peers.
pub const ANNOUNCE_HEADER_BYTES: usize = 20;
/// One entry of a scrape response: seeders, completed, leechers.
pub const SCRAPE_ENTRY_BYTES: usize = 12;
/// One IPv4 peer: 4 bytes of address, 2 of port.
pub const PEER_IPV4_BYTES: usize = 6;
/// One IPv6 peer: 16 bytes of address, 2 of port.
pub const PEER_IPV6_BYTES: usize = 18;
/// The UDP payload of an unfragmented IPv4 datagram on Ethernet: 1,500 bytes less 20 of IP and 8
/// of UDP header.
pub const REPLY_BYTES_MAX_IPV4: usize = 1472;
/// The UDP payload of an unfragmented IPv6 datagram on Ethernet: 1,500 bytes less 40 of IP and 8
/// of UDP header.
pub const REPLY_BYTES_MAX_IPV6: usize = 1452;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_stay_within_one_datagram() {
        assert_eq!(Family::Ipv4.reply_bytes_max(), 1472);
        assert_eq!(Family::Ipv6.reply_bytes_max(), 1452);
        assert_eq!(peers_max(Family::Ipv4), 242);
        assert_eq!(peers_max(Family::Ipv6), 79);
        for family in [Family::Ipv4, Family::Ipv6] {
            let length = |peers| ANNOUNCE_HEADER_BYTES + peers * family.peer_bytes();
            assert!(length(peers_max(family)) <= family.reply_bytes_max());
            assert!(length(peers_max(family) + 1) > family.reply_bytes_max());
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let family = |text: &str| Family::of(text.parse().unwrap());
        assert_eq!(family("192.0.2.1"), Family::Ipv4);
        assert_eq!(family("::ffff:192.0.2.1"), Family::Ipv4);
        assert_eq!(family("::1"), Family::Ipv6);
    }
}
