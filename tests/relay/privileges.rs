//! The process that opens sockets for a relay that has given its privileges up.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringtide::net::passing::Channel;
use serde_json::{Value, json};

use crate::common::{Namespace, RINGTIDE, connect, eventually, file, switched_off};
use crate::hop::Hop;
use crate::line::Line;
use crate::ports::{pass, payloads};
use crate::traffic::{Steady, ends, rule};

fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The broker of a relay, which tells its process ID.
fn broker_of(hop: &Hop) -> u32 {
    let event = hop.event("privileges: ");
    event["message"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_relay_has_nothing_and_the_broker_two_capabilities() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let hop = Hop::relay(line.hop(1), "--input 239.1.1.1:5001@left --output 239.2.2.1:5002@right");
    let broker = broker_of(&hop);
    assert_eq!(status(broker, "Name"), "ringtide-broker");
    assert_eq!(status(broker, "PPid"), hop.pid().to_string());
    // CAP_NET_ADMIN is 12 and CAP_NET_RAW 13 (capabilities(7)).
    let (none, two) = ("0000000000000000", "0000000000003000");
    for (pid, some) in [(hop.pid(), none), (broker, two)] {
        for (set, value) in [
            ("CapInh", none),
            ("CapPrm", some),
            ("CapEff", some),
            ("CapBnd", some),
            ("CapAmb", none),
        ] {
            assert_eq!(status(pid, set), value, "{set}");
        }
        assert!(!status(pid, "Uid").split(' ').any(|uid| uid == "0"));
        assert_eq!((status(pid, "NoNewPrivs"), status(pid, "Seccomp")), ("1".into(), "2".into()));
    }
    let (from, to) = ends(&line, 1);
    pass(&from, &[&to], &payloads(50, 500), None);
    hop.stop().assert_passed("rule-1", 50, 25_000);
    let gone = || (!fs::exists(format!("/proc/{broker}")).unwrap()).then_some(());
    eventually("the broker to end with its relay", gone);
}

/// Waits for the `nth` reload that changes nothing, for this reason.
#[track_caller]
fn refused(hop: &Hop, nth: usize, reason: &str) {
    let event = hop.nth_event("reload failed, everything in force stays", nth);
    let message = event["message"].as_str().unwrap();
    assert!(event["level"] == "ERROR" && message.contains(reason), "{event}");
    let taken = hop.events_of("configuration reloaded");
    assert!(taken.is_empty(), "{taken:?}");
}

#[test]
fn a_killed_broker_is_told_and_what_is_open_goes_on() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let head = "workers = 1\n[relay]\n";
    let (_directory, path, hop) = Hop::with_file(line.hop(1), format!("{head}{}", rule(1)));
    let steady = Steady::start(ends(&line, 1));
    kill(Pid::from_raw(broker_of(&hop) as i32), Signal::SIGKILL).unwrap();
    let event = hop.event("the socket broker ended");
    assert_eq!(event["level"], "ERROR");
    assert!(event["message"].as_str().unwrap().contains("signal: 9"), "{event}");
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
    let other = rule(2).replace("@left", "@left2");
    fs::write(&path, format!("{head}{}{other}", rule(1))).unwrap();
    hop.reload();
    refused(&hop, 1, "no packet socket on left2: the socket broker is gone");
    fs::write(&path, format!("{head}{}{}", rule(1), rule(2))).unwrap();
    hop.reload();
    refused(&hop, 2, "no socket to send to 239.2.2.2:5002 from right: the socket broker is gone");
    steady.finish(hop, "r1");
}

#[test]
fn without_a_broker_what_was_open_goes_on_and_the_rest_says_why() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let head = "workers = 1\n[privileges]\nbroker = false\n[relay]\n";
    let (_directory, path, hop) = Hop::with_file(line.hop(1), format!("{head}{}", rule(1)));
    let steady = Steady::start(ends(&line, 1));
    assert!(hop.event("privileges: ")["message"].as_str().unwrap().ends_with("broker none"));
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
    let other = rule(2).replace("@left", "@left2");
    fs::write(&path, format!("{head}{}{other}", rule(1))).unwrap();
    hop.reload();
    refused(&hop, 1, "no permission to receive frames from left2");
    steady.finish(hop, "r1");
}

