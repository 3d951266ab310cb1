//! What is stored of one peer: its endpoint and 16 bits of state, in as few bytes as they take.

use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::io::Now;

/// An address family: the tracker keeps IPv4 and IPv6 swarms apart (BEP 7).
pub trait PeerFamily: 'static {
    /// Address and port of a peer.
    type Endpoint: Copy + Eq + Debug;
    /// What is stored of a peer.
    type Record: Record<Endpoint = Self::Endpoint>;
}

/// IPv4: 8 bytes stored and 6 bytes on the wire for each peer.
#[derive(Clone, Copy, Debug)]
pub enum Ipv4 {}

impl PeerFamily for Ipv4 {
    type Endpoint = SocketAddrV4;
    type Record = Ipv4Record;
}

/// IPv6: 20 bytes stored and 18 bytes on the wire for each peer. Flow label and scope of an
/// endpoint are not part of it.
#[derive(Clone, Copy, Debug)]
pub enum Ipv6 {}

impl PeerFamily for Ipv6 {
    type Endpoint = SocketAddrV6;
    type Record = Ipv6Record;
}

/// One stored peer, or an empty slot: port 0 is never stored, so it stands for "empty".
pub trait Record: Copy + Eq + Debug + 'static {
    /// Address and port of a peer.
    type Endpoint: Copy;
    /// A slot without a peer.
    const EMPTY: Self;
    /// Bytes of a peer in compact form: address, then port, big-endian (BEP 15, 23 and 7).
    const COMPACT_BYTES: usize;

    /// The record of a peer.
    fn new(endpoint: Self::Endpoint, state: State) -> Self;
    /// Whether this is an empty slot.
    fn is_empty(&self) -> bool;
    /// Whether both have the same endpoint.
    fn is_peer(&self, other: &Self) -> bool;
    /// Whether both may be of the same host: equal IPv4 addresses, or IPv6 addresses of one /64.
    fn is_same_source(&self, other: &Self) -> bool;
    /// Address and port.
    fn endpoint(&self) -> SocketAddr;
    /// The state beside the endpoint.
    fn state(&self) -> State;
    /// Replaces the state.
    fn set_state(&mut self, state: State);
    /// A keyed hash of the endpoint, well mixed in its high bits.
    fn hash(&self, key: u64) -> u64;
    /// Writes the endpoint in compact form; `out` is [`Record::COMPACT_BYTES`] long.
    fn write_compact(&self, out: &mut [u8]);
    /// The record of a peer whose endpoint is in compact form, [`Record::COMPACT_BYTES`] long.
    fn from_compact(compact: &[u8], state: State) -> Self;
}

/// An IPv4 peer: from the high bits down, 32 of address, 16 of port, 16 of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Record(u64);

const _: () = assert!(size_of::<Ipv4Record>() == 8);

impl Record for Ipv4Record {
    type Endpoint = SocketAddrV4;
    const EMPTY: Self = Self(0);
    const COMPACT_BYTES: usize = 6;

    #[inline]
    fn new(endpoint: SocketAddrV4, state: State) -> Self {
        let address = u64::from(endpoint.ip().to_bits());
        Self(address << 32 | u64::from(endpoint.port()) << 16 | u64::from(state.0))
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.0 & 0xffff_0000 == 0
    }

    #[inline]
    fn is_peer(&self, other: &Self) -> bool {
        (self.0 ^ other.0) >> 16 == 0
    }

    #[inline]
    fn is_same_source(&self, other: &Self) -> bool {
        (self.0 ^ other.0) >> 32 == 0
    }

    #[inline]
    fn endpoint(&self) -> SocketAddr {
        let address = Ipv4Addr::from_bits((self.0 >> 32) as u32);
        SocketAddr::from((address, (self.0 >> 16) as u16))
    }

    #[inline]
    fn state(&self) -> State {
        State(self.0 as u16)
    }

    #[inline]
    fn set_state(&mut self, state: State) {
        self.0 = self.0 & !0xffff | u64::from(state.0);
    }

    #[inline]
    fn hash(&self, key: u64) -> u64 {
        mix(self.0 >> 16 ^ key, key)
    }

    #[inline]
    fn write_compact(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.to_be_bytes()[..Self::COMPACT_BYTES]);
    }

    #[inline]
    fn from_compact(compact: &[u8], state: State) -> Self {
        let mut bytes = [0; 8];
        bytes[..Self::COMPACT_BYTES].copy_from_slice(compact);
        Self(u64::from_be_bytes(bytes) | u64::from(state.0))
    }
}

