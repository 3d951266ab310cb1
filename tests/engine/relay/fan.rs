//! One input to many outputs, and many inputs to one.

use std::fmt::Write;

use crate::common::switched_off;
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, pass_flows, payloads, receiver, sender};

#[test]
fn three_outputs_get_everything() {
    fan_out(3);
}

#[test]
fn fifty_outputs_get_everything() {
    fan_out(50);
}

fn fan_out(width: usize) {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let mut flags = "--input 239.1.1.1:5001@left".to_owned();
    (1..=width).for_each(|n| write!(flags, " --output 239.2.2.{n}:5002@right").unwrap());
    let hop = Hop::relay(line.hop(1), &flags);
    let from = sender(line.source(), "right", "239.1.1.1:5001");
    let to: Vec<_> =
        (1..=width).map(|n| receiver(line.sink(), "left", &format!("239.2.2.{n}:5002"))).collect();
    let to: Vec<_> = to.iter().collect();

    pass(&from, &to, &payloads(400, 1400), None);
    pass(&from, &to, &payloads(20, 63_000), Some(1400));
    to.iter().for_each(|to| assert_empty(to));
    let summary = hop.stop();
    summary.assert_passed("rule-1", 400 + 20 * 45, 400 * 1400 + 20 * 63_000);
    assert_eq!(summary.outputs("rule-1").len(), width);
}

#[test]
fn two_rules_may_share_an_output() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let hop = Hop::relay(
        line.hop(1),
        "--input 239.1.1.1:5001@left --output 239.2.2.2:5002@right \
         --input 239.1.1.2:5001@left --output 239.2.2.2:5002@right",
    );
    let from = ["239.1.1.1:5001", "239.1.1.2:5001"].map(|to| sender(line.source(), "right", to));
    let to = receiver(line.sink(), "left", "239.2.2.2:5002");

    pass_flows(&from, &to, vec![payloads(1000, 700), payloads(800, 1300)]);
    assert_empty(&to);
    let summary = hop.stop();
    summary.assert_passed("rule-1", 1000, 1000 * 700);
    summary.assert_passed("rule-2", 800, 800 * 1300);
}
