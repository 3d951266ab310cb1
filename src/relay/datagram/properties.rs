//! Frames of every shape, taken apart a second time by the plainest parser that can be written.

use std::collections::HashSet;

use RelayDrop::{Corrupt, Fragment, Malformed, NotUdp, Tagged};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::tests::parse_with;
use super::*;
use crate::io::PacketAuxData;

/// In front of every frame that is built here.
const VIRTIO_BYTES: usize = 10;

/// A frame to build: a right one unless something in it says otherwise.
#[derive(Clone, Debug)]
struct Recipe {
    ipv6: bool,
    ethertype: Option<u16>,
    flags: u8,
    gso: u8,
    size: u16,
    /// IPv4: options in units of four bytes. IPv6: one extension header for each.
    extensions: Vec<u8>,
    protocol: u8,
    fragment: Option<u16>,
    payload: Vec<u8>,
    padding: usize,
    checksum: Check,
    ip_length: Length,
    udp_length: Length,
    /// Bytes to change afterwards, and a length to cut to.
    flips: Vec<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    Right,
    Zero,
    Partial,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Right,
    Zero,
    First,
    Off(i8),
}

impl Length {
    fn apply(self, right: usize, first: usize) -> u16 {
        match self {
            Self::Right => right as u16,
            Self::Zero => 0,
            Self::First => first as u16,
            Self::Off(by) => (right as i64 + i64::from(by)) as u16,
        }
    }
}

