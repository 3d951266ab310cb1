//! Connection IDs against what is promised of them.
//!
//! Input: key of 16 bytes, lifetime of 2, time of issue of 4, age of 4, two addresses of 16, and a
//! guess of 8.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ringtide::io::Now;
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::wire::bep15::ConnectionId;

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let key = input.array();
    let lifetime_s = input.word().into();
    let issued_s: u64 = u32::from_be_bytes(input.array()).into();
    let age_s: u64 = u32::from_be_bytes(input.array()).into();
    let [source, other] = [input.array(), input.array()].map(address);
    let guess = ConnectionId(u64::from_be_bytes(input.array()));

    let ids = ConnectionIds::new(key, lifetime_s);
    let lifetime_s = u64::from(lifetime_s).max(1);
    let id = ids.issue(at(issued_s), source);
    assert_eq!(id, ids.issue(at(issued_s), source.to_canonical()), "a function of the address");
    let now = at(issued_s + age_s);
    let accepted = ids.accepts(now, source, id);
    if age_s < lifetime_s {
        assert!(accepted, "it holds for its lifetime");
    }
    if age_s >= 2 * lifetime_s {
        assert!(!accepted, "it ends with twice its lifetime");
    }
    let issued_lately =
        [0, lifetime_s].map(|ago| ids.issue(at((issued_s + age_s).saturating_sub(ago)), source));
    assert_eq!(ids.accepts(now, source, guess), issued_lately.contains(&guess), "no other is");
    for bit in 0..64 {
        let flipped = ConnectionId(id.0 ^ 1 << bit);
        assert!(!ids.accepts(at(issued_s), source, flipped), "bit {bit} does not matter");
    }
    if !same_place(source, other) {
        assert!(!ids.accepts(at(issued_s), other, id), "it is bound to its address");
    }
}

fn at(seconds: u64) -> Now {
    Now::from_unix(Duration::from_secs(seconds))
}

/// As a socket for both families tells them; the first half zero is taken for IPv4.
fn address(bytes: [u8; 16]) -> IpAddr {
    match bytes {
        [0, 0, 0, 0, 0, 0, 0, 0, rest @ ..] => {
            let [_, _, _, _, a, b, c, d] = rest;
            IpAddr::from([a, b, c, d])
        }
        _ => Ipv6Addr::from(bytes).into(),
    }
}

/// Whether both are one IPv4 address or in one IPv6 /64.
fn same_place(one: IpAddr, other: IpAddr) -> bool {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        (one, other) => one == other,
    }
}
