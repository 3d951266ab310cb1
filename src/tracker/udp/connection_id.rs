//! Connection IDs (BEP 15): proof that a client receives at the address it sends from, without
//! anything stored per client.
//!
//! An ID is a pure function of key, source address and time slot, so that any worker, another
//! process with the same key, or an XDP program computes the same one:
//!
//! ```text
//! id = SipHash-2-4(key, message), 64 bits, sent big-endian
//!
//! message, 15 bytes
//!   0:8  IPv6: the first 8 bytes of the address, its /64
//!        IPv4: the 4 bytes of the address, then 4 zero bytes
//!   8:1  family: 4 or 6; an IPv4-mapped IPv6 address is IPv4
//!   9:6  time slot, little-endian: seconds since the Unix epoch / lifetime in seconds
//! ```
//!
//! To SipHash these are two 64-bit little-endian words, the address and
//! `family | slot << 8 | 15 << 56`: the shortest message that holds all three.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::io::Now;
use crate::tracker::core::source::Source;
use crate::wire::bep15::ConnectionId;

/// Issues connection IDs and recognises its own.
#[derive(Clone)]
pub struct ConnectionIds {
    hasher: SipHasher24,
    lifetime_s: u64,
}

impl ConnectionIds {
    /// IDs under `key` that hold for at least `lifetime_s` seconds and less than twice that. A
    /// lifetime of 0 counts as 1.
    pub fn new(key: [u8; 16], lifetime_s: u32) -> Self {
        Self { hasher: SipHasher24::new_with_key(&key), lifetime_s: u64::from(lifetime_s.max(1)) }
    }

    /// The ID for a client at `source`.
    #[inline]
    pub fn issue(&self, now: Now, source: IpAddr) -> ConnectionId {
        let message = message(source, self.slot(now));
        ConnectionId(self.hasher.hash(&message))
    }

    /// Whether `id` was issued to `source` in this time slot or the one before.
    ///
    /// Both are always computed and compared without a branch, so that the time taken tells
    /// nothing about how close a guess came.
    #[inline]
    pub fn accepts(&self, now: Now, source: IpAddr, id: ConnectionId) -> bool {
        let slot = self.slot(now);
        let current = self.hasher.hash(&message(source, slot));
        // In slot 0, which only a clock that was never set knows, both are the same.
        let previous = self.hasher.hash(&message(source, slot.saturating_sub(1)));
        let matches = is_zero(current ^ id.0) | is_zero(previous ^ id.0);
        black_box(matches) == 1
    }

    fn slot(&self, now: Now) -> u64 {
        now.seconds() / self.lifetime_s
    }
}

impl fmt::Debug for ConnectionIds {
    /// Leaves the key out: it must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIds")
            .field("lifetime_s", &self.lifetime_s)
            .finish_non_exhaustive()
    }
}

/// What is hashed for one address and time slot; the layout stands in the module's documentation.
#[inline]
fn message(source: IpAddr, slot: u64) -> [u8; MESSAGE_BYTES] {
    let [a, b, c, d, e, f, g, h, family] = Source::of(source).bytes();
    // 48 bits of slots of one second last for nine million years.
    let [s0, s1, s2, s3, s4, s5, ..] = slot.to_le_bytes();
    [a, b, c, d, e, f, g, h, family, s0, s1, s2, s3, s4, s5]
}

/// 1 for zero, 0 for anything else, without a branch.
#[inline]
fn is_zero(value: u64) -> u64 {
    ((value | value.wrapping_neg()) >> 63) ^ 1
}

