//! The process that opens sockets for a relay that has given its privileges up.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringtide::sys::fd_passing::Channel;
use serde_json::{Value, json};

use crate::common::{Namespace, RINGTIDE, connect, eventually, file, switched_off};
use crate::relay::control::{ctl_fails, ctl_text, get, stats};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{pass, payloads};
use crate::relay::traffic::{Steady, ends, rule};

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
    let head = "workers = 1\n[control]\nsocket = \"control.sock\"\n[relay]\n";
    let (directory, path, hop) = Hop::with_file(line.hop(1), format!("{head}{}", rule(1)));
    let socket = directory.path().join("control.sock");
    assert!(get(&socket, "/metrics").contains("\nringtide_broker_up 1\n"));
    let steady = Steady::start(ends(&line, 1));
    kill(Pid::from_raw(broker_of(&hop) as i32), Signal::SIGKILL).unwrap();
    let event = hop.event("the socket broker ended");
    assert_eq!(event["level"], "ERROR");
    assert!(get(&socket, "/metrics").contains("\nringtide_broker_up 0\n"));
    assert_eq!(stats(&socket)["process"]["privileges"]["broker"], "ended");
    let text = ctl_text(&socket, &["stats"]);
    assert!(text.contains(&format!("broker {} (ended)", broker_of(&hop))), "{text}");
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

/// A rule that takes from an interface that no rule of a file names.
const ADD: [&str; 6] =
    ["rules", "add", "--input", "239.1.1.2:5001@left2", "--output", "239.2.2.1:5002@right"];

#[test]
fn a_broker_that_does_not_answer_is_told_and_taken_back_when_it_does() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
    let head = "workers = 1\n[control]\nsocket = \"control.sock\"\n[privileges]\n\
                interfaces = [\"left2\"]\n[relay]\n";
    let (directory, _path, hop) = Hop::with_file(line.hop(1), format!("{head}{}", rule(1)));
    let socket = directory.path().join("control.sock");
    let steady = Steady::start(ends(&line, 1));
    let broker = Pid::from_raw(broker_of(&hop) as i32);
    kill(broker, Signal::SIGSTOP).unwrap();
    for _ in 0..2 {
        let told = ctl_fails(&socket, &ADD);
        assert!(told.contains("the socket broker does not answer within 3 s"), "{told}");
    }
    let silent = "the socket broker does not answer; what is open goes on";
    hop.event(silent);
    assert_eq!(stats(&socket)["process"]["privileges"]["broker"], "silent");
    assert!(ctl_text(&socket, &["stats"]).contains(&format!("broker {broker} (does not answer)")));
    assert!(get(&socket, "/metrics").contains("\nringtide_broker_up 0\n"));
    kill(broker, Signal::SIGCONT).unwrap();
    hop.event("the socket broker answers again");
    assert!(get(&socket, "/metrics").contains("\nringtide_broker_up 1\n"));
    ctl_text(&socket, &ADD);
    assert_eq!(hop.events_of(silent).len(), 1);
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
        command.stderr(Stdio::piped());
        let child = space.run(|| command.spawn().unwrap());
        // The command holds the other end, too, until it goes.
        drop(command);
        let broker = Self { child, channel };
        assert_eq!(broker.receive(), (json!("ready"), 0));
        broker
    }

    /// Ends it and returns what it logged.
    fn stop(self) -> String {
        let Self { child, channel } = self;
        drop(channel);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
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
    broker.stop();
}

#[test]
fn the_broker_goes_by_the_file_not_by_what_it_is_told() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let space = line.hop(1);
    let left = space.interface("left").index;
    let (directory, path) = file("r.toml", "[relay]\n[privileges]\ninterfaces = [\"lo\"]\n");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(".", &link).unwrap();
    let broker = Broker::start(space, &format!("run -c {}", link.join("r.toml").display()));
    assert_eq!(broker.packets("lo", 1, 1), (json!({ "opened": { "left": 0 } }), 1));
    assert!(is_denied(&broker.packets("left", left, 1)));
    fs::write(&path, format!("[relay]\n{}", rule(1))).unwrap();
    assert_eq!(broker.packets("left", left, 1), (json!({ "opened": { "left": 0 } }), 1));
    broker.stop();
}

