//! What an output's socket puts on the wire, as a packet socket on the other side sees it.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use ringtide::io::Segmentation;
use ringtide::sys::egress::{EgressError, EgressOptions, EgressSocket};

use super::capture::{Capture, Sender, output};
use crate::common::{Cable, DEADLINE, Namespace, switched_off, uninterrupted};

const GROUP: &str = "239.2.2.2:5002";
const GROUP_V6: &str = "[ff15::2]:5002";
const HOST: &str = "10.9.0.2:5002";
const HOST_V6: &str = "[fd09::2]:5002";

#[test]
fn ttl_code_point_and_source_are_as_asked() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    cable.near.ip("addr add 10.9.0.77/24 dev a");
    cable.near.ip("addr add fd09::77/64 dev a nodad");
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP, GROUP_V6, HOST, HOST_V6]);
    for to in [GROUP, GROUP_V6, HOST, HOST_V6] {
        let source = if to.starts_with('[') { "fd09::77" } else { "10.9.0.77" };
        let source = Some(source.parse().unwrap());
        for (ttl, dscp) in [(1, 63), (8, 34), (255, 0)] {
            let options = EgressOptions { source, ttl: Some(ttl), dscp, ..output(to) };
            let sender = Sender::with(&cable.near, "a", &options);
            sender.send(b"asked");
            let frame = capture.next();
            assert_eq!((frame.ttl(), frame.dscp()), (ttl, dscp), "{to}");
            assert_eq!(Some(frame.source().ip()), source);
            assert_eq!(frame.source(), sender.0.local());
            assert_eq!(frame.destination(), to.parse().unwrap());
        }
    }
}

#[test]
fn unless_asked_groups_get_one_hop_and_hosts_the_usual() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP, GROUP_V6, HOST, HOST_V6]);
    for (to, ttl) in [(GROUP, 1), (GROUP_V6, 1), (HOST, 64), (HOST_V6, 64)] {
        let sender = Sender::new(&cable.near, "a", to);
        assert_eq!(sender.0.send_buffer_short(), None);
        sender.send(b"usual");
        let frame = capture.next();
        assert_eq!((frame.ttl(), frame.dscp()), (ttl, 0), "{to}");
    }
}

#[test]
fn link_local_sources_and_groups_work() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let own = cable.near.ready("a");
    let host = format!("[{}]:7", cable.far.ready("b"));
    let capture = Capture::start(&cable.far, "b", 1, &["[ff02::7]:7", "224.0.0.7:7", &host]);
    for to in ["[ff02::7]:7", "224.0.0.7:7", &host] {
        let source = to.starts_with('[').then_some(own.into());
        let sender = Sender::with(&cable.near, "a", &EgressOptions { source, ..output(to) });
        sender.send(b"link");
        let frame = capture.next();
        assert_eq!(frame.destination(), to.parse().unwrap());
        assert!(source.is_none_or(|source| frame.source().ip() == source));
    }
}

#[test]
fn segments_up_to_the_mtu_leave_in_one_trip() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP, GROUP_V6]);
    for (to, longest) in [(GROUP, 1472), (GROUP_V6, 1452)] {
        let sender = Sender::new(&cable.near, "a", to);
        assert_eq!(sender.0.segment_bytes_max(), longest);
        let payload: Vec<u8> = (0..10 * longest + 5).map(|at| (at % 251) as u8).collect();
        assert_eq!(sender.send_segmented(&payload, longest), Ok(payload.len()));
        let frame = capture.next();
        assert!(frame.payload() == payload, "{frame:?}");
        assert_eq!(frame.meta.segmentation, Segmentation::Datagrams(longest as u16));
        let refused = sender.send_segmented(&payload, longest + 1);
        let known = [Err(nix::Error::EINVAL), Err(nix::Error::EMSGSIZE)];
        assert!(known.contains(&refused), "{refused:?}");
        println!("one byte more than fits: {refused:?}");
    }
}

#[test]
fn sixty_four_segments_are_the_most() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[GROUP]);
    let sender = Sender::new(&cable.near, "a", GROUP);
    assert_eq!(sender.send_segmented(&[1; 64 * 100], 100), Ok(6400));
    assert_eq!(capture.next().payload().len(), 6400);
    println!("65 segments: {:?}", sender.send_segmented(&[1; 65 * 100], 100));
}