fn word_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Recipe {
    fn build(&self) -> Vec<u8> {
        let addresses: Vec<u8> = if self.ipv6 { (1..33).collect() } else { (1..9).collect() };
        let first = 8 + usize::from(self.size);
        let mut udp = vec![0x13, 0x88, 0x13, 0x89];
        udp.extend(self.udp_length.apply(8 + self.payload.len(), first).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let length = udp.len() as u16;
        let pseudo = [&addresses[..], &[0, 17], &length.to_be_bytes()].concat();
        let checksum = match self.checksum {
            Check::Right => match !word_sum(&[&pseudo[..], &udp].concat()) {
                0 => 0xffff,
                checksum => checksum,
            },
            Check::Zero => 0,
            Check::Partial => word_sum(&pseudo),
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());

        let ip = if self.ipv6 { self.ipv6(&addresses) } else { self.ipv4(&addresses, udp.len()) };
        let start = 14 + ip.len() as u16;
        let mut frame = vec![self.flags, self.gso, 0, 0];
        frame.extend([self.size, start, 6].iter().flat_map(|value| value.to_ne_bytes()));
        frame.extend([0xee; 12]);
        let usual = if self.ipv6 { 0x86dd } else { 0x0800 };
        frame.extend(self.ethertype.unwrap_or(usual).to_be_bytes());
        frame.extend(ip);
        frame.extend(udp);
        frame.extend(vec![0xdd; self.padding]);
        for (index, value) in &self.flips {
            let at = index.index(frame.len());
            frame[at] ^= value;
        }
        if let Some(cut) = self.cut {
            frame.truncate(cut.index(frame.len()));
        }
        frame
    }

    fn ipv4(&self, addresses: &[u8], udp_bytes: usize) -> Vec<u8> {
        let header_bytes = 20 + self.extensions.len().min(10) * 4;
        let first = header_bytes + 8 + usize::from(self.size);
        let mut ip = vec![0x40 | (header_bytes / 4) as u8, 0x2e];
        ip.extend(self.ip_length.apply(header_bytes + udp_bytes, first).to_be_bytes());
        ip.extend([0x12, 0x34]);
        ip.extend(self.fragment.unwrap_or(0x4000).to_be_bytes());
        ip.extend([9, self.protocol, 0, 0]);
        ip.extend(addresses);
        ip.resize(header_bytes, 1);
        let checksum = !word_sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        ip
    }

    fn ipv6(&self, addresses: &[u8]) -> Vec<u8> {
        let mut chain = Vec::new();
        let mut kinds = self.extensions.clone();
        kinds.extend(self.fragment.map(|_| 44));
        kinds.push(self.protocol);
        for pair in kinds.windows(2) {
            match pair[0] {
                44 => {
                    chain.extend([pair[1], 0]);
                    chain.extend(self.fragment.unwrap_or(0).to_be_bytes());
                    chain.extend([1, 2, 3, 4]);
                }
                43 => {
                    chain.extend([pair[1], 1]);
                    chain.extend([0; 14]);
                }
                _ => chain.extend([pair[1], 0, 1, 4, 0, 0, 0, 0]),
            }
        }
        let right = chain.len() + 8 + self.payload.len();
        let first = chain.len() + 8 + usize::from(self.size);
        let mut ip = vec![0x62, 0xe0, 0, 0];
        ip.extend(self.ip_length.apply(right, first).to_be_bytes());
        ip.extend([kinds[0], 9]);
        ip.extend(addresses);
        ip.extend(chain);
        ip
    }
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let length = || {
        prop_oneof![
            12 => Just(Length::Right),
            1 => Just(Length::Zero),
            1 => Just(Length::First),
            1 => any::<i8>().prop_map(Length::Off),
        ]
    };
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let link = (
        any::<bool>(),
        prop_oneof![9 => Just(None), 1 => prop::sample::select(vec![0x8100, 0x88a8, 0x0806])
            .prop_map(Some)],
        prop::sample::select(vec![0_u8, 0, 1, 2, 3]),
        prop::sample::select(vec![0_u8, 0, 5, 5, 0x85, 3, 1, 4, 0x81, 77]),
        prop_oneof![4 => 1_u16..50, 1 => Just(0)],
    );
    let network = (
        prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::collection::vec(prop::sample::select(vec![0_u8, 43, 44, 60]), 1..11),
        ],
        prop_oneof![9 => Just(17_u8), 1 => prop::sample::select(vec![6, 58, 59, 1])],
        prop_oneof![6 => Just(None), 1 => prop::sample::select(vec![0_u16, 0x2000, 1, 8, 0x4000])
            .prop_map(Some)],
        length(),
        length(),
    );
    let rest = (
        prop::collection::vec(any::<u8>(), 0..120),
        prop_oneof![2 => Just(0_usize), 1 => 0_usize..30],
        prop_oneof![8 => Just(Check::Right), 1 => Just(Check::Zero), 1 => Just(Check::Partial)],
        prop_oneof![6 => Just(Vec::new()), 1 => flips],
        prop_oneof![9 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
    );
    (link, network, rest).prop_map(|(link, network, rest)| {
        let (ipv6, ethertype, flags, gso, size) = link;
        let (extensions, protocol, fragment, ip_length, udp_length) = network;
        let (payload, padding, checksum, flips, cut) = rest;
        Recipe {
            ipv6,
            ethertype,
            flags,
            gso,
            size,
            extensions,
            protocol,
            fragment,
            payload,
            padding,
            checksum,
            ip_length,
            udp_length,
            flips,
            cut,
        }
    })
}

fn auxiliaries() -> impl Strategy<Value = Option<PacketAuxData>> {
    let rarely = || prop_oneof![7 => Just(false), 1 => Just(true)];
    prop::option::of((rarely(), rarely(), rarely()).prop_map(|(vlan, pending, valid)| {
        PacketAuxData { vlan, checksum_pending: pending, checksum_valid: valid, received_ns: 0 }
    }))
}

/// The parser again, written from the documents alone: it looks at one byte at a time.
fn naive(frame: &[u8], auxiliary: Option<PacketAuxData>) -> Result<Datagram, RelayDrop> {
    byte(frame, 23)?;
    let auxiliary = auxiliary.unwrap_or_default();
    let ethertype = word(frame, 22)?;
    if auxiliary.vlan || [0x8100, 0x88a8].contains(&ethertype) {
        return Err(Tagged);
    }
    let kind = byte(frame, 1)? % 128;
    let size = native(frame, 4)?;
    if ![0x0800, 0x86dd].contains(&ethertype) || ![0, 3, 5].contains(&kind) {
        return Err(NotUdp);
    }
    if kind == 5 && size == 0 {
        return Err(Malformed);
    }
    let pending = byte(frame, 0)? % 2 == 1;
    let vouched = byte(frame, 0)? % 4 > 0 || auxiliary.checksum_pending || auxiliary.checksum_valid;
    let ip = naive_ip(frame, ethertype == 0x86dd, kind, pending)?;
    let udp_end = naive_udp(frame, &ip, kind, size, pending, vouched)?;
    let NaiveIp { at, ttl, tos, addresses, .. } = ip;
    let half = addresses.len() / 2;
    let address = |start: usize, port: usize| -> SocketAddr {
        let bytes = &frame[start..start + half];
        let port = port as u16;
        match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => (bytes, port).into(),
            Err(_) => (<[u8; 16]>::try_from(bytes).unwrap(), port).into(),
        }
    };
    let bytes = udp_end - at - 8;
    Ok(Datagram {
        source: address(addresses.start, word(frame, at)?),
        destination: address(addresses.start + half, word(frame, at + 2)?),
        ttl: ttl as u8,
        tos: tos as u8,
        payload: at + 8 - VIRTIO_BYTES..udp_end - VIRTIO_BYTES,
        segment_bytes: (kind == 5 && bytes > size).then_some(size as u16),
    })
}

