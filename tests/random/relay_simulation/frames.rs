//! Frames as a packet socket hands them over, and what is in them, written down beside them.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use ringtide::io::PacketAuxData;
use ringtide::relay::stats::RelayDrop;

/// A payload as its sender made it.
pub(crate) type Payload = Rc<[u8]>;

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
}

/// A piece of a datagram that was sent in fragments.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) identification: u32,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    pub(crate) more: bool,
    /// Whether a bit was turned over on the way.
    pub(crate) spoiled: bool,
    /// The whole datagram.
    pub(crate) payload: Payload,
}

/// What a frame is, known to whoever made it.
#[derive(Clone, Debug)]
pub(crate) enum Truth {
    /// One datagram, or those of a super-packet.
    Datagrams(Head, Vec<Payload>),
    Fragment(Head, Piece),
    /// Nothing that may be relayed.
    Refused(RelayDrop),
}

impl Truth {
    /// How many datagrams, or fragments, are lost with it.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Datagrams(_, payloads) => payloads.len() as u64,
            _ => 1,
        }
    }
}

/// A frame behind its virtio header.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) truth: Truth,
    pub(crate) auxiliary: Option<PacketAuxData>,
    pub(crate) outgoing: bool,
    pub(crate) truncated: bool,
    /// Where a bit may be turned over so that a checksum tells: ports and payload. Empty where
    /// the kernel vouches for the frame.
    pub(crate) covered: std::ops::Range<usize>,
}

impl Made {
    fn new(bytes: Vec<u8>, truth: Truth) -> Self {
        let (auxiliary, covered) = (None, 0..0);
        Self { bytes, truth, auxiliary, outgoing: false, truncated: false, covered }
    }
}

/// Who answers for a datagram's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// It is there and right.
    Right,
    /// Left out, as IPv4 allows.
    None,
    /// It is wrong, and the hardware says otherwise.
    Vouched,
    /// It is wrong.
    Wrong,
    /// To be filled in by a device, as between two namespaces.
    Pending,
}

/// One datagram.
pub(crate) fn plain(head: Head, payload: &Payload, checksum: Checksum) -> Made {
    let udp = udp(head, payload, checksum);
    let (flags, start) = match checksum {
        Checksum::Vouched => (DATA_VALID, 0),
        Checksum::Pending => (NEEDS_CSUM, ETHERNET_BYTES + ip_header_bytes(head)),
        _ => (0, 0),
    };
    let bytes = frame(virtio(flags, 0, 0, start), head, UDP, &udp, None);
    let truth = match checksum {
        Checksum::Wrong => Truth::Refused(RelayDrop::Corrupt),
        Checksum::None if head.source.is_ipv6() => Truth::Refused(RelayDrop::Corrupt),
        _ => Truth::Datagrams(head, vec![Rc::clone(payload)]),
    };
    let mut made = Made::new(bytes, truth);
    if checksum == Checksum::Right {
        let udp_at = VIRTIO_BYTES + ETHERNET_BYTES + ip_header_bytes(head);
        // A bit of the ports where there is no payload.
        made.covered = match payload.is_empty() {
            true => udp_at..udp_at + 4,
            false => udp_at + UDP_BYTES..made.bytes.len(),
        };
    }
    made
}

/// Datagrams under one set of headers, each as long as the first, the last perhaps shorter.
pub(crate) fn super_packet(head: Head, payloads: Vec<Payload>) -> Made {
    let size = payloads[0].len() as u16;
    let all: Payload = payloads.concat().into();
    let udp = udp(head, &all, Checksum::Pending);
    let start = ETHERNET_BYTES + ip_header_bytes(head);
    let bytes = frame(virtio(NEEDS_CSUM, GSO_UDP, size, start), head, UDP, &udp, None);
    let truth = match payloads.len() {
        // A segment size that is not needed makes no super-packet.
        1 => Truth::Datagrams(head, payloads),
        _ => Truth::Datagrams(head, payloads),
    };
    Made::new(bytes, truth)
}

