//! Packet sockets that come from another process.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};
use ringtide::sys::fd_bundle::{FdBundle, Inherited, Purpose, Unfit};
use ringtide::sys::interface::Interface;
use ringtide::sys::packet_socket::{adopt_group, adopt_receiving, open_silent};

use super::capture::{Capture, Sender, filter};
use crate::common::{Cable, Namespace, eventually, raw_socket, switched_off};

const GROUP: &str = "239.1.1.1:5001";
const BUFFER_BYTES: usize = 1 << 20;

fn opened(space: &Namespace, interface: &Interface, count: usize) -> Vec<OwnedFd> {
    space.run(|| open_silent(interface, count, BUFFER_BYTES)).unwrap()
}

fn copies(sockets: &[OwnedFd]) -> Vec<OwnedFd> {
    sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned().unwrap()).collect()
}

/// As they come from a process that says they are of this interface.
fn inherited(interface: &Interface, sockets: Vec<OwnedFd>) -> Inherited {
    let (interface, index) = (interface.name.clone(), interface.index);
    Inherited::new([FdBundle { purpose: Purpose::Packets { interface, index }, sockets }])
}

#[test]
fn what_waits_in_them_arrives_once_at_who_takes_them() {
    if switched_off() {
        return;
    }
    const FLOWS: usize = 16;
    const FRAMES: usize = 20;
    let cable = Cable::new();
    let interface = cable.far.interface("b");
    let sockets = opened(&cable.far, &interface, 2);
    let mut inherited = inherited(&interface, copies(&sockets));
    let before = adopt_group(&interface, sockets, BUFFER_BYTES, &filter(&[GROUP])).unwrap();
    let senders: Vec<_> = (0..FLOWS).map(|_| Sender::new(&cable.near, "a", GROUP)).collect();
    for frame in 0..FRAMES {
        senders.iter().for_each(|sender| sender.send(&[frame as u8]));
        if frame == FRAMES / 2 {
            // From here on nobody but the successor has them.
            before.sockets.iter().for_each(|socket| socket.leave_to_successor());
        }
    }
    drop(before);
    let taken = cable.far.run(|| inherited.take_packets(&interface, 2)).unwrap().unwrap();
    let wanted = filter(&[GROUP, "239.1.1.2:5001"]);
    let group = adopt_receiving(&interface, taken, 2 * BUFFER_BYTES, &wanted).unwrap();
    assert_eq!(group.receive_buffer_short, None, "it was made larger");
    let size = getsockopt(&group.sockets[0], sockopt::RcvBuf).unwrap();
    assert_eq!(size, 4 * BUFFER_BYTES, "the kernel doubles it");
    let capture = Capture::of(group);
    let other = Sender::new(&cable.near, "a", "239.1.1.2:5001");
    let mut flows: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    for _ in 0..FLOWS * FRAMES {
        let frame = capture.next();
        flows.entry(frame.source().port()).or_default().push(frame.payload()[0]);
    }
    assert_eq!(flows.len(), FLOWS);
    assert!(flows.values().all(|numbers| numbers.iter().copied().eq(0..FRAMES as u8)));
    other.send(b"new");
    assert_eq!(
        capture.next().payload(),
        b"new",
        "its own filter is in force, and nothing else came"
    );
}

#[test]
fn what_the_kernel_drops_is_counted_by_one_of_both() {
    if switched_off() {
        return;
    }
    const FRAMES: u64 = 200;
    let cable = Cable::new();
    let interface = cable.far.interface("b");
    let sockets = cable.far.run(|| open_silent(&interface, 1, 4096)).unwrap();
    let wanted = filter(&[GROUP]);
    let copies = copies(&sockets);
    let before = adopt_group(&interface, sockets, 4096, &wanted).unwrap().sockets.remove(0);
    let after = adopt_receiving(&interface, copies, 4096, &wanted).unwrap().sockets.remove(0);
    let sender = Sender::new(&cable.near, "a", GROUP);
    (0..FRAMES).for_each(|_| sender.send(&[7; 1000]));
    let dropped = eventually("a drop", || Some(before.kernel_drops()).filter(|drops| *drops > 0));
    before.leave_to_successor();
    let dropped = dropped.max(before.kernel_drops());
    (0..FRAMES).for_each(|_| sender.send(&[7; 1000]));
    eventually("all others", || {
        // The buffer is full: of the last ones each is dropped.
        (after.kernel_drops() + dropped >= 2 * FRAMES - 16).then_some(())
    });
    assert_eq!(before.kernel_drops(), dropped);
    drop(before);
    assert!(after.kernel_drops() + dropped <= 2 * FRAMES);
}

#[test]
fn what_is_said_of_them_is_not_believed() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    cable.add("c", "d", 10);
    let (far, near) = (&cable.far, &cable.near);
    let [b, d] = ["b", "d"].map(|name| far.interface(name));
    let why = |interface: &Interface, sockets: Vec<OwnedFd>| {
        let mut inherited = inherited(&b, sockets);
        let taken = far.run(|| inherited.take_packets(interface, 2));
        taken.map(|sockets| sockets.map(|sockets| sockets.len())).map_err(|why| why.to_string())
    };
    assert_eq!(why(&b, opened(far, &b, 2)), Ok(Some(2)));
    assert_eq!(why(&d, opened(far, &b, 2)), Ok(None), "nobody spoke of that one");
    let anew = Interface { index: b.index + 1, ..b.clone() };
    assert!(why(&anew, opened(far, &b, 2)).unwrap_err().contains("gone"));
    let mut apart = opened(far, &b, 1);
    apart.extend(opened(far, &b, 1));
    let datagrams = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let no_socket = || std::fs::File::open("/dev/null").unwrap().into();
    let here = Interface { name: "b".to_owned(), ..near.interface("a") };
    for (sockets, reason) in [
        (opened(far, &b, 3), "there are 3 for 2 workers"),
        (opened(far, &d, 2), "not bound to the interface"),
        (apart, "in no fanout group with the others"),
        (vec![datagrams(), datagrams()], "no packet socket"),
        (vec![raw_socket(far, "b"), raw_socket(far, "b")], "does not report enough"),
        (opened(near, &here, 2), "another network namespace"),
        (Vec::new(), "there are 0 for 2 workers"),
        (vec![no_socket(), no_socket()], "cannot be looked at"),
    ] {
        let told = why(&b, sockets).unwrap_err();
        assert!(told.contains(reason), "{told:?} and not {reason:?}");
    }
    // What is not taken stays open until the rest is.
    let mut all = inherited(&b, opened(far, &b, 1));
    for _ in 0..2 {
        let refused = far.run(|| all.take_packets(&b, 2));
        assert!(matches!(refused, Err(Unfit::Workers { sockets: 1, workers: 2 })));
    }
    assert!(far.run(|| all.take_packets(&b, 1)).unwrap().is_some());
    assert!(far.run(|| all.take_packets(&b, 1)).unwrap().is_none());
}