/// Where the IP header says that things are.
struct NaiveIp {
    ipv6: bool,
    /// Where the UDP header begins, and where the packet ends.
    at: usize,
    end: usize,
    ttl: usize,
    tos: usize,
    addresses: Range<usize>,
}

fn naive_ip(frame: &[u8], ipv6: bool, kind: usize, pending: bool) -> Result<NaiveIp, RelayDrop> {
    let header_bytes = if ipv6 { 40 } else { byte(frame, 24)? % 16 * 4 };
    byte(frame, 24 + header_bytes.max(20) - 1)?;
    if byte(frame, 24)? / 16 != if ipv6 { 6 } else { 4 } || header_bytes < 20 {
        return Err(Malformed);
    }
    let declared = if ipv6 { word(frame, 28)? } else { word(frame, 26)? };
    let end = match (declared, ipv6) {
        (0, _) if kind == 5 => frame.len(),
        (_, true) => 64 + declared,
        (_, false) => 24 + declared,
    };
    if end > frame.len() || end < 24 + header_bytes {
        return Err(Malformed);
    }
    let mut at = 24 + header_bytes;
    let (ttl, tos, addresses) = if ipv6 {
        at = naive_extensions(frame, at, end)?;
        (byte(frame, 31)?, word(frame, 24)? / 16 % 256, 32..64)
    } else {
        if byte(frame, 33)? != 17 {
            return Err(NotUdp);
        }
        if !pending && word_sum(&frame[24..at]) != 0xffff {
            return Err(Corrupt);
        }
        if word(frame, 30)? % 0x4000 != 0 {
            return Err(Fragment);
        }
        (byte(frame, 32)?, byte(frame, 25)?, 36..44)
    };
    Ok(NaiveIp { ipv6, at, end, ttl, tos, addresses })
}

/// Where the UDP header begins behind the extension headers of IPv6.
fn naive_extensions(frame: &[u8], mut at: usize, end: usize) -> Result<usize, RelayDrop> {
    let mut next = byte(frame, 30)?;
    let mut seen = 0;
    while [0, 43, 44, 60].contains(&next) {
        if seen == 8 || at + 8 > end {
            return Err(Malformed);
        }
        if next == 44 && (word(frame, at + 2)? / 8 > 0 || word(frame, at + 2)? % 2 == 1) {
            return Err(Fragment);
        }
        let units = if next == 44 { 1 } else { 1 + byte(frame, at + 1)? };
        next = byte(frame, at)?;
        at += units * 8;
        seen += 1;
    }
    if next != 17 {
        return Err(NotUdp);
    }
    Ok(at)
}

/// Where the UDP payload ends, if everything about it holds.
fn naive_udp(
    frame: &[u8],
    ip: &NaiveIp,
    kind: usize,
    size: usize,
    pending: bool,
    vouched: bool,
) -> Result<usize, RelayDrop> {
    let NaiveIp { ipv6, at, end, ref addresses, .. } = *ip;
    if at + 8 > end {
        return Err(Malformed);
    }
    let length = word(frame, at + 4)?;
    let udp_end = if kind == 5 {
        let first = length == 8 + size && at + length < end;
        if !(length == 0 || at + length == end || first) {
            return Err(Malformed);
        }
        end
    } else {
        if length < 8 || at + length > end {
            return Err(Malformed);
        }
        at + length
    };
    if pending && native(frame, 6)? != at - 10 {
        return Err(Corrupt);
    }
    let checksum = word(frame, at + 6)?;
    if checksum == 0 && ipv6 {
        return Err(Corrupt);
    }
    if checksum != 0 && !vouched {
        let pseudo = [&frame[addresses.clone()], &[0, 17], &frame[at + 4..at + 6]].concat();
        let sum = word_sum(&[&pseudo[..], &frame[at..udp_end]].concat());
        if at + length != udp_end || sum != 0xffff {
            return Err(Corrupt);
        }
    }
    Ok(udp_end)
}

