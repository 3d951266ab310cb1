//! Interfaces that come and go, while another rule's traffic goes on.

use std::net::UdpSocket;

use crate::common::{connect, eventually, switched_off};
use crate::relay::hop::{Hop, Summary};
use crate::relay::line::Line;
use crate::relay::ports::{pass, payloads, receive, receiver, sender};
use crate::relay::traffic::{Steady, ends};

/// A line of one relay, with a second cable into the relay and one out of it.
fn doubled() -> Line {
    let line = Line::new(1);
    second_input(&line);
    second_output(&line);
    line
}

fn second_input(line: &Line) {
    connect((line.source(), "right2"), (line.hop(1), "left2"), 7);
}

fn second_output(line: &Line) {
    connect((line.hop(1), "right2"), (line.sink(), "left2"), 8);
}

/// Rule 1 goes from `left` to `right`, rule 2 as told.
fn start(line: &Line, input: &str, output: &str) -> Hop {
    let first = "--input 239.1.1.1:5001@left --output 239.2.2.1:5002@right";
    let second = format!("--input {IN}@{input} --output {OUT}@{output}");
    Hop::relay(line.hop(1), &format!("{first} {second}"))
}

/// Tries until a datagram arrives; then everything does.
#[track_caller]
fn flows_again(from: &UdpSocket, to: &UdpSocket) {
    to.set_nonblocking(true).unwrap();
    eventually("traffic to flow again", || {
        from.send(b"are you there").unwrap();
        to.recv(&mut [0; 16]).ok()
    });
    to.set_nonblocking(false).unwrap();
    from.send(b"you are").unwrap();
    while receive(to) != b"you are" {}
    pass(from, &[to], &payloads(200, 1400), None);
}

#[test]
fn an_input_interface_made_anew_is_taken_from_again() {
    if switched_off() {
        return;
    }
    let line = doubled();
    let hop = start(&line, "left2", "right");
    let steady = Steady::start(ends(&line, 1));
    let to = receiver(line.sink(), "left", OUT);
    for _ in 0..3 {
        flows_again(&sender(line.source(), "right2", IN), &to);
        line.hop(1).ip("link del dev left2");
        steady.flow();
        second_input(&line);
    }
    flows_again(&sender(line.source(), "right2", IN), &to);
    let summary = steady.finish(hop, "rule-1");
    let input = summary.input("rule-2");
    let output = summary.outputs("rule-2").remove(0);
    assert_eq!((input.packets, output.drops.as_str()), (output.packets, "0"));
}

#[test]
fn an_output_interface_made_anew_is_sent_to_again() {
    if switched_off() {
        return;
    }
    let line = doubled();
    let hop = start(&line, "left", "right2");
    let steady = Steady::start(ends(&line, 1));
    let from = sender(line.source(), "right", IN);
    for _ in 0..3 {
        flows_again(&from, &receiver(line.sink(), "left2", OUT));
        line.hop(1).ip("link del dev right2");
        payloads(50, 1400).iter().for_each(|payload| assert!(from.send(payload).is_ok()));
        steady.flow();
        second_output(&line);
    }
    flows_again(&from, &receiver(line.sink(), "left2", OUT));
    assert_accounted(&steady.finish(hop, "rule-1"));
}

#[test]
fn an_output_interface_that_was_down_is_sent_to_again() {
    if switched_off() {
        return;
    }
    let line = doubled();
    let hop = start(&line, "left", "right2");
    let steady = Steady::start(ends(&line, 1));
    let from = sender(line.source(), "right", IN);
    let to = receiver(line.sink(), "left2", OUT);
    for round in 1..=3 {
        flows_again(&from, &to);
        line.hop(1).ip("link set dev right2 down");
        hop.nth_event("the output is down", round);
        payloads(50, 1400).iter().for_each(|payload| assert!(from.send(payload).is_ok()));
        steady.flow();
        line.hop(1).ip("link set dev right2 up");
        hop.nth_event("the output is back", round);
    }
    flows_again(&from, &to);
    let summary = steady.finish(hop, "rule-1");
    assert!(assert_accounted(&summary) >= 150);
}

/// Every datagram of rule 2 was sent, or counted as dropped because the output was down. Returns
/// how many were dropped.
fn assert_accounted(summary: &Summary) -> u64 {
    let input = summary.input("rule-2");
    let output = summary.outputs("rule-2").remove(0);
    let down = match output.drops.as_str() {
        "0" => 0,
        drops => drops.strip_prefix("output_down=").unwrap_or(drops).parse().unwrap(),
    };
    assert_eq!(input.packets, output.packets + down, "{output:?}");
    down
}

#[test]
fn interfaces_that_do_not_exist_at_the_start_are_waited_for() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let hop = start(&line, "left2", "right2");
    hop.event("there is no such interface yet");
    let steady = Steady::start(ends(&line, 1));
    steady.flow();
    second_input(&line);
    second_output(&line);
    let from = sender(line.source(), "right2", IN);
    flows_again(&from, &receiver(line.sink(), "left2", OUT));
    assert_accounted(&steady.finish(hop, "rule-1"));
}

const IN: &str = "239.1.1.2:5001";
const OUT: &str = "239.2.2.2:5002";
