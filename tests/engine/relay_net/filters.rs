//! What the filter keeps out.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::socket::{MsgFlags, recv, send};

use super::capture::{Capture, Sender, filter, open};
use crate::common::{Cable, eventually, raw_socket, switched_off};

const KEPT: &str = "239.1.1.1:5001";
const KEPT_V6: &str = "[ff15::1]:5001";

#[test]
fn only_wanted_frames_arrive() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[KEPT, KEPT_V6]);
    for unwanted in
        ["239.1.1.1:5002", "239.1.1.2:5001", "[ff15::1]:5002", "[ff15::2]:5001", "10.9.0.2:5001"]
    {
        let sender = Sender::new(&cable.near, "a", unwanted);
        sender.send(b"unwanted");
        if unwanted.starts_with("239.1.1.2") {
            sender.send(&[0; 4000]);
        }
    }
    for (to, text) in [(KEPT_V6, b"six "), (KEPT, b"four")] {
        Sender::new(&cable.near, "a", to).send(text);
    }
    let payloads: Vec<_> =
        capture.until(b"four").iter().map(|frame| frame.payload().to_vec()).collect();
    assert_eq!(payloads, [b"six ", b"four"]);
}

#[test]
fn replacing_the_filter_loses_nothing_that_both_want() {
    if switched_off() {
        return;
    }
    const REPLACEMENTS: usize = 300;
    const PER_REPLACEMENT: usize = 20;
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 2, &[KEPT]);
    let steady = Sender::new(&cable.near, "a", KEPT);
    let other = "239.7.7.7:7";
    let sometimes = Sender::new(&cable.near, "a", other);
    // How many may be sent by now: an endless stream would only fill the queues on the way.
    let allowance = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..REPLACEMENTS * PER_REPLACEMENT {
                while number >= allowance.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                steady.send(&number.to_be_bytes());
                sometimes.send(b"sometimes");
            }
        });
        for round in 0..REPLACEMENTS {
            allowance.fetch_add(PER_REPLACEMENT, Ordering::Relaxed);
            let both = [KEPT, other];
            let filter = filter(&both[..1 + round % 2]);
            for socket in &capture.sockets {
                socket.replace_filter(&filter).unwrap();
            }
        }
    });
    steady.send(b"the end");
    let frames = capture.until(b"the end");
    let steady: Vec<_> = frames
        .iter()
        .filter(|frame| frame.destination() == KEPT.parse().unwrap())
        .map(|frame| frame.payload().to_vec())
        .collect();
    let expected: Vec<_> = (0..REPLACEMENTS * PER_REPLACEMENT)
        .map(|number| number.to_be_bytes().to_vec())
        .chain([b"the end".to_vec()])
        .collect();
    let drops: u64 = capture.sockets.iter().map(|socket| socket.kernel_drops()).sum();
    assert_eq!(drops, 0);
    assert!(steady == expected, "{} of {} arrived", steady.len(), expected.len());
}

#[test]
fn what_was_unwanted_arrives_once_it_is_wanted() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[KEPT]);
    let (kept, other) =
        (Sender::new(&cable.near, "a", KEPT), Sender::new(&cable.near, "a", "239.7.7.7:7"));
    other.send(b"early");
    kept.send(b"first");
    assert_eq!(capture.until(b"first").len(), 1);
    capture.sockets[0].replace_filter(&filter(&["239.7.7.7:7"])).unwrap();
    kept.send(b"late");
    other.send(b"second");
    assert_eq!(capture.until(b"second").len(), 1);
}

#[test]
fn tagged_frames_do_not_pass() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let capture = Capture::start(&cable.far, "b", 1, &[KEPT]);
    let plain = Sender::new(&cable.near, "a", KEPT);
    plain.send(b"untagged one");
    let untagged = capture.next().frame;
    // Sees everything that arrives at the interface.
    let witness = raw_socket(&cable.far, "b");
    let sender = raw_socket(&cable.near, "a");
    let tag = |protocol: u16, id: u16| [protocol.to_be_bytes(), id.to_be_bytes()].concat();
    let tags = [
        tag(0x8100, 10),
        tag(0x8100, 0),
        tag(0x88a8, 20),
        [tag(0x88a8, 20), tag(0x8100, 30)].concat(),
    ];
    for (round, tag) in tags.iter().enumerate() {
        let mark = format!("tagged frame {round}");
        let payload = untagged.len() - b"untagged one".len();
        let frame = [&untagged[..12], tag, &untagged[12..payload], mark.as_bytes()].concat();
        send(sender.as_raw_fd(), &frame, MsgFlags::empty()).unwrap();
        eventually("the tagged frame at the other end", || {
            let mut bytes = [0; 2048];
            let length = recv(witness.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).ok()?;
            bytes[..length].ends_with(mark.as_bytes()).then_some(())
        });
    }
    plain.send(b"untagged two");
    let frames = capture.until(b"untagged two");
    assert_eq!(frames.len(), 1, "{frames:?}");
}

#[test]
fn a_filter_of_many_rules_is_taken_by_the_kernel() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let group = open(&cable.far, "b", 1, &[KEPT]);
    let many: Vec<_> = (0..=255).map(|host| format!("239.1.1.{host}:5001")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    group.sockets[0].replace_filter(&filter(&many)).unwrap();
    let capture = Capture::of(group);
    let sent = ["239.1.1.0:5001", "239.1.2.0:5001", "239.1.1.7:5002", "239.1.1.255:5001"];
    for to in sent {
        Sender::new(&cable.near, "a", to).send(to.as_bytes());
    }
    let arrived: Vec<_> = capture
        .until(sent[3].as_bytes())
        .iter()
        .map(|frame| frame.destination().to_string())
        .collect();
    assert_eq!(arrived, [sent[0], sent[3]]);
}