fn byte(frame: &[u8], at: usize) -> Result<usize, RelayDrop> {
    frame.get(at).copied().map(usize::from).ok_or(Malformed)
}

fn word(frame: &[u8], at: usize) -> Result<usize, RelayDrop> {
    Ok(byte(frame, at)? << 8 | byte(frame, at + 1)?)
}

fn native(frame: &[u8], at: usize) -> Result<usize, RelayDrop> {
    let bytes = [byte(frame, at)? as u8, byte(frame, at + 1)? as u8];
    Ok(usize::from(u16::from_ne_bytes(bytes)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn agrees_with_the_naive_parser(recipe in recipes(), auxiliary in auxiliaries()) {
        let frame = recipe.build();
        let parsed = parse_with(&frame, auxiliary, false, false);
        prop_assert_eq!(&parsed, &naive(&frame, auxiliary));
        if let Ok(datagram) = parsed {
            prop_assert!(datagram.payload.end + VIRTIO_BYTES <= frame.len());
            prop_assert!(datagram.count() >= 1);
            prop_assert_eq!(datagram.count() > 1, datagram.segment_bytes.is_some());
        }
    }

    #[test]
    fn takes_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        auxiliary in auxiliaries(),
    ) {
        let parsed = parse_with(&bytes, auxiliary, false, false);
        prop_assert_eq!(parsed, naive(&bytes, auxiliary));
    }

    #[test]
    fn takes_any_bytes_behind_a_right_ethertype(
        mut bytes in prop::collection::vec(any::<u8>(), 26..300),
        ipv6: bool,
    ) {
        let start: [u8; 3] = if ipv6 { [0x86, 0xdd, 0x60] } else { [0x08, 0x00, 0x45] };
        bytes[22..25].copy_from_slice(&start);
        bytes[1] &= 7;
        prop_assert_eq!(parse_with(&bytes, None, false, false), naive(&bytes, None));
    }
}

/// What one generated frame came to, in as much detail as the generators promise.
fn outcome(parsed: Result<Datagram, RelayDrop>, recipe: &Recipe) -> &'static str {
    match parsed {
        Err(reason) => reason.name(),
        Ok(datagram) => match (recipe.ipv6, datagram.segment_bytes.is_some()) {
            _ if datagram.payload.is_empty() => "empty",
            (false, false) if recipe.extensions.is_empty() => "IPv4",
            (false, false) => "IPv4 with options",
            (true, false) if recipe.extensions.is_empty() => "IPv6",
            (true, false) => "IPv6 with extension headers",
            (_, true) if matches!(recipe.udp_length, Length::First) => "first length",
            (_, true) if matches!(recipe.ip_length, Length::Zero) => "open length",
            (_, true) => "super-packet",
        },
    }
}

#[test]
fn the_generators_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut reached = HashSet::new();
    let inputs = (recipes(), auxiliaries(), prop::bool::weighted(0.05));
    for _ in 0..8000 {
        let (recipe, auxiliary, outgoing) = inputs.new_tree(&mut runner).unwrap().current();
        let frame = recipe.build();
        let parsed = parse_with(&frame, auxiliary, outgoing, false);
        reached.insert(outcome(parsed, &recipe));
    }
    for wanted in [
        "IPv4",
        "IPv4 with options",
        "IPv6",
        "IPv6 with extension headers",
        "empty",
        "super-packet",
        "first length",
        "open length",
        RelayDrop::NotUdp.name(),
        RelayDrop::Malformed.name(),
        RelayDrop::Corrupt.name(),
        RelayDrop::Fragment.name(),
        RelayDrop::Tagged.name(),
        RelayDrop::Looped.name(),
    ] {
        assert!(reached.contains(wanted), "no frame came to {wanted}");
    }
    assert_eq!(reached.len(), 14, "parsing ends in nothing else: {reached:?}");
}
