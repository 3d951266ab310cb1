//! Frames that no socket would make, put on the cable by hand.

use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, send};

use crate::common::{Namespace, raw_socket, switched_off};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, receive, receiver};

#[test]
fn corrupt_datagrams_are_dropped_and_counted() {
    let mut udp = FRAME;
    udp[41] ^= 1;
    let mut payload = FRAME;
    payload[45] ^= 0x80;
    let mut ip = FRAME;
    ip[24] ^= 1;
    dropped(&[&udp, &payload, &ip], "corrupt=3");
}

#[test]
fn tagged_frames_are_not_relayed() {
    let tagged = |tag: [u8; 4]| [&FRAME[..12], &tag, &FRAME[12..]].concat();
    // The interface's filter holds them back, so that the relay counts none.
    dropped(&[&tagged([0x81, 0x00, 0, 10]), &tagged([0x88, 0xa8, 0, 20])], "0");
}

/// Puts frames on the cable that must not be relayed, and after each one that must.
fn dropped(frames: &[&[u8]], counted: &str) {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let flags = "--input 239.1.1.1:5001@left --output 239.2.2.2:5002@right";
    let hop = Hop::relay(line.hop(1), flags);
    let to = receiver(line.sink(), "left", "239.2.2.2:5002");
    for frame in frames {
        inject(line.source(), frame);
        inject(line.source(), &FRAME);
        assert_eq!(receive(&to), b"tide");
    }
    assert_empty(&to);
    let summary = hop.stop();
    summary.assert_passed("rule-1", frames.len(), frames.len() * 4);
    assert_eq!(summary.drops(), counted);
}

fn inject(space: &Namespace, frame: &[u8]) {
    let socket = raw_socket(space, "right");
    assert_eq!(send(socket.as_raw_fd(), frame, MsgFlags::empty()), Ok(frame.len()));
}

/// From 10.1.0.1:5000 to 239.1.1.1:5001 with right checksums: `tide`.
const FRAME: [u8; 46] = [
    // Ethernet: to the group's address, from a local one, IPv4.
    0x01, 0x00, 0x5e, 0x01, 0x01, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00,
    // IPv4: 32 bytes, identification 0x1234, do not fragment, TTL 1, UDP, checksum 0x6d95.
    0x45, 0x00, 0x00, 0x20, 0x12, 0x34, 0x40, 0x00, 0x01, 0x11, 0x6d, 0x95, //
    0x0a, 0x01, 0x00, 0x01, 0xef, 0x01, 0x01, 0x01, // UDP: 12 bytes, checksum 0x05f2.
    0x13, 0x88, 0x13, 0x89, 0x00, 0x0c, 0x05, 0xf2, b't', b'i', b'd', b'e',
];
