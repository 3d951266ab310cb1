//! Whole frames written by hand, and what becomes of each.

use super::*;
use crate::io::PacketAuxData;
use crate::relay::golden::*;

/// Reads a frame behind its virtio header.
fn parse(received: &[u8]) -> Result<Datagram, RelayDrop> {
    parse_with(received, None, false, false)
}

/// The same with what the packet socket says besides.
pub(super) fn parse_with(
    received: &[u8],
    auxiliary: Option<PacketAuxData>,
    outgoing: bool,
    truncated: bool,
) -> Result<Datagram, RelayDrop> {
    let (meta, frame) = FrameMeta::split(received, auxiliary, outgoing, truncated);
    Datagram::parse(frame, &meta)
}

/// A frame with one byte of its packet changed.
fn altered(virtio: &[u8], ethertype: [u8; 2], packet: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] = value;
    frame(virtio, ethertype, &packet)
}

fn expected(ipv6: bool, payload: Range<usize>, segment_bytes: Option<u16>) -> Datagram {
    let addresses = if ipv6 {
        ("[fd00::1]:58793", "[ff15::1]:5001")
    } else {
        ("10.0.0.1:58793", "239.1.1.1:5001")
    };
    Datagram {
        source: addresses.0.parse().unwrap(),
        destination: addresses.1.parse().unwrap(),
        ttl: 7,
        tos: 0xb8,
        payload,
        segment_bytes,
    }
}

/// A header of this machine's own packets.
fn pending(start: u16) -> Vec<u8> {
    virtio(1, 0, 0, start)
}

#[test]
fn golden_plain() {
    let frame = plain(IPV4, IPV4_PLAIN);
    assert_eq!(parse(&frame), Ok(expected(false, 42..50, None)));
    assert_eq!(&frame[10..][42..50], b"ringtide");
    let frame = plain(IPV6, IPV6_PLAIN);
    assert_eq!(parse(&frame), Ok(expected(true, 62..70, None)));
    assert_eq!(&frame[10..][62..70], b"ringtide");
}

#[test]
fn golden_empty() {
    let mut frame = plain(IPV4, IPV4_EMPTY);
    let datagram = parse(&frame).unwrap();
    assert_eq!(datagram, expected(false, 42..42, None));
    assert_eq!(datagram.count(), 1);
    frame.extend([0xee; 18]);
    assert_eq!(parse(&frame), Ok(datagram), "padding is not payload");
}

#[test]
fn golden_options_and_extension_headers() {
    assert_eq!(parse(&plain(IPV4, IPV4_OPTIONS)), Ok(expected(false, 46..54, None)));
    assert_eq!(parse(&plain(IPV6, IPV6_EXTENSIONS)), Ok(expected(true, 78..86, None)));
    assert_eq!(parse(&plain(IPV6, IPV6_ATOMIC)), Ok(expected(true, 70..78, None)));
    let inside = altered(&virtio(0, 0, 0, 0), IPV4, IPV4_OPTIONS, 20, 0x95);
    assert_eq!(parse(&inside), Err(RelayDrop::Corrupt), "options are under the checksum");
}

#[test]
fn golden_super_packets() {
    for (flags, start4, start6) in [(0, 0, 0), (1, 34, 54), (2, 0, 0)] {
        let frame4 = frame(&virtio(flags, 5, 8, start4), IPV4, IPV4_SUPER);
        let frame6 = frame(&virtio(flags, 5, 8, start6), IPV6, IPV6_SUPER);
        assert_eq!(parse(&frame4), Ok(expected(false, 42..62, Some(8))));
        assert_eq!(parse(&frame6), Ok(expected(true, 62..82, Some(8))));
        assert_eq!(parse(&frame4).unwrap().count(), 3);
    }
}

#[test]
fn a_super_packet_of_one_datagram_is_a_datagram() {
    for size in [20, 21, u16::MAX] {
        let datagram = parse(&frame(&virtio(2, 5, size, 0), IPV4, IPV4_SUPER)).unwrap();
        assert_eq!((datagram.segment_bytes, datagram.count()), (None, 1));
    }
    let two = parse(&frame(&virtio(2, 5, 19, 0), IPV4, IPV4_SUPER)).unwrap();
    assert_eq!((two.segment_bytes, two.count()), (Some(19), 2));
    let unsized_frame = frame(&virtio(2, 5, 0, 0), IPV4, IPV4_SUPER);
    assert_eq!(parse(&unsized_frame), Err(RelayDrop::Malformed));
}