/// An IPv6 peer, laid out so that it needs no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Record {
    address: [u8; 16],
    /// The port in the high half, the state in the low half.
    port_and_state: u32,
}

const _: () = assert!(size_of::<Ipv6Record>() == 20);

impl Record for Ipv6Record {
    type Endpoint = SocketAddrV6;
    const EMPTY: Self = Self { address: [0; 16], port_and_state: 0 };
    const COMPACT_BYTES: usize = 18;

    #[inline]
    fn new(endpoint: SocketAddrV6, state: State) -> Self {
        let port_and_state = u32::from(endpoint.port()) << 16 | u32::from(state.0);
        Self { address: endpoint.ip().octets(), port_and_state }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.port_and_state >> 16 == 0
    }

    #[inline]
    fn is_peer(&self, other: &Self) -> bool {
        (self.port_and_state ^ other.port_and_state) >> 16 == 0 && self.address == other.address
    }

    #[inline]
    fn is_same_source(&self, other: &Self) -> bool {
        self.address[..8] == other.address[..8]
    }

    #[inline]
    fn endpoint(&self) -> SocketAddr {
        let address = Ipv6Addr::from(self.address);
        SocketAddr::from((address, (self.port_and_state >> 16) as u16))
    }

    #[inline]
    fn state(&self) -> State {
        State(self.port_and_state as u16)
    }

    #[inline]
    fn set_state(&mut self, state: State) {
        self.port_and_state = self.port_and_state & !0xffff | u32::from(state.0);
    }

    #[inline]
    fn hash(&self, key: u64) -> u64 {
        let address = u128::from_be_bytes(self.address);
        let (network, host) = ((address >> 64) as u64, address as u64);
        let port = u64::from(self.port_and_state >> 16);
        mix(mix(network ^ key, key) ^ host, key) ^ mix(port ^ key, !key)
    }

    #[inline]
    fn write_compact(&self, out: &mut [u8]) {
        let (address, port) = out.split_at_mut(16);
        address.copy_from_slice(&self.address);
        port.copy_from_slice(&((self.port_and_state >> 16) as u16).to_be_bytes());
    }

    #[inline]
    fn from_compact(compact: &[u8], state: State) -> Self {
        let mut record = Self::EMPTY;
        let (address, port) = compact.split_at(16);
        record.address.copy_from_slice(address);
        let port = port.iter().fold(0, |port, byte| port << 8 | u32::from(*byte));
        record.port_and_state = port << 16 | u32::from(state.0);
        record
    }
}

/// Sixteen bits beside an endpoint: seeder or leecher, whether its completed download has been
/// counted, and the second of its last announce modulo 2^14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u16);

impl State {
    /// The state of a peer that announces `now`.
    #[inline]
    pub fn new(now: Now, seeder: bool, completed: bool) -> Self {
        let flags = if seeder { SEEDER } else { 0 } | if completed { COMPLETED } else { 0 };
        Self(flags | now.seconds() as u16 & SECONDS)
    }

    /// The state of a peer that announced `age_s` seconds before `now`.
    #[inline]
    pub fn aged(now: Now, age_s: u16, seeder: bool, completed: bool) -> Self {
        let announced = Self((now.seconds() as u16).wrapping_sub(age_s) & SECONDS);
        Self(Self::new(now, seeder, completed).0 & !SECONDS | announced.0)
    }

    /// Seconds since the last announce; 0 for one that seems to lie a moment ahead.
    #[inline]
    pub fn age_s(self, now: Now) -> u16 {
        self.age_before_s(Self::new(now, false, false))
    }

    /// Seconds between this announce and a `later` one; 0 if that seems to come a moment before.
    #[inline]
    pub(super) fn age_before_s(self, later: Self) -> u16 {
        let age_s = later.0.wrapping_sub(self.0) & SECONDS;
        if age_s > SECONDS - CLOCK_SKEW_S_MAX { 0 } else { age_s }
    }

    /// Whether the peer has everything.
    #[inline]
    pub fn seeder(self) -> bool {
        self.0 & SEEDER != 0
    }

    /// Whether this peer's `completed` has been counted.
    #[inline]
    pub fn completed(self) -> bool {
        self.0 & COMPLETED != 0
    }

    /// This state, with the completed mark if `earlier` has it.
    #[inline]
    pub(super) fn inheriting(self, earlier: Self) -> Self {
        Self(self.0 | earlier.0 & COMPLETED)
    }