/// Gives a file and its directory to a user.
fn chown(path: &str, user: u32) {
    for path in [Path::new(path), Path::new(path).parent().unwrap()] {
        std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    }
}

const OPENED: &str = r#"{"opened":{"left":0}}"#;

#[test]
fn the_broker_goes_by_no_rule_that_its_relay_could_have_written() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let space = line.hop(1);
    let left = space.interface("left").index;
    let head = "[relay]\n[privileges]\nuser = \"1234\"\n";
    let (_directory, path) = file("r.toml", head);
    chown(&path, 1234);
    let broker = Broker::start(space, &format!("run -c {path}"));
    let more = format!("{head}interfaces = [\"lo\"]\n{}", rule(1));
    fs::write(&path, &more).unwrap();
    let denied = broker.packets("left", left, 1);
    assert!(is_denied(&denied), "{denied:?}");
    let reason = denied.0["denied"]["reason"].as_str().unwrap();
    assert!(reason.contains("belongs to the user that ringtide runs as"), "{reason}");
    assert!(reason.contains("and restart ringtide"), "{reason}");
    // A file of root counts for nothing where anybody may put another in its place.
    std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
    assert!(is_denied(&broker.packets("left", left, 1)));
    chown(&path, 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let denied = broker.packets("left", left, 1);
    assert!(denied.0.to_string().contains("can be written to by others"), "{denied:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(broker.packets("left", left, 1).0.to_string(), OPENED);
    // Interfaces on which everything goes are those of the start, whoever wrote them.
    assert!(is_denied(&broker.packets("lo", 1, 1)));
    assert!(is_denied(&broker.output("lo", 1, "127.0.0.1:5")));
    broker.stop();
}

#[test]
fn a_relay_cannot_widen_its_rights_through_its_own_file() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
    let head = "workers = 1\n[control]\nsocket = \"control.sock\"\n[privileges]\n\
                user = \"1234\"\n";
    let text = format!("{head}[relay]\n{}", rule(1));
    let (directory, path) = file("r.toml", &text);
    chown(&path, 1234);
    let hop = Hop::configured(line.hop(1), &path);
    let socket = directory.path().join("control.sock");
    for text in [text.clone(), text.replace("[relay]", "interfaces = [\"left2\"]\n[relay]")] {
        fs::write(&path, text).unwrap();
        let told = ctl_fails(&socket, &ADD);
        assert!(told.contains("restart ringtide"), "{told}");
    }
    hop.stop();
}

#[test]
fn with_what_the_documentation_asks_for_a_rule_is_added_and_saved() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let head = "workers = 1\n[control]\nsocket = \"control.sock\"\n[privileges]\n\
                user = \"1234\"\ninterfaces = [\"left\", \"right\"]\n[relay]\n";
    let (directory, path) = file("r.toml", head);
    chown(&path, 1234);
    let hop = Hop::configured(line.hop(1), &path);
    let socket = directory.path().join("control.sock");
    let add = ["rules", "add", "--name", "r1", "--input", "239.1.1.1:5001@left"];
    ctl_text(&socket, &[&add[..], &["--output", "239.2.2.1:5002@right"]].concat());
    let written = ctl_text(&socket, &["config", "save"]);
    assert!(written.contains(&path), "{written}");
    let (from, to) = ends(&line, 1);
    pass(&from, &[&to], &payloads(50, 500), None);
    hop.stop().assert_passed("r1", 50, 25_000);
    assert!(fs::read_to_string(&path).unwrap().contains("239.2.2.1:5002@right"));
}

#[test]
fn a_denial_is_told_once_until_the_rules_change() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let space = line.hop(1);
    let left = space.interface("left").index;
    let (_directory, path) = file("r.toml", "[relay]\n");
    let broker = Broker::start(space, &format!("run -c {path}"));
    let ask = || {
        for _ in 0..5 {
            assert!(is_denied(&broker.packets("lo", 1, 1)));
            assert!(is_denied(&broker.output("left", left, "239.2.2.1:5002")));
        }
    };
    ask();
    fs::write(&path, format!("[relay]\n{}", rule(1))).unwrap();
    ask();
    let log = broker.stop();
    assert_eq!(log.matches("denies a request").count(), 4, "{log}");
}