const MESSAGE_BYTES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn at(seconds: u64) -> Now {
        Now::from_unix(Duration::from_secs(seconds))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_hash_is_siphash_2_4() {
        // The example in appendix A of the SipHash paper: bytes 0 to 14 under the key 0 to 15.
        let message: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        let ids = ConnectionIds::new(KEY, 120);
        assert_eq!(ids.hasher.hash(&message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn golden_messages() {
        let slot = 0x0102_0304_0506;
        let ipv4 = [192, 0, 2, 1, 0, 0, 0, 0, 4, 6, 5, 4, 3, 2, 1];
        assert_eq!(message(ip("192.0.2.1"), slot), ipv4);
        assert_eq!(message(ip("::ffff:192.0.2.1"), slot), ipv4);
        let ipv6 = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 6, 6, 5, 4, 3, 2, 1];
        assert_eq!(message(ip("2001:db8:1:2::7"), slot), ipv6);
    }

    #[test]
    fn golden_ids() {
        // Computed with a separate implementation of SipHash in Python.
        let ids = ConnectionIds::new(KEY, 120);
        let now = at(1_700_000_000);
        assert_eq!(ids.issue(now, ip("192.0.2.1")), ConnectionId(0xf0e2_fdf0_49cd_a2ed));
        assert_eq!(ids.issue(now, ip("2001:db8:1:2::7")), ConnectionId(0x4d1e_e242_5ac2_ddb9));
    }

    #[test]
    fn the_first_slot_has_no_predecessor() {
        let ids = ConnectionIds::new(KEY, 120);
        let id = ids.issue(at(0), ip("192.0.2.1"));
        assert!(ids.accepts(at(0), ip("192.0.2.1"), id));
        assert!(ids.accepts(at(239), ip("192.0.2.1"), id));
        assert!(!ids.accepts(at(240), ip("192.0.2.1"), id));
        assert!(!ids.accepts(at(0), ip("192.0.2.2"), id));
    }

    #[test]
    fn extreme_times_and_lifetimes() {
        for lifetime_s in [0, 1, u32::MAX] {
            for seconds in [0, 1, u64::MAX - 1, u64::MAX] {
                let ids = ConnectionIds::new(KEY, lifetime_s);
                let id = ids.issue(at(seconds), ip("::1"));
                assert!(ids.accepts(at(seconds), ip("::1"), id));
            }
        }
    }

    #[test]
    fn the_key_stays_out_of_logs() {
        let ids = ConnectionIds::new([0xa5; 16], 120);
        assert_eq!(format!("{ids:?}"), "ConnectionIds { lifetime_s: 120, .. }");
    }

    #[test]
    fn every_offset_in_the_slot() {
        let ids = ConnectionIds::new(KEY, 120);
        let source = ip("192.0.2.1");
        for issued in 14_000_000 * 120..14_000_001 * 120 {
            let id = ids.issue(at(issued), source);
            let last = (0..=240).rev().find(|age| ids.accepts(at(issued + age), source, id));
            assert!((120..240).contains(&last.unwrap()), "issued at {issued}");
            assert!((0..=120).all(|age| ids.accepts(at(issued + age), source, id)));
        }
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
            any::<[u8; 16]>().prop_map(|octets| IpAddr::from(Ipv6Addr::from(octets))),
            any::<[u8; 4]>()
                .prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets).to_ipv6_mapped())),
        ]
    }

    proptest! {
        #[test]
        fn lifetimes_hold(
            key: [u8; 16],
            lifetime in 1..100_000_u32,
            issued in 0..4_000_000_000_u64,
            age in 0.0..=1.0,
            source in addresses(),
        ) {
            let ids = ConnectionIds::new(key, lifetime);
            let id = ids.issue(at(issued), source);
            let lifetime = u64::from(lifetime);
            let age = (age * lifetime as f64) as u64;
            prop_assert!(ids.accepts(at(issued + age), source, id));
            prop_assert!(!ids.accepts(at(issued + 2 * lifetime + age), source, id));
        }

        #[test]
        fn bound_to_the_ipv4_address(key: [u8; 16], a: [u8; 4], b: [u8; 4]) {
            prop_assume!(a != b);
            let (a, b) = (Ipv4Addr::from(a), Ipv4Addr::from(b));
            let ids = ConnectionIds::new(key, 120);
            let id = ids.issue(at(1_700_000_000), a.into());
            let accepts = |source: IpAddr| ids.accepts(at(1_700_000_000), source, id);
            prop_assert!(accepts(a.to_ipv6_mapped().into()));
            prop_assert!(!accepts(b.into()));
            prop_assert!(!accepts(b.to_ipv6_mapped().into()));
            // The IPv6 address that begins with the same bytes.
            let [p, q, r, s] = a.octets();
            let prefix = [p, q, r, s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            prop_assert!(!accepts(Ipv6Addr::from(prefix).into()));
        }

        #[test]
        fn bound_to_the_ipv6_prefix(key: [u8; 16], a: u128, host: u64, bit in 64..128_u32) {
            // 2000::/3, where no mapped addresses are.
            let a = a >> 3 | 1 << 125;
            let ids = ConnectionIds::new(key, 120);
            let id = ids.issue(at(1_700_000_000), Ipv6Addr::from(a).into());
            let accepts =
                |a: u128| ids.accepts(at(1_700_000_000), Ipv6Addr::from(a).into(), id);
            let same_prefix = (a & !u128::from(u64::MAX)) | u128::from(host);
            prop_assert!(accepts(same_prefix));
            prop_assert!(!accepts(a ^ 1 << bit), "bit {} of the prefix", bit);
        }

        #[test]
        fn only_the_exact_id_under_the_same_key(
            key: [u8; 16],
            other: [u8; 16],
            issued in 0..4_000_000_000_u64,
            source in addresses(),
        ) {
            prop_assume!(key != other);
            let ids = ConnectionIds::new(key, 120);
            let id = ids.issue(at(issued), source);
            prop_assert!(!ConnectionIds::new(other, 120).accepts(at(issued), source, id));
            for bit in 0..64 {
                let flipped = ConnectionId(id.0 ^ 1 << bit);
                prop_assert!(!ids.accepts(at(issued), source, flipped), "bit {}", bit);
            }
        }
    }
}
