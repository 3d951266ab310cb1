//! Which connection IDs the tracker issued, and so which of them hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ringtide::wire::bep15::Family;

use super::coverage::{Coverage, Seen};
use super::model::Arrival;
use super::reading::u64_at;

/// Whether a connection ID holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Certainly,
    /// Older than its lifetime and less than twice as old: as the tracker likes.
    Perhaps,
    Never,
}

/// All connection IDs that were issued.
pub(crate) struct Issued {
    lifetime_ms: u64,
    /// To whom, and when for the last time.
    ids: BTreeMap<u64, (SocketAddr, u64)>,
}

impl Issued {
    pub(crate) fn new(lifetime_s: u32) -> Self {
        Self { lifetime_ms: u64::from(lifetime_s) * 1000, ids: BTreeMap::new() }
    }

    pub(crate) fn note(&mut self, now_ms: u64, to: SocketAddr, id: u64) {
        if let Some((earlier, _)) = self.ids.insert(id, (to, now_ms)) {
            assert_eq!(bound(earlier), bound(to), "one connection ID for two");
        }
    }

    /// Whether the datagram's connection ID holds. Where both would be right, the tracker's own
    /// decision is followed: `refused` is whether it refused it.
    pub(crate) fn holds(&self, arrival: &Arrival<'_>, refused: bool, seen: &mut Coverage) -> bool {
        match self.certainty(arrival, seen) {
            Holds::Certainly => true,
            Holds::Perhaps => {
                seen.note(if refused { Seen::OldIdRefused } else { Seen::OldIdAccepted });
                !refused
            }
            Holds::Never => false,
        }
    }

    fn certainty(&self, arrival: &Arrival<'_>, seen: &mut Coverage) -> Holds {
        let Some((to, issued_ms)) = self.ids.get(&u64_at(arrival.bytes, 0)) else {
            seen.note(Seen::ForgedId);
            return Holds::Never;
        };
        if bound(*to) != bound(arrival.from) {
            seen.note(Seen::IdOfAnother);
            return Holds::Never;
        }
        let age_ms = arrival.now_ms - issued_ms;
        if age_ms >= 2 * self.lifetime_ms {
            seen.note(Seen::ExpiredId);
            return Holds::Never;
        }
        let shared = to.ip().to_canonical() != arrival.from.ip().to_canonical();
        seen.note_if(shared, Seen::IdOfTheSame64);
        if age_ms <= self.lifetime_ms { Holds::Certainly } else { Holds::Perhaps }
    }
}

/// What a connection ID is bound to: an IPv4 address or an IPv6 /64.
pub(crate) fn bound(to: SocketAddr) -> (Family, u64) {
    match to.ip().to_canonical() {
        IpAddr::V4(address) => (Family::Ipv4, address.to_bits().into()),
        IpAddr::V6(address) => (Family::Ipv6, (address.to_bits() >> 64) as u64),
    }
}

pub(crate) fn family(from: SocketAddr) -> Family {
    match from.ip() {
        IpAddr::V6(address) if !is_mapped(address) => Family::Ipv6,
        _ => Family::Ipv4,
    }
}

/// Whether it is an IPv4 address in the form that IPv6 sockets show it in.
pub(crate) fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_bits() >> 32 == 0xffff
}
