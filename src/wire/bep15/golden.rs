//! Messages written out by hand from the tables in BEP 15 (and 41), for the tests of readers and
//! writers alike.

use super::{ConnectionId, TransactionId};
use crate::values::info_hash::InfoHash;

pub(crate) const TRANSACTION: TransactionId = TransactionId([0xca, 0xfe, 0xba, 0xbe]);
pub(crate) const CONNECTION: ConnectionId = ConnectionId(0x0123_4567_89ab_cdef);
pub(crate) const HASH_A: InfoHash = InfoHash(*b"aaaaaaaaaaaaaaaaaaaA");
pub(crate) const HASH_B: InfoHash = InfoHash(*b"bbbbbbbbbbbbbbbbbbbB");
pub(crate) const PEER_ID: [u8; 20] = *b"-LT20A0-123456789012";

/// The bytes that a text of hex digits stands for; everything else in it is layout.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of hex digits in {text:?}");
    let byte =
        |pair: &[char]| (pair[0].to_digit(16).unwrap() << 4 | pair[1].to_digit(16).unwrap()) as u8;
    digits.chunks(2).map(byte).collect()
}

pub(crate) fn connect_request() -> Vec<u8> {
    hex("00 00 04 17 27 10 19 80 | 00 00 00 00 | ca fe ba be")
}

pub(crate) fn connect_response() -> Vec<u8> {
    hex("00 00 00 00 | ca fe ba be | 01 23 45 67 89 ab cd ef")
}

/// The first 98 bytes of what libtorrent sends, which appends BEP 41 options: event 2 (started),
/// 1,000 downloaded, 65,536 left, 255 uploaded, no address, numwant 200, port 6881.
pub(crate) fn announce_request() -> Vec<u8> {
    hex("01 23 45 67 89 ab cd ef | 00 00 00 01 | ca fe ba be
         61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 41
         2d 4c 54 32 30 41 30 2d 31 32 33 34 35 36 37 38 39 30 31 32
         00 00 00 00 00 00 03 e8 | 00 00 00 00 00 01 00 00 | 00 00 00 00 00 00 00 ff
         00 00 00 02 | 00 00 00 00 | de ad be ef | 00 00 00 c8 | 1a e1")
}

/// BEP 41: option 2 (URL data), 9 bytes, `/announce`; option 0 ends the list.
pub(crate) fn url_data() -> Vec<u8> {
    hex("02 09 2f 61 6e 6e 6f 75 6e 63 65 00")
}

/// 1,801 s, 3 leechers, 2 seeders; no peers.
pub(crate) fn announce_header() -> Vec<u8> {
    hex("00 00 00 01 | ca fe ba be | 00 00 07 09 | 00 00 00 03 | 00 00 00 02")
}

/// 192.0.2.1:6881 and 198.51.100.7:80.
pub(crate) fn peers_ipv4() -> Vec<u8> {
    hex("c0 00 02 01 1a e1 | c6 33 64 07 00 50")
}

/// [2001:db8::1]:6881.
pub(crate) fn peers_ipv6() -> Vec<u8> {
    hex("20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 1a e1")
}

/// Asks for [`HASH_A`] and [`HASH_B`].
pub(crate) fn scrape_request() -> Vec<u8> {
    hex("01 23 45 67 89 ab cd ef | 00 00 00 02 | ca fe ba be
         61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 41
         62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 62 42")
}

/// 5 seeders, 260 completed, 7 leechers; then zeros.
pub(crate) fn scrape_response() -> Vec<u8> {
    hex("00 00 00 02 | ca fe ba be
         00 00 00 05 | 00 00 01 04 | 00 00 00 07
         00 00 00 00 | 00 00 00 00 | 00 00 00 00")
}

/// The message is `denied`.
pub(crate) fn error_response() -> Vec<u8> {
    hex("00 00 00 03 | ca fe ba be | 64 65 6e 69 65 64")
}
