//! SIGHUP with a configuration file, under traffic.

use std::fs;

use crate::common::switched_off;
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, payloads};
use crate::relay::traffic::{Steady, ends, rule};

fn rules(numbers: &[u8]) -> String {
    let rules: String = numbers.iter().map(|number| rule(*number)).collect();
    format!("workers = 1\n[relay]\n{rules}")
}

#[test]
fn rules_come_and_go_and_other_flows_lose_nothing() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let (_directory, path, hop) = Hop::with_file(line.hop(1), rules(&[1]));
    let steady = Steady::start(ends(&line, 1));
    let (from, to) = ends(&line, 2);
    for round in 1..=5 {
        steady.flow();
        fs::write(&path, rules(&[2, 1])).unwrap();
        hop.reload();
        hop.nth_event("configuration reloaded", 2 * round - 1);
        pass(&from, &[&to], &payloads(100, 1000), None);
        steady.flow();
        fs::write(&path, rules(&[1])).unwrap();
        hop.reload();
        hop.nth_event("configuration reloaded", 2 * round);
        hop.nth_event("the rule is taken out of force", round);
        from.send(b"unwanted").unwrap();
        steady.flow();
        assert_empty(&to);
    }
    steady.finish(hop, "r1");
}

#[test]
fn an_output_comes_and_goes_and_the_others_lose_nothing() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let more = rule(1).replace("outputs = [", "outputs = [{ to = \"239.9.9.9:5002@right\" }, ");
    let more = format!("workers = 1\n{more}");
    let (_directory, path, hop) = Hop::with_file(line.hop(1), rules(&[1]));
    let steady = Steady::start(ends(&line, 1));
    for round in 0..10 {
        steady.flow();
        fs::write(&path, if round % 2 == 0 { more.clone() } else { rules(&[1]) }).unwrap();
        hop.reload();
        hop.nth_event("configuration reloaded", round + 1);
    }
    steady.finish(hop, "r1");
}

#[test]
fn a_bad_file_changes_nothing_and_is_named() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let (_directory, path, hop) = Hop::with_file(line.hop(1), rules(&[1]));
    let steady = Steady::start(ends(&line, 1));
    for (nth, text, reason) in
        [(1, "workers = 1\n[relay]\noffload = \"of\"\n", ":3:"), (2, "workers = \n", ":1:")]
    {
        fs::write(&path, text).unwrap();
        hop.reload();
        let event = hop.nth_event("reload failed, everything in force stays", nth);
        let message = event["message"].as_str().unwrap();
        assert!(message.contains(&format!("{path}{reason}")), "{message}");
        assert_eq!(event["level"], "ERROR");
    }
    fs::remove_file(&path).unwrap();
    hop.reload();
    hop.nth_event("reload failed, everything in force stays", 3);
    steady.finish(hop, "r1");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_put_in_force() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let (_directory, path, hop) = Hop::with_file(line.hop(1), rules(&[1]));
    let changed = rules(&[2]).replace("workers = 1", "workers = 2");
    fs::write(&path, changed.replace("[relay]", "[relay]\noffload = \"off\"")).unwrap();
    hop.reload();
    for key in ["workers", "relay.offload"] {
        let event = hop.event(&format!("a change of {key} needs a restart"));
        assert_eq!(event["level"], "WARN");
    }
    hop.event("configuration reloaded");
    let (from, to) = ends(&line, 2);
    pass(&from, &[&to], &payloads(100, 1000), None);
    hop.stop().assert_passed("r2", 100, 100_000);
}

#[test]
fn a_wider_fan_out_takes_more_frame_buffers_into_use() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let wide = |outputs: u8| {
        let to = |n| format!("{{ to = \"239.3.3.{n}:5003@right\" }}");
        let to: Vec<_> = (1..=outputs).map(to).collect();
        format!(
            "{}[[relay.rule]]\nname = \"wide\"\ninput = \"239.1.1.9:5001@left\"\noutputs = [{}]\n",
            rules(&[1]),
            to.join(", ")
        )
    };
    let (_directory, path, hop) = Hop::with_file(line.hop(1), wide(1));
    let steady = Steady::start(ends(&line, 1));
    // It never goes back to fewer.
    for (reload, outputs) in [20, 1, 40, 9].into_iter().enumerate() {
        fs::write(&path, wide(outputs)).unwrap();
        hop.reload();
        hop.nth_event("configuration reloaded", reload + 1);
        steady.flow();
    }
    let told = hop.events_of("more frame buffers in use");
    let told: Vec<_> =
        told.iter().map(|event| (&event["before"], &event["frame_buffers"])).collect();
    assert_eq!(told, [(&256.into(), &512.into()), (&512.into(), &1024.into())]);
    steady.finish(hop, "r1");
}

/// Without names of their own, rules are called by position, and a rule in front moves the others.
#[test]
fn a_rule_that_only_moves_loses_nothing_and_keeps_its_figures() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let unnamed = |numbers: &[u8]| {
        let text = rules(numbers);
        let lines = text.lines().filter(|line| !line.starts_with("name"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (_directory, path, hop) = Hop::with_file(line.hop(1), unnamed(&[1]));
    let steady = Steady::start(ends(&line, 1));
    for (nth, numbers) in [(1, [2, 1]), (2, [1, 2]), (3, [2, 1])] {
        steady.flow();
        fs::write(&path, unnamed(&numbers)).unwrap();
        hop.reload();
        hop.nth_event("configuration reloaded", nth);
    }
    steady.flow();
    let (packets, bytes) = steady.end();
    hop.stop().assert_passed("rule-2", packets, bytes);
}