#[test]
fn super_packets_may_give_other_lengths() {
    let local = virtio(1, 5, 8, 34);
    let valid = virtio(2, 5, 8, 0);
    // UDP: the first datagram's, or 0.
    for length in [16, 0] {
        for header in [&local, &valid] {
            let frame = altered(header, IPV4, IPV4_SUPER, 25, length);
            assert_eq!(parse(&frame), Ok(expected(false, 42..62, Some(8))), "{length}");
        }
        let frame = altered(&virtio(0, 5, 8, 0), IPV4, IPV4_SUPER, 25, length);
        assert_eq!(parse(&frame), Err(RelayDrop::Corrupt), "nobody vouches for the rest");
    }
    for length in [7, 15, 17, 27, 29, 255] {
        let frame = altered(&local, IPV4, IPV4_SUPER, 25, length);
        assert_eq!(parse(&frame), Err(RelayDrop::Malformed), "{length}");
    }
    // IP: 0, under which the frame's end is the packet's.
    let frame4 = altered(&local, IPV4, IPV4_SUPER, 3, 0);
    assert_eq!(parse(&frame4), Ok(expected(false, 42..62, Some(8))));
    let frame6 = altered(&virtio(1, 5, 8, 54), IPV6, IPV6_SUPER, 5, 0);
    assert_eq!(parse(&frame6), Ok(expected(true, 62..82, Some(8))));
    // Nothing goes past the frame, whatever the lengths say.
    let beyond = altered(&local, IPV4, IPV4_SUPER, 3, 49);
    assert_eq!(parse(&beyond), Err(RelayDrop::Malformed));
    let first_too_long = altered(&virtio(1, 5, 21, 34), IPV4, IPV4_SUPER, 25, 29);
    assert_eq!(parse(&first_too_long), Err(RelayDrop::Malformed));
}

#[test]
fn other_kinds_of_super_packet() {
    let whole = frame(&virtio(1, 3, 8, 34), IPV4, IPV4_SUPER);
    assert_eq!(parse(&whole), Ok(expected(false, 42..62, None)), "UFO is one datagram");
    let cut = &whole[..whole.len() - 1];
    assert_eq!(parse(cut), Err(RelayDrop::Malformed));
    for kind in [1, 4, 0x81, 0x84, 2, 0x20] {
        let frame = frame(&virtio(1, kind, 8, 34), IPV4, IPV4_SUPER);
        assert_eq!(parse(&frame), Err(RelayDrop::NotUdp), "{kind}");
    }
}

#[test]
fn fragments() {
    assert_eq!(parse(&plain(IPV4, IPV4_FRAGMENT_FIRST)), Err(RelayDrop::Fragment));
    assert_eq!(parse(&plain(IPV4, IPV4_FRAGMENT_LAST)), Err(RelayDrop::Fragment));
    let first = altered(&virtio(0, 0, 0, 0), IPV6, IPV6_ATOMIC, 43, 1);
    assert_eq!(parse(&first), Err(RelayDrop::Fragment));
}

#[test]
fn tags() {
    for ethertype in [[0x81, 0x00], [0x88, 0xa8]] {
        let tagged = [&[0x00, 0x05, 0x08, 0x00], IPV4_PLAIN].concat();
        assert_eq!(parse(&plain(ethertype, &tagged)), Err(RelayDrop::Tagged));
    }
    let auxiliary = PacketAuxData { vlan: true, ..PacketAuxData::default() };
    let frame = plain(IPV4, IPV4_PLAIN);
    let parsed = parse_with(&frame, Some(auxiliary), false, false);
    assert_eq!(parsed, Err(RelayDrop::Tagged), "a tag that was taken off");
}

#[test]
fn not_udp() {
    assert_eq!(parse(&plain([0x08, 0x06], IPV4_PLAIN)), Err(RelayDrop::NotUdp), "ARP");
    assert_eq!(parse(&plain([0x00, 0x24], IPV4_PLAIN)), Err(RelayDrop::NotUdp), "802.3");
    for (ethertype, packet, at) in [(IPV4, IPV4_PLAIN, 9), (IPV6, IPV6_PLAIN, 6)] {
        let tcp = altered(&virtio(0, 0, 0, 0), ethertype, packet, at, 6);
        assert_eq!(parse(&tcp), Err(RelayDrop::NotUdp));
    }
}

#[test]
fn what_this_host_sent_and_what_was_cut_off() {
    let frame = plain(IPV4, IPV4_PLAIN);
    assert_eq!(parse_with(&frame, None, true, false), Err(RelayDrop::Looped));
    assert_eq!(parse_with(&frame, None, false, true), Err(RelayDrop::Malformed));
}