    /// Whether the last announce is more than `timeout_s` ago.
    ///
    /// Whole seconds are compared, so a peer is kept up to a second longer and never less. A
    /// worker may be a moment behind the one that stored the peer: what seems to lie less than
    /// [`CLOCK_SKEW_S_MAX`] ahead is fresh, not as old as the range.
    #[inline]
    pub(super) fn expired(self, now: Now, timeout_s: u32) -> bool {
        u32::from(self.age_s(now)) > timeout_s
    }
}

/// Spreads endpoints evenly over all 64-bit numbers, whatever pattern they have. One product is
/// not enough: addresses or ports in a row would crowd for some keys.
#[inline]
fn mix(value: u64, key: u64) -> u64 {
    folded_multiply(folded_multiply(value, MIX_FIRST) ^ key.rotate_left(32), MIX_SECOND)
}

/// Multiplies to 128 bits and folds the halves.
#[inline]
fn folded_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Odd, with half of their bits set: the fractions of the golden ratio and of the root of 2.
const MIX_FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX_SECOND: u64 = 0x6a09_e667_f3bc_c909;
const SEEDER: u16 = 1 << 15;
const COMPLETED: u16 = 1 << 14;
/// The bits that hold seconds.
const SECONDS: u16 = COMPLETED - 1;
/// The longest that a peer may be kept after its last announce: the rest of the 14-bit range is
/// time for the sweep to come round.
pub const PEER_TIMEOUT_S_MAX: u32 = 3 * 3600;
/// How far the clocks of two workers may be apart; they read the same clock once per batch.
pub(super) const CLOCK_SKEW_S_MAX: u16 = 60;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now::from_unix(Duration::from_secs(seconds))
    }

    #[test]
    fn records_keep_endpoint_and_state() {
        let state = State::new(at(77), true, false);
        let record = Ipv4Record::new(SocketAddrV4::new(Ipv4Addr::new(1, 2, 3, 4), 0x0506), state);
        let mut wire = [0; 6];
        record.write_compact(&mut wire);
        assert_eq!(wire, [1, 2, 3, 4, 5, 6]);
        assert_eq!(record.endpoint().to_string(), "1.2.3.4:1286");
        assert_eq!(record.state(), state);
        assert!(!record.is_empty() && Ipv4Record::EMPTY.is_empty());

        let address = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|at| at as u8));
        let record = Ipv6Record::new(SocketAddrV6::new(address, 0x1011, 3, 4), state);
        let mut wire = [0; 18];
        record.write_compact(&mut wire);
        assert_eq!(wire, std::array::from_fn::<u8, 18, _>(|at| at as u8));
        assert_eq!(record.endpoint(), SocketAddr::from((address, 0x1011)));
        assert_eq!(record.state(), state);
        assert!(!record.is_empty() && Ipv6Record::EMPTY.is_empty());
    }

    #[test]
    fn a_record_is_its_endpoint_whatever_its_state() {
        let endpoint = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let other = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10);
        let mut record = Ipv4Record::new(endpoint, State::new(at(1), false, false));
        let later = State::new(at(2), true, true);
        assert!(record.is_peer(&Ipv4Record::new(endpoint, later)));
        assert!(!record.is_peer(&Ipv4Record::new(other, later)));
        record.set_state(later);
        assert_eq!(record, Ipv4Record::new(endpoint, later));
        assert!(record.state().seeder() && record.state().completed());
        assert!(State::new(at(3), false, false).inheriting(later).completed());
        assert!(!State::new(at(3), false, false).inheriting(later).seeder());
    }

    #[test]
    fn age_wraps_at_14_bits() {
        let wrap = 1 << 14;
        for announced in [0, 5, wrap - 3, wrap - 1, wrap, 3 * wrap - 1, 1_700_000_000] {
            let state = State::new(at(announced), true, true);
            for timeout_s in [1, 2700, 10_800] {
                let expired = |age: u32| state.expired(at(announced + u64::from(age)), timeout_s);
                assert!(!expired(0) && !expired(timeout_s));
                assert!(expired(timeout_s + 1) && expired(timeout_s + 2000));
                assert!(expired(wrap as u32 - 1 - u32::from(CLOCK_SKEW_S_MAX)));
            }
        }
    }

    #[test]
    fn a_worker_that_is_a_moment_behind_removes_nothing() {
        for announced in [59, 1 << 14, 1_700_000_000] {
            let state = State::new(at(announced), false, false);
            assert!(!state.expired(at(announced - 1), 1));
            assert!(!state.expired(at(announced - 59), 10_800));
        }
    }
}
