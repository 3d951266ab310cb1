//! More than a process can take: what is lost is counted where it is lost, to the datagram, and
//! nobody loses who sent little.
//!
//! The process is stopped meanwhile (SIGSTOP), so that what overflows does so on any machine.

use std::net::UdpSocket;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{Namespace, connect, eventually, stop, switched_off};
use crate::relay::hop::{Hop, Summary};
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, payloads, receive, receiver, sender};

/// Rules from two interfaces to one, and a tracker, on one worker with small buffers.
const FILE: &str = r#"
workers = 1
[tracker]
listen = ["127.0.0.1:0"]
receive_buffer = "64KiB"
[relay]
receive_buffer = "256KiB"
[[relay.rule]]
name = "flooded"
input = "239.1.1.1:5001@left"
outputs = [{ to = "239.2.2.1:5002@right" }]
[[relay.rule]]
name = "quiet"
input = "239.1.1.2:5001@left2"
outputs = [{ to = "239.2.2.2:5002@right" }]
"#;

#[test]
fn what_is_too_much_is_accounted_for_and_costs_nobody_else() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
    let (_directory, _, hop) = Hop::with_file(line.hop(1), FILE);
    let flood = sender(line.source(), "right", "239.1.1.1:5001");
    let quiet = sender(line.source(), "right2", "239.1.1.2:5001");
    let flooded = receiver(line.sink(), "left", "239.2.2.1:5002");
    let unharmed = receiver(line.sink(), "left", "239.2.2.2:5002");
    let address = hop.tracker();
    let client = line.hop(1).run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    client.connect(address).unwrap();
    let crowd = line.hop(1).run(|| UdpSocket::bind("127.0.0.2:0").unwrap());
    crowd.connect(address).unwrap();
    // What the kernel announced of itself before the other end was up did not get through either.
    let before = tx_drops(line.source(), "right");

    // Neighbours get to know each other first.
    let mut sent = send_through((&flood, &flooded), (b"one", b"two"), same);
    let few = payloads(50, 300);
    pass_one_by_one(&quiet, &unharmed, &few[..1]);
    stop(hop.pid());
    for payload in &payloads(FLOOD, 300) {
        flood.send(payload).unwrap();
        crowd.send(&connect_request(6)).unwrap();
    }
    sent += FLOOD;
    few.iter().for_each(|payload| assert!(quiet.send(payload).is_ok()));
    kill(Pid::from_raw(hop.pid() as i32), Signal::SIGCONT).unwrap();

    few.iter().for_each(|payload| assert!(receive(&unharmed) == *payload, "in order, all of it"));
    // What is behind the flood arrives behind what is left of it.
    sent += send_through((&flood, &flooded), (b"three", b"four"), same);
    let requests = [connect_request(7), connect_request(8)];
    let asked = send_through((&client, &client), (&requests[0], &requests[1]), answers);
    assert_empty(&unharmed);
    let on_the_cable = tx_drops(line.source(), "right") - before;
    let summary = hop.stop();
    assert_relay(&summary, sent, on_the_cable);
    assert_tracker(&summary, FLOOD + asked);
    assert_eq!(summary.input("quiet").packets, 51);
    assert_eq!(summary.outputs("quiet")[0].packets, 51);
}

/// Sent is lost on the cable, lost in the socket, or taken; taken is sent on.
fn assert_relay(summary: &Summary, sent: usize, on_the_cable: u64) {
    let (input, output) = (summary.input("flooded"), summary.outputs("flooded").remove(0));
    let line = summary.lines("relay summary").remove(0);
    let kernel_drops = line["kernel_drops"].as_u64().unwrap();
    assert!(kernel_drops > 0, "nothing overflowed: the test shows nothing");
    assert_eq!(line["drops"], "0");
    assert_eq!((&*input.drops, &*output.drops), ("0", "0"));
    let lost = (on_the_cable, kernel_drops);
    assert_eq!(sent as u64, on_the_cable + kernel_drops + input.packets, "{lost:?} {input:?}");
    assert_eq!(input.packets, output.packets);
}

/// Sent is lost in the socket or taken; taken is answered.
fn assert_tracker(summary: &Summary, sent: usize) {
    let line: Value = summary.lines("summary").remove(0);
    let number = |name: &str| line[name].as_u64().unwrap();
    assert!(number("kernel_drops") > 0, "nothing overflowed: the test shows nothing");
    assert_eq!(number("received") + number("kernel_drops"), sent as u64);
    assert_eq!((number("sent"), line["drops"].as_str()), (number("received"), Some("0")));
}

/// Sends datagram `first` until one of them has gone through, and then `last` behind everything:
/// when that is through, nothing waits any more. `of` says what comes of a datagram. Returns how
/// many were sent.
fn send_through<'a>(
    (from, to): (&UdpSocket, &UdpSocket),
    (first, last): (&'a [u8], &'a [u8]),
    of: impl Fn(&'a [u8], &[u8]) -> bool,
) -> usize {
    let mut sent = 0;
    let mut received = [0; 2048];
    to.set_nonblocking(true).unwrap();
    eventually("what is sent behind the flood", || {
        from.send(first).unwrap();
        sent += 1;
        while let Ok(length) = to.recv(&mut received) {
            if of(first, &received[..length]) {
                return Some(());
            }
        }
        None
    });
    to.set_nonblocking(false).unwrap();
    from.send(last).unwrap();
    while !of(last, &receive(to)) {}
    sent + 1
}

fn same(sent: &[u8], received: &[u8]) -> bool {
    sent == received
}

/// Whether a response belongs to a request, by its transaction ID.
fn answers(request: &[u8], response: &[u8]) -> bool {
    request[12..] == response[4..8]
}

fn pass_one_by_one(from: &UdpSocket, to: &UdpSocket, payloads: &[Vec<u8>]) {
    for payload in payloads {
        from.send(payload).unwrap();
        assert!(receive(to) == *payload);
    }
}

/// What did not get through a cable, by the counter of the end that sends (/proc/net/dev).
fn tx_drops(space: &Namespace, interface: &str) -> u64 {
    let text = space.proc_net("dev");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    line.unwrap().split_whitespace().nth(11).unwrap().parse().unwrap()
}

/// Far more than fits into the receive buffers.
const FLOOD: usize = 5000;

/// A connect request (BEP 15).
fn connect_request(transaction: u8) -> [u8; 16] {
    [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, transaction]
}