#[test]
fn wrong_checksums() {
    let unchecked = virtio(0, 0, 0, 0);
    let body4 = altered(&unchecked, IPV4, IPV4_PLAIN, 30, 0);
    let body6 = altered(&unchecked, IPV6, IPV6_PLAIN, 50, 0);
    assert_eq!(parse(&body4), Err(RelayDrop::Corrupt));
    assert_eq!(parse(&body6), Err(RelayDrop::Corrupt));
    for auxiliary in [
        PacketAuxData { checksum_valid: true, ..PacketAuxData::default() },
        PacketAuxData { checksum_pending: true, ..PacketAuxData::default() },
    ] {
        let vouched = |frame: &[u8]| parse_with(frame, Some(auxiliary), false, false);
        assert_eq!(vouched(&body4), Ok(expected(false, 42..50, None)));
        assert_eq!(vouched(&body6), Ok(expected(true, 62..70, None)));
        let header = altered(&unchecked, IPV4, IPV4_PLAIN, 8, 8);
        assert_eq!(vouched(&header), Err(RelayDrop::Corrupt), "the IP header is verified");
    }
    let silent = Some(PacketAuxData::default());
    assert_eq!(parse_with(&body4, silent, false, false), Err(RelayDrop::Corrupt));
    let header = altered(&virtio(2, 0, 0, 0), IPV4, IPV4_PLAIN, 8, 8);
    assert_eq!(parse(&header), Err(RelayDrop::Corrupt));
    let header = altered(&pending(34), IPV4, IPV4_PLAIN, 11, 0);
    assert_eq!(parse(&header), Ok(expected(false, 42..50, None)), "this machine's own");
    let super_packet = altered(&virtio(0, 5, 8, 0), IPV4, IPV4_SUPER, 40, 0);
    assert_eq!(parse(&super_packet), Err(RelayDrop::Corrupt));
}

#[test]
fn the_lack_of_a_checksum() {
    let without = |header: &[u8], ethertype, packet: &[u8], at: usize| {
        let mut packet = packet.to_vec();
        packet[at..at + 2].fill(0);
        parse(&frame(header, ethertype, &packet))
    };
    let unchecked = virtio(0, 0, 0, 0);
    assert_eq!(without(&unchecked, IPV4, IPV4_PLAIN, 26), Ok(expected(false, 42..50, None)));
    assert_eq!(without(&unchecked, IPV6, IPV6_PLAIN, 46), Err(RelayDrop::Corrupt));
    let valid = virtio(2, 0, 0, 0);
    assert_eq!(without(&valid, IPV6, IPV6_PLAIN, 46), Err(RelayDrop::Corrupt));
}

#[test]
fn an_unfinished_checksum_inside_a_tunnel_is_not_passed_on() {
    // Linux marks VXLAN packets of this machine so: the start is the inner transport header's.
    assert_eq!(parse(&frame(&pending(34), IPV4, IPV4_PLAIN)), Ok(expected(false, 42..50, None)));
    assert_eq!(parse(&frame(&pending(84), IPV4, IPV4_PLAIN)), Err(RelayDrop::Corrupt));
    assert_eq!(parse(&frame(&pending(54), IPV6, IPV6_PLAIN)), Ok(expected(true, 62..70, None)));
    let behind_options = frame(&pending(38), IPV4, IPV4_OPTIONS);
    assert_eq!(parse(&behind_options), Ok(expected(false, 46..54, None)));
    let behind_extensions = frame(&pending(70), IPV6, IPV6_EXTENSIONS);
    assert_eq!(parse(&behind_extensions), Ok(expected(true, 78..86, None)));
}

#[test]
fn udp_lengths() {
    // Shorter than the packet: the rest is not payload (RFC 9868). The checksum covers less.
    let valid = virtio(2, 0, 0, 0);
    let shorter = altered(&valid, IPV4, IPV4_PLAIN, 25, 12);
    assert_eq!(parse(&shorter), Ok(expected(false, 42..46, None)));
    for length in [0, 7, 17, 255] {
        let wrong = altered(&valid, IPV4, IPV4_PLAIN, 25, length);
        assert_eq!(parse(&wrong), Err(RelayDrop::Malformed), "{length}");
        let wrong = altered(&valid, IPV6, IPV6_PLAIN, 45, length);
        assert_eq!(parse(&wrong), Err(RelayDrop::Malformed), "{length}");
    }
}

#[test]
fn any_truncation_is_malformed() {
    let super_packet = virtio(0, 5, 8, 0);
    for (header, ethertype, packet) in [
        (&virtio(0, 0, 0, 0), IPV4, IPV4_PLAIN),
        (&virtio(0, 0, 0, 0), IPV4, IPV4_OPTIONS),
        (&virtio(0, 0, 0, 0), IPV6, IPV6_PLAIN),
        (&virtio(0, 0, 0, 0), IPV6, IPV6_EXTENSIONS),
        (&super_packet, IPV4, IPV4_SUPER),
        (&super_packet, IPV6, IPV6_SUPER),
    ] {
        let whole = frame(header, ethertype, packet);
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(RelayDrop::Malformed), "{length}");
        }
    }
}

#[test]
fn counting() {
    let expected = [
        (0, None, 1),
        (0, Some(8), 1),
        (1, None, 1),
        (8, Some(8), 1),
        (9, Some(8), 2),
        (16, Some(8), 2),
        (65_507, Some(1), 65_507),
        (5, Some(0), 1),
    ];
    for (bytes, size, count) in expected {
        assert_eq!(count_datagrams(bytes, size), count, "{bytes} at {size:?}");
    }
}