/// One datagram over IPv6, cut so that no packet is longer than `mtu`.
pub(crate) fn fragments(
    head: Head,
    payload: &Payload,
    identification: u32,
    mtu: usize,
) -> Vec<Made> {
    let udp = udp(head, payload, Checksum::Right);
    let step = (mtu - IPV6_BYTES - FRAGMENT_BYTES) / 8 * 8;
    let pieces: Vec<&[u8]> = udp.chunks(step).collect();
    let last = pieces.len() - 1;
    if last == 0 {
        return vec![plain(head, payload, Checksum::Right)];
    }
    let cut = |(index, piece): (usize, &&[u8])| {
        let (offset, more) = (index * step, index < last);
        let word = (offset as u16) | u16::from(more);
        let mut header = vec![UDP, 0];
        header.extend(word.to_be_bytes());
        header.extend(identification.to_be_bytes());
        let bytes = frame(virtio(0, 0, 0, 0), head, FRAGMENT, piece, Some(&header));
        let first_bytes = VIRTIO_BYTES + ETHERNET_BYTES + IPV6_BYTES + FRAGMENT_BYTES;
        // The first one's ports decide on the rule.
        let ports = if index == 0 { UDP_BYTES.min(piece.len()) } else { 0 };
        let covered = first_bytes + ports..bytes.len();
        let payload = Rc::clone(payload);
        let bytes_of = piece.len();
        let piece =
            Piece { identification, offset, bytes: bytes_of, more, spoiled: false, payload };
        Made { covered, ..Made::new(bytes, Truth::Fragment(head, piece)) }
    };
    pieces.iter().enumerate().map(cut).collect()
}

/// Something that no relay may take for a datagram of a rule's, for this reason.
pub(crate) fn refused(head: Head, payload: &Payload, reason: RelayDrop, choice: u8) -> Made {
    let mut made = plain(head, payload, Checksum::Right);
    let ethertype = VIRTIO_BYTES + 12;
    match (reason, choice % 2) {
        (RelayDrop::Looped, _) => made.outgoing = true,
        (RelayDrop::Tagged, 0) => {
            made.auxiliary = Some(PacketAuxData { vlan: true, ..PacketAuxData::default() });
        }
        (RelayDrop::Tagged, _) => made.bytes[ethertype..][..2].copy_from_slice(&[0x81, 0]),
        (RelayDrop::Malformed, 0) => made.truncated = true,
        (RelayDrop::Malformed, _) => {
            let shorter = usize::from(choice) % made.bytes.len();
            made.bytes.truncate(shorter);
        }
        (RelayDrop::NotUdp, 0) => made.bytes[ethertype..][..2].copy_from_slice(&[8, 6]),
        (RelayDrop::NotUdp, _) => {
            let tcp = udp(head, payload, Checksum::Right);
            made.bytes = frame(virtio(0, 0, 0, 0), head, TCP, &tcp, None);
        }
        _ => made = plain(head, payload, Checksum::Wrong),
    }
    made.truth = Truth::Refused(reason);
    made.covered = 0..0;
    made
}

