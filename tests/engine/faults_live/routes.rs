//! MTU, routes, neighbours, groups and rules that change under traffic.

use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{eventually, switched_off};
use crate::faults_live::bed::{Bed, IN, OUT, disturbed, second_input};
use crate::relay::ports::{pass, payloads, receive, receiver, sender};

/// Super-packets that come in, each of which must arrive as datagrams of the same bytes.
fn pass_super_packets(bed: &Bed, segment_bytes: u16) {
    let from = sender(bed.line.source(), "right2", IN);
    let to = receiver(bed.line.sink(), "left2", OUT);
    let sends = payloads(20, 10 * usize::from(segment_bytes));
    pass(&from, &[&to], &sends, Some(segment_bytes));
}

/// Sends that the output needed for the next super-packets.
fn sends_of_super_packets(bed: &Bed) -> u64 {
    let sends = |bed: &Bed| bed.output()["sends"].as_u64().unwrap();
    let before = sends(bed);
    pass_super_packets(bed, 1400);
    sends(bed) - before
}

#[test]
fn the_mtu_of_an_output_falls_below_what_is_sent_and_rises_again() {
    if switched_off() {
        return;
    }
    let mut bed = Bed::start();
    for mtu in [1000, 9000, 1500] {
        bed.line.sink().ip(&format!("link set dev left2 mtu {mtu}"));
        bed.line.hop(1).ip(&format!("link set dev right2 mtu {mtu}"));
        bed.recovered(&format!("MTU of the output set to {mtu}, datagrams of 1,400 bytes"));
    }
    bed.rest();
    eventually("super-packets in one piece", || (sends_of_super_packets(&bed) < 100).then_some(()));
    bed.finish(&[]);
}

/// The control thread hears of an MTU a moment after the first send that is refused because of it.
#[test]
fn what_an_interface_refused_once_is_tried_again_when_it_changed() {
    if switched_off() {
        return;
    }
    let mut bed = Bed::start();
    bed.rest();
    bed.process.binary.stop();
    let from = sender(bed.line.source(), "right2", IN);
    let size = nix::sys::socket::sockopt::UdpGsoSegment;
    nix::sys::socket::setsockopt(&from, size, &1400).unwrap();
    for _ in 0..20 {
        from.send(&[1; 14_000]).unwrap();
    }
    bed.line.hop(1).ip("link set dev right2 mtu 1000");
    // There before the first is sent, as nothing is sent later.
    let to = receiver(bed.line.sink(), "left2", OUT);
    let continued = Instant::now();
    bed.process.binary.signal(Signal::SIGCONT);
    receive(&to);
    crate::faults_live::bed::row("MTU of the output too small for what waits", continued.elapsed());
    bed.line.hop(1).ip("link set dev right2 mtu 1500");
    let kept = || (sends_of_super_packets(&bed) < 100).then_some(());
    eventually("super-packets in one piece", kept);
    bed.finish(&[]);
}

#[test]
fn the_mtu_of_an_input_rises_under_traffic() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    let (from, to) =
        (sender(bed.line.source(), "right2", IN), receiver(bed.line.sink(), "left2", OUT));
    bed.line.hop(1).ip("link set dev left2 mtu 9000");
    bed.line.source().ip("link set dev right2 mtu 9000");
    let large = [9; 8000];
    let started = Instant::now();
    to.set_nonblocking(true).unwrap();
    eventually("a datagram of 8000 bytes", || {
        let _ = from.send(&large);
        let mut bytes = [0; 9000];
        let received = std::iter::repeat_with(|| to.recv(&mut bytes)).map_while(Result::ok);
        received.into_iter().any(|length| length == large.len()).then_some(())
    });
    crate::faults_live::bed::row(
        "MTU of the input raised to 9000: larger datagrams",
        started.elapsed(),
    );
    bed.finish(&[]);
}

/// IPv4 takes a host to be on the cable of the interface that a socket is bound to, whatever the
/// routes say. IPv6 wants a route.
#[test]
fn the_route_to_a_host_goes_and_comes_back() {
    if switched_off() {
        return;
    }
    let bed = Bed::sending("[fd08::2]:5002", 1400);
    let space = bed.line.hop(1);
    for round in 1..=2 {
        space.ip("-6 route del fd08::/64 dev right2");
        bed.process.binary.nth_event("the kernel refuses what is sent", round);
        bed.linger();
        space.ip("-6 route add fd08::/64 dev right2");
        bed.recovered("route of a unicast output removed, added");
        bed.process.binary.nth_event("the kernel takes what is sent again", round);
    }
    assert!(bed.output()["drops"]["output_down"].as_u64() > Some(0), "{}", bed.output());
    bed.finish(&[("the kernel refuses what is sent", 2)]);
}

