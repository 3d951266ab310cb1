//! What packet sockets hand over.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::socket::{MsgFlags, recv};
use ringtide::io::Segmentation;
use ringtide::sys::packet_socket::{PacketError, open_group, supports_udp_segmentation};
use std::os::fd::AsRawFd;

use super::capture::{Capture, Sender, filter};
use crate::common::{Cable, eventually, switched_off};

const GROUP: &str = "239.1.1.1:5001";
const GROUP_V6: &str = "[ff15::1]:5001";

#[test]
fn a_frame_arrives_with_header_and_auxiliary_data() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP, GROUP_V6, "10.9.0.2:7"]);
    for (to, from) in [(GROUP, "10.9.0.1"), (GROUP_V6, "fd09::1"), ("10.9.0.2:7", "10.9.0.1")] {
        let sender = Sender::new(&cable.near, "a", to);
        sender.send(b"tide");
        let frame = capture.next();
        assert_eq!(frame.payload(), b"tide");
        assert_eq!(frame.destination(), to.parse().unwrap());
        assert_eq!(frame.source().port(), sender.0.local().port());
        if !frame.is_ipv6() {
            assert_eq!(frame.source().ip().to_string(), from);
        }
        let meta = frame.meta;
        assert_eq!(meta.segmentation, Segmentation::Whole);
        assert!(!meta.vlan && !meta.outgoing && !meta.truncated);
        // Made on this host: the checksum is not filled in, and both places say so.
        let transport = if frame.is_ipv6() { 54 } else { 34 };
        assert_eq!(meta.checksum_start, Some(transport), "VIRTIO_NET_HDR_F_NEEDS_CSUM");
        assert!(meta.checksum_trusted, "TP_STATUS_CSUMNOTREADY");
    }
}

#[test]
fn a_super_packet_arrives_whole() {
    if switched_off() {
        return;
    }
    assert!(supports_udp_segmentation(), "these tests are for Linux 6.2 or later");
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP, GROUP_V6]);
    for to in [GROUP, GROUP_V6] {
        let sender = Sender::new(&cable.near, "a", to);
        let payload: Vec<u8> = (0..40 * 1400 + 77).map(|at| (at / 256) as u8).collect();
        assert_eq!(sender.send_segmented(&payload, 1400), Ok(payload.len()));
        let frame = capture.next();
        assert_eq!(frame.meta.segmentation, Segmentation::Datagrams(1400));
        assert!(frame.payload() == payload, "{frame:?}");
        assert!(!frame.meta.truncated);
    }
}

#[test]
fn the_largest_super_packet_fits_a_receive_buffer() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP]);
    let sender = Sender::new(&cable.near, "a", GROUP);
    let payload = vec![7; 65_000];
    assert_eq!(sender.send_segmented(&payload, 1472), Ok(payload.len()));
    let frame = capture.next();
    assert!(frame.payload() == payload, "{frame:?}");
    assert!(!frame.meta.truncated);
}

#[test]
fn fanout_delivers_each_frame_once_and_a_flow_to_one_socket() {
    if switched_off() {
        return;
    }
    const FLOWS: usize = 64;
    const FRAMES: usize = 20;
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 2, &[GROUP]);
    let senders: Vec<_> = (0..FLOWS).map(|_| Sender::new(&cable.near, "a", GROUP)).collect();
    for frame in 0..FRAMES {
        senders.iter().for_each(|sender| sender.send(&[frame as u8]));
    }
    let mut flows: BTreeMap<u16, (BTreeSet<u16>, Vec<u8>)> = BTreeMap::new();
    for _ in 0..FLOWS * FRAMES {
        let frame = capture.next();
        let flow = flows.entry(frame.source().port()).or_default();
        flow.0.insert(frame.socket.0);
        flow.1.push(frame.payload()[0]);
    }
    assert_eq!(flows.len(), FLOWS);
    let in_order: Vec<u8> = (0..FRAMES as u8).collect();
    for (sockets, frames) in flows.values() {
        assert_eq!(sockets.len(), 1, "a flow stays on one socket");
        assert_eq!(*frames, in_order, "each once and in order");
    }
    let used: BTreeSet<_> = flows.values().flat_map(|(sockets, _)| sockets).collect();
    assert_eq!(used.len(), 2, "both sockets take part");
}

#[test]
fn two_groups_on_an_interface_are_apart() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let one = Capture::start(&cable.far, "b", 2, &[GROUP]);
    let other = Capture::start(&cable.far, "b", 2, &[GROUP]);
    let sender = Sender::new(&cable.near, "a", GROUP);
    for index in 0..10 {
        sender.send(&[index]);
    }
    for capture in [&one, &other] {
        let frames = capture.until(&[9]);
        assert_eq!(frames.len(), 10);
    }
}