/// An IPv4 fragment, which packet sockets hand over only where nobody puts them together.
pub(crate) fn ipv4_fragment(head: Head, payload: &Payload) -> Made {
    let mut made = plain(head, payload, Checksum::Right);
    let ip = VIRTIO_BYTES + ETHERNET_BYTES;
    made.bytes[ip + 6] = 0x20;
    let header = &mut made.bytes[ip..ip + IPV4_BYTES];
    header[10..12].fill(0);
    let checksum = !sum(&[header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    made.truth = Truth::Refused(RelayDrop::Fragment);
    made.covered = 0..0;
    made
}

/// Sets a bit in what a checksum covers. None is cleared: with another that is set in another
/// fragment the sum would be right again.
pub(crate) fn spoil(made: &mut Made, place: usize, bit: u8) {
    let covered = &mut made.bytes[made.covered.clone()];
    let start = place % covered.len();
    let later = (start..covered.len()).chain(0..start).find(|at| covered[*at] != 0xff);
    let Some(at) = later else { return };
    let clear = (0..8).map(|more| 1 << ((bit + more) % 8)).find(|mask| covered[at] & mask == 0);
    covered[at] |= clear.unwrap();
    match &mut made.truth {
        Truth::Fragment(_, piece) => piece.spoiled = true,
        truth => *truth = Truth::Refused(RelayDrop::Corrupt),
    }
    // A copy of what is spoiled already stays as it is.
    made.covered = 0..0;
}

fn udp(head: Head, payload: &[u8], checksum: Checksum) -> Vec<u8> {
    let length = UDP_BYTES + payload.len();
    let mut udp = Vec::with_capacity(length);
    udp.extend(head.source.port().to_be_bytes());
    udp.extend(head.destination.port().to_be_bytes());
    // Of a super-packet that is longer than the field holds, 0.
    udp.extend(u16::try_from(length).unwrap_or(0).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let addresses = addresses(head);
    let pseudo = [&[0, UDP][..], &(length as u32).to_be_bytes()].concat();
    let right = match !sum(&[&addresses, &pseudo, &udp]) {
        0 => 0xffff,
        right => right,
    };
    let written = match checksum {
        Checksum::Right => right,
        Checksum::None => 0,
        // Neither right nor 0, which would mean none.
        Checksum::Wrong | Checksum::Vouched if right == 1 => 2,
        Checksum::Wrong | Checksum::Vouched => right ^ 1,
        Checksum::Pending => sum(&[&addresses, &pseudo]),
    };
    udp[6..8].copy_from_slice(&written.to_be_bytes());
    udp
}

fn frame(
    virtio: Vec<u8>,
    head: Head,
    protocol: u8,
    transport: &[u8],
    extension: Option<&[u8]>,
) -> Vec<u8> {
    let mut bytes = virtio;
    bytes.extend([0x01, 0x00, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1]);
    let extension = extension.unwrap_or_default();
    if head.source.is_ipv6() {
        bytes.extend([0x86, 0xdd]);
        let length = u16::try_from(extension.len() + transport.len()).unwrap_or(0);
        bytes.extend([0x60 | head.tos >> 4, head.tos << 4, 0, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend([protocol, head.ttl]);
        bytes.extend(addresses(head));
        bytes.extend(extension);
    } else {
        bytes.extend([8, 0]);
        let length = u16::try_from(IPV4_BYTES + transport.len()).unwrap_or(0);
        let mut header = vec![0x45, head.tos];
        header.extend(length.to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0, head.ttl, protocol, 0, 0]);
        header.extend(addresses(head));
        let checksum = !sum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(header);
    }
    bytes.extend(transport);
    bytes
}

fn virtio(flags: u8, kind: u8, size: u16, start: usize) -> Vec<u8> {
    let mut bytes = vec![flags, kind, 0, 0];
    bytes.extend([size, start as u16, 6].iter().flat_map(|word| word.to_ne_bytes()));
    bytes
}

fn addresses(head: Head) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    [octets(head.source), octets(head.destination)].concat()
}

fn ip_header_bytes(head: Head) -> usize {
    if head.source.is_ipv6() { IPV6_BYTES } else { IPV4_BYTES }
}

/// The one's complement sum of 16-bit words (RFC 1071); each slice but the last is even.
fn sum(slices: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for pair in slices.iter().flat_map(|bytes| bytes.chunks(2)) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// IP and UDP headers before a payload.
pub(crate) fn header_bytes(ipv6: bool) -> usize {
    UDP_BYTES + if ipv6 { IPV6_BYTES } else { IPV4_BYTES }
}

const VIRTIO_BYTES: usize = 10;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const FRAGMENT_BYTES: usize = 8;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
const TCP: u8 = 6;
const FRAGMENT: u8 = 44;
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_UDP: u8 = 5;