/// The kernel drops what it holds for a neighbour that does not answer, and tells nobody.
#[test]
fn a_neighbour_falls_silent_and_answers_again() {
    if switched_off() {
        return;
    }
    let bed = Bed::sending("10.8.0.2:5002", 1400);
    let space = bed.line.hop(1);
    bed.line.sink().ip("link set dev left2 arp off");
    space.ip("neigh flush dev right2");
    let lost = || space.run(|| Command::new("ip").args(["neigh", "show"]).output().unwrap());
    eventually("a neighbour that does not answer", || {
        let neighbours = String::from_utf8(lost().stdout).unwrap();
        let silent = |line: &str| {
            line.contains("10.8.0.2") && (line.contains("FAILED") || line.contains("INCOMPLETE"))
        };
        neighbours.lines().any(silent).then_some(())
    });
    bed.line.sink().ip("link set dev left2 arp on");
    bed.recovered("neighbour of a unicast output silent, answers");
    bed.finish(&[]);
}

#[test]
fn a_rule_is_removed_and_added() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    let igmp = || bed.line.hop(1).proc_net("igmp");
    assert!(igmp().contains("020101EF"), "{}", igmp());
    bed.process.ctl_text("rules remove r2");
    eventually("the group to be left", || (!igmp().contains("020101EF")).then_some(()));
    bed.linger();
    let file = bed.process.path("rules.toml");
    std::fs::write(&file, format!("[relay]\n{}", disturbed(OUT))).unwrap();
    let rule = format!("--name r2 --input {IN}@left2 --output {OUT}@right2");
    bed.process.ctl_text(&format!("rules add {rule}"));
    assert!(igmp().contains("020101EF"), "{}", igmp());
    bed.recovered("rule removed, added: the group left and joined");
    bed.finish(&[]);
}

/// Without the broker nothing can be opened: it is told once, however often it is tried.
#[test]
fn the_broker_is_killed_and_then_an_interface_goes() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    let event = bed.process.binary.event("privileges: ");
    let broker = event["message"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    kill(Pid::from_raw(broker.parse().unwrap()), Signal::SIGKILL).unwrap();
    bed.process.binary.event("the socket broker ended");
    bed.line.hop(1).ip("link del dev left2");
    bed.process.binary.event("there is no such interface yet");
    second_input(&bed.line);
    bed.process.binary.event("the relay could not follow a change");
    bed.linger();
    bed.end(&[
        ("the socket broker ended", 1),
        ("there is no such interface yet", 1),
        (
            "the relay could not follow a change: cannot receive frames: no packet socket on left2",
            1,
        ),
    ]);
}

/// Something that carries no Ethernet frames takes an input's name.
#[test]
fn an_interface_of_the_wrong_kind_takes_the_name_of_an_input() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    let space = bed.line.hop(1);
    space.ip("link del dev left2");
    bed.process.binary.event("there is no such interface yet");
    space.ip("tuntap add mode tun name left2");
    bed.process.binary.event("the relay could not follow a change");
    bed.linger();
    space.ip("link del dev left2");
    bed.process.binary.nth_event("there is no such interface yet", 2);
    second_input(&bed.line);
    bed.recovered("interface of another kind under the input's name, then the right one");
    bed.finish(&[
        ("there is no such interface yet", 2),
        ("the relay could not follow a change: cannot receive frames: left2 does not carry", 1),
    ]);
}

/// A group that cannot be joined is told once, and joined as soon as that is possible.
#[test]
fn the_limit_on_memberships_falls_and_rises() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    let space = bed.line.hop(1);
    let joined = || space.proc_net("igmp").contains("020101EF");
    assert!(joined());
    space.sysctl("net/ipv4/igmp_max_memberships", "0");
    space.ip("link set dev left2 down");
    space.ip("link set dev left2 up");
    bed.process.binary.event("a group cannot be joined");
    bed.linger();
    assert!(!joined());
    space.sysctl("net/ipv4/igmp_max_memberships", "20");
    let started = Instant::now();
    eventually("the group to be joined", || joined().then_some(()));
    crate::faults_live::bed::row(
        "limit on memberships reached, raised: the group is joined",
        started.elapsed(),
    );
    bed.process.binary.event("all groups are joined");
    bed.finish(&[("a group cannot be joined", 1)]);
}