#[test]
fn a_long_ipv4_datagram_arrives_reassembled() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    for count in [1, 2] {
        let capture = Capture::start(&cable.far, "b", count, &[GROUP]);
        let sender = Sender::new(&cable.near, "a", GROUP);
        for length in [1473, 9000, 65_507] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            sender.send(&payload);
            let frame = capture.next();
            assert!(frame.payload() == payload, "{frame:?}");
            assert_eq!(frame.meta.segmentation, Segmentation::Whole);
            assert_eq!(frame.frame[20..22], [0, 0], "no fragment any more");
            let total = u16::from_be_bytes([frame.frame[16], frame.frame[17]]);
            assert_eq!(usize::from(total), frame.frame.len() - 14);
        }
    }
}

#[test]
fn a_long_ipv6_datagram_arrives_in_fragments() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 2, &[GROUP_V6]);
    Sender::new(&cable.near, "a", GROUP_V6).send(&[5; 2000]);
    let fragments = [capture.next(), capture.next()];
    assert!(fragments.iter().all(|fragment| fragment.frame[20] == 44), "fragment headers");
    let bytes: usize = fragments.iter().map(|fragment| fragment.frame.len() - 14 - 40 - 8).sum();
    assert_eq!(bytes, 2008);
}

#[test]
fn own_frames_do_not_arrive() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.near, "a", 1, &[GROUP, "10.9.0.1:7"]);
    // With a member on this host the kernel also makes a copy for it.
    let index = cable.near.interface("a").index;
    let mut member = ringtide::sys::membership::Memberships::new(index);
    let group = "239.1.1.1".parse().unwrap();
    let joined = ringtide::sys::membership::Membership { group, source: None };
    cable.near.run(|| member.join(joined)).unwrap();
    let own = Sender::new(&cable.near, "a", GROUP);
    for _ in 0..100 {
        own.send(b"own");
    }
    Sender::new(&cable.far, "b", GROUP).send(b"other");
    let frames = capture.until(b"other");
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert!(!frames[0].meta.outgoing);
}

#[test]
fn what_a_full_buffer_drops_adds_up() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let interface = cable.far.interface("b");
    let group = cable.far.run(|| open_group(&interface, 1, 8192, &filter(&[GROUP]))).unwrap();
    let socket = &group.sockets[0];
    assert_eq!(socket.kernel_drops(), 0);
    let sender = Sender::new(&cable.near, "a", GROUP);
    let (mut sent, mut received) = (0, 0);
    for _ in 0..10 {
        let before = socket.kernel_drops();
        for _ in 0..30 {
            sender.send(&[0; 1000]);
            sent += 1;
        }
        eventually("drops", || (socket.kernel_drops() > before).then_some(()));
        eventually("every frame is accounted for", || {
            let mut bytes = [0; 2048];
            while recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).is_ok() {
                received += 1;
            }
            (received + socket.kernel_drops() == sent).then_some(())
        });
    }
    assert!(received > 0);
}

#[test]
fn an_interface_that_is_down_is_served_when_it_comes_up() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    cable.far.ip("link set dev b down");
    let interface = cable.far.interface("b");
    assert!(!interface.up);
    let opened = cable.far.run(|| open_group(&interface, 1, 1 << 20, &filter(&[GROUP])));
    let group = match opened {
        // Before Linux 6.13 a socket joins a fanout group only while it runs.
        Err(error) => return assert!(matches!(error, PacketError::Down { .. }), "{error}"),
        Ok(group) => group,
    };
    let capture = Capture::of(group);
    for round in 0..3 {
        cable.far.ip("link set dev b up");
        cable.far.ready("b");
        cable.near.ready("a");
        Sender::new(&cable.near, "a", GROUP).send(&[round]);
        assert_eq!(capture.next().payload(), [round]);
        cable.far.ip("link set dev b down");
    }
}

#[test]
fn an_interface_that_is_gone_or_has_no_frames_is_named() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let interface = cable.far.interface("b");
    cable.far.ip("link del dev b");
    let gone = cable.far.run(|| open_group(&interface, 1, 1 << 20, &filter(&[GROUP])));
    assert!(matches!(gone, Err(PacketError::Missing { .. })), "{gone:?}");
    cable.far.ip("tuntap add t mode tun");
    let tunnel = cable.far.interface("t");
    let opened = cable.far.run(|| open_group(&tunnel, 1, 1 << 20, &filter(&[GROUP])));
    assert!(matches!(opened, Err(PacketError::NotEthernet { .. })), "{opened:?}");
}