#[test]
fn it_leaves_by_its_interface_whatever_routes_say() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    cable.add("c", "d", 19);
    // The kernel would take the first for all of these.
    cable.near.ip("route add 10.77.0.0/24 dev a");
    cable.near.ip("route add default dev a");
    cable.far.ip("addr add 10.77.0.2/24 dev d");
    let targets = [GROUP, GROUP_V6, "10.77.0.2:5002"];
    let second = Capture::start(&cable.far, "d", 1, &targets);
    let first = Capture::start(&cable.far, "b", 1, &targets);
    for to in targets {
        let source = (!to.starts_with('[')).then(|| "10.19.0.1".parse().unwrap());
        let options = EgressOptions { source, ..output(to) };
        Sender::with(&cable.near, "c", &options).send(to.as_bytes());
        assert_eq!(second.next().payload(), to.as_bytes());
    }
    Sender::new(&cable.near, "a", GROUP).send(b"by the first");
    assert_eq!(first.until(b"by the first").len(), 1);
}

#[test]
fn a_receiver_on_the_same_host_sees_it_too() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let receiver = cable.near.run(|| {
        let socket = std::net::UdpSocket::bind(GROUP).unwrap();
        let (group, interface) = ("239.2.2.2".parse().unwrap(), "10.9.0.1".parse().unwrap());
        socket.join_multicast_v4(&group, &interface).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    });
    Sender::new(&cable.near, "a", GROUP).send(b"here too");
    let mut bytes = [0; 16];
    assert_eq!(uninterrupted(|| receiver.recv(&mut bytes)).unwrap(), 8);
}

#[test]
fn a_peers_answers_are_not_kept_and_its_refusal_costs_no_datagram() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let sender = Sender::new(&cable.near, "a", HOST);
    let descriptor = sender.0.as_raw_fd();
    let host = cable.far.run(|| UdpSocket::bind(HOST).unwrap());
    host.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = [0; 16];
    sender.send(b"hello");
    let (_, from) = uninterrupted(|| host.recv_from(&mut bytes)).unwrap();
    host.send_to(b"answer", from).unwrap();
    drop(host);
    // Nobody has the port any more, and the host says so each time.
    let capture = Capture::start(&cable.far, "b", 1, &[HOST]);
    for _ in 0..100 {
        sender.send(b"again");
        assert_eq!(capture.next().payload(), b"again");
    }
    let kept = recv(descriptor, &mut bytes, MsgFlags::MSG_DONTWAIT);
    assert_eq!(kept, Err(nix::Error::EAGAIN));
}

fn refusal(namespace: &Namespace, name: &str, options: EgressOptions) -> EgressError {
    let interface = namespace.interface(name);
    namespace.run(|| EgressSocket::open(&interface, &options)).unwrap_err()
}

#[test]
fn what_stands_in_the_way_is_named() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let source = |text: &str| Some(text.parse().unwrap());
    for (to, from) in [(GROUP, "10.9.0.99"), (GROUP_V6, "fd09::99")] {
        let options = EgressOptions { source: source(from), ..output(to) };
        let error = refusal(&cable.near, "a", options);
        assert!(matches!(error, EgressError::SourceNotLocal { .. }), "{error}");
        assert!(error.to_string().contains(from), "{error}");
    }
    let error = refusal(&cable.near, "a", output("[fd77::1]:1"));
    assert!(matches!(error, EgressError::NoRoute { .. }), "{error}");
    cable.near.ip("link add name bare type veth peer name bare-peer");
    for name in ["bare", "a"] {
        cable.near.ip(&format!("link set dev {name} down"));
        for to in [GROUP, GROUP_V6, HOST] {
            let error = refusal(&cable.near, name, output(to));
            assert!(matches!(error, EgressError::NoRoute { .. }), "{name} {to}: {error:?}");
        }
    }
    cable.near.ip("link set dev bare up");
    cable.near.ip("link set dev bare-peer up");
    let interface = cable.near.interface("a");
    cable.near.ip("link del dev a");
    let gone = cable.near.run(|| EgressSocket::open(&interface, &output(GROUP))).unwrap_err();
    assert!(matches!(gone, EgressError::Missing { .. }), "{gone}");
    // Up, but without any IPv4 address: there is nothing to send from.
    let error = refusal(&cable.near, "bare", output(GROUP));
    assert!(matches!(error, EgressError::NoRoute { .. }), "{error:?}");
}
