//! TTL and code point, as the receiver sees them.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::SockRef;

use crate::common::{switched_off, uninterrupted};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{receiver, sender};

/// What came in has TTL 33 and code point 46.
const CAME: (i32, u8) = (33, 46);

#[test]
fn marks_are_the_usual_set_or_kept() {
    if switched_off() {
        return;
    }
    let cases = [
        ("", (1, 0)),
        ("--ttl 8 --dscp 34", (8, 34)),
        ("--ttl keep --dscp keep", CAME),
        ("--ttl keep", (CAME.0, 0)),
        ("--dscp keep", (1, CAME.1)),
    ];
    for (input, output) in
        [("239.1.1.1:5001", "239.2.2.2:5002"), ("[ff15::1]:5001", "239.2.2.2:5002")]
    {
        let line = Line::new(1);
        for (marks, expected) in cases {
            let flags = format!("--input {input}@left --output {output}@right {marks}");
            let hop = Hop::relay(line.hop(1), &flags);
            let from = marked(sender(line.source(), "right", input));
            let to = receiver(line.sink(), "left", output);
            setsockopt(&to, sockopt::Ipv4RecvTtl, &true).unwrap();
            setsockopt(&to, sockopt::IpRecvTos, &true).unwrap();
            from.send(b"marked").unwrap();
            assert_eq!(receive_marks(&to), expected, "{input} {marks}");
            hop.stop().assert_passed("rule-1", 1, 6);
        }
    }
}

fn marked(socket: UdpSocket) -> UdpSocket {
    let options = SockRef::from(&socket);
    let tos = u32::from(CAME.1) << 2;
    if socket.peer_addr().unwrap().is_ipv4() {
        options.set_multicast_ttl_v4(CAME.0 as u32).unwrap();
        options.set_tos_v4(tos).unwrap();
    } else {
        options.set_multicast_hops_v6(CAME.0 as u32).unwrap();
        options.set_tclass_v6(tos).unwrap();
    }
    socket
}

/// TTL and code point of the next datagram.
fn receive_marks(socket: &UdpSocket) -> (i32, u8) {
    let mut bytes = [0; 64];
    // Waits for it; the receive below finds it there.
    uninterrupted(|| socket.peek(&mut bytes)).unwrap();
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!(i32, u8);
    let descriptor = socket.as_raw_fd();
    let message =
        recvmsg::<()>(descriptor, &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
    let (mut ttl, mut tos) = (None, None);
    for control in message.cmsgs().unwrap() {
        match control {
            ControlMessageOwned::Ipv4Ttl(value) => ttl = Some(value),
            ControlMessageOwned::Ipv4Tos(value) => tos = Some(value),
            other => panic!("{other:?}"),
        }
    }
    (ttl.unwrap(), tos.unwrap() >> 2)
}