/// A broker whose relay is this test.
struct Broker {
    child: Child,
    channel: Channel,
}

impl Broker {
    fn start(space: &Namespace, arguments: &str) -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        let mut command = Command::new(RINGTIDE);
        command.arg("socket-broker").args(arguments.split_whitespace());
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let child = space.run(|| command.spawn().unwrap());
        // The command holds the other end, too, until it goes.
        drop(command);
        let broker = Self { child, channel };
        assert_eq!(broker.receive(), (json!("ready"), 0));
        broker
    }

    fn receive(&self) -> (Value, usize) {
        let message = self.channel.receive().unwrap().unwrap();
        (serde_json::from_slice(&message.bytes).unwrap(), message.descriptors.len())
    }

    fn ask(&self, request: &str) -> (Value, usize) {
        self.channel.send(request.as_bytes(), &[]).unwrap();
        self.receive()
    }

    fn packets(&self, interface: &str, index: u32, count: usize) -> (Value, usize) {
        let body = json!({
            "interface": interface, "index": index, "count": count, "receive_buffer_bytes": 65_536
        });
        self.ask(&json!({ "packets": body }).to_string())
    }

    fn output(&self, interface: &str, index: u32, to: &str) -> (Value, usize) {
        let options = json!({
            "to": to, "source": null, "ttl": null, "dscp": 0, "send_buffer_bytes": 65_536
        });
        let body = json!({ "interface": interface, "index": index, "options": options });
        self.ask(&json!({ "output": body }).to_string())
    }
}

fn is_denied((reply, sockets): &(Value, usize)) -> bool {
    reply["denied"]["reason"].is_string() && *sockets == 0
}

#[test]
fn the_broker_opens_what_is_configured_and_nothing_else() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let space = line.hop(1);
    let (left, right) = (space.interface("left").index, space.interface("right").index);
    let broker =
        Broker::start(space, "relay --input 239.1.1.1:5001@left --output 239.2.2.1:5002@right");
    // One in each message, so that one that cannot be received is the only one that is lost.
    let mut reply = broker.packets("left", left, 100);
    for left in (0..100).rev() {
        assert_eq!(reply, (json!({ "opened": { "left": left } }), 1));
        if left > 0 {
            reply = broker.receive();
        }
    }
    let configured = "239.2.2.1:5002";
    assert_eq!(broker.output("right", right, configured), (json!({ "opened": { "left": 0 } }), 1));
    assert_eq!(broker.packets("left", left + 1000, 1), (json!("missing"), 0));
    for denied in [
        broker.packets("right", right, 1),
        broker.packets("lo", 1, 1),
        broker.packets("left", left, 100_000),
        broker.output("right", right, "239.2.2.1:5003"),
        broker.output("left", left, configured),
        broker.output("right", right, "239.2.2.1:0"),
        broker.ask("{\"execute\":\"/bin/sh\"}"),
        broker.ask(&"[".repeat(4000)),
    ] {
        assert!(is_denied(&denied), "{denied:?}");
    }
    // Descriptors that nobody asked for are closed.
    let (mine, theirs) = Channel::pair().unwrap();
    broker.channel.send(b"{}", &[std::os::fd::AsFd::as_fd(&theirs)]).unwrap();
    drop(theirs);
    assert!(is_denied(&broker.receive()));
    assert!(mine.receive().unwrap().is_none());
    let Broker { mut child, channel } = broker;
    drop(channel);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_broker_goes_by_the_file_not_by_what_it_is_told() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let space = line.hop(1);
    let left = space.interface("left").index;
    let (_directory, path) = file("r.toml", "[relay]\n[privileges]\ninterfaces = [\"lo\"]\n");
    let broker = Broker::start(space, &format!("run -c {path}"));
    assert_eq!(broker.packets("lo", 1, 1), (json!({ "opened": { "left": 0 } }), 1));
    assert!(is_denied(&broker.packets("left", left, 1)));
    fs::write(&path, format!("[relay]\n{}", rule(1))).unwrap();
    assert_eq!(broker.packets("left", left, 1), (json!({ "opened": { "left": 0 } }), 1));
    let Broker { mut child, channel } = broker;
    drop(channel);
    assert!(child.wait().unwrap().success());
}
