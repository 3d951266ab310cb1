//! Rules that change over the control socket or by a reload: in force as a whole, or not at all,
//! and what does not work is told and tried again.

use std::fs;

use crate::common::{eventually, switched_off};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::sender;
use crate::relay::traffic::{Steady, ends, rule};

const HEAD: &str = "workers = 2\n[control]\nsocket = \"control.sock\"\n";

fn config(rules: &[String]) -> String {
    format!("{HEAD}[relay]\n{}", rules.concat())
}

#[test]
fn what_is_refused_was_never_in_force() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let (_directory, path, hop) = Hop::with_file(line.hop(1), config(&[rule(1)]));
    let steady = Steady::start(ends(&line, 1));
    steady.flow();
    // The broker goes by the file, which has neither the interface nor the output.
    for (flags, reason) in [
        ("--input 239.1.1.2:5001@left --output 239.2.2.2:5002@right", "no socket to send to"),
        ("--input 239.1.1.2:5001@right", "no packet socket on right"),
    ] {
        let (done, text) = hop.ctl(&path, &format!("rules add --name b {flags}"));
        assert!(!done && text.contains(reason), "{text}");
        assert!(text.contains("no rule of the configuration file"), "{text}");
    }
    // The first of two rules is served, the second is not.
    let other = rule(1).replace("@right\" }", "@right\", ttl = 3 }");
    let both = path.replace("r.toml", "both.toml");
    fs::write(&both, config(&[other, rule(2)])).unwrap();
    let (done, text) = hop.ctl(&path, &format!("rules set --file {both}"));
    assert!(!done && text.contains("no socket to send to 239.2.2.2:5002"), "{text}");
    assert!(text.contains("the rules of before stay in force"), "{text}");
    let (_, text) = hop.ctl(&path, "rules list");
    assert!(!text.contains("ttl 3") && !text.contains("239.1.1.2"), "{text}");
    // An output that was made anew would have lost its figures.
    steady.finish(hop, "r1");
}

#[test]
fn a_reload_with_rules_that_cannot_be_served_changes_nothing() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    line.hop(1).ip("tuntap add dev bare mode tun");
    let (_directory, path, hop) = Hop::with_file(line.hop(1), config(&[rule(1)]));
    let steady = Steady::start(ends(&line, 1));
    let text = config(&[rule(1), rule(2).replace("@left", "@bare")]);
    fs::write(&path, text.replace("workers = 2", "workers = 2\nreport_interval = \"1h\"")).unwrap();
    let (done, text) = hop.ctl(&path, "config reload");
    assert!(!done && text.contains("bare does not carry Ethernet frames"), "{text}");
    assert!(text.contains("everything in force stays") && !text.contains("applied"), "{text}");
    let event = hop.event("reload failed, everything in force stays");
    assert_eq!(event["level"], "ERROR");
    let (_, text) = hop.ctl(&path, "config show");
    assert!(!text.contains("\"1h\"") && !text.contains("bare"), "{text}");
    steady.finish(hop, "r1");
}

/// More than half of what a loop serves: the old and the new do not fit side by side.
#[test]
fn as_many_outputs_as_there_may_be_are_replaced_by_others() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let many = |group: u8| {
        let output = |rule, n| format!("{{ to = \"239.{group}.{rule}.{n}:5002@right\" }}");
        let rule = |rule: u8| {
            let outputs: Vec<_> = (1..=60).map(|n| output(rule, n)).collect();
            let outputs = outputs.join(", ");
            let input = format!("239.7.7.{rule}:5001@left");
            format!("[[relay.rule]]\ninput = \"{input}\"\noutputs = [{outputs}]\n")
        };
        let mut rules = vec![crate::relay::traffic::rule(1)];
        rules.extend((1..=12).map(rule));
        config(&rules)
    };
    let (_directory, path, hop) = Hop::with_file(line.hop(1), many(20));
    let steady = Steady::start(ends(&line, 1));
    for (nth, group) in [(1, 21), (2, 22)] {
        steady.flow();
        fs::write(&path, many(group)).unwrap();
        hop.reload();
        hop.nth_event("configuration reloaded", nth);
        let stats = hop.stats(&path);
        let rules = stats["relay"]["rules"].as_array().unwrap().iter();
        let outputs = rules.flat_map(|rule| rule["outputs"].as_array().unwrap());
        let downs: Vec<_> = outputs.map(|output| &output["down"]).collect();
        assert_eq!(downs.len(), 721);
        assert!(downs.iter().all(|down| down.is_null()), "{downs:?}");
    }
    let told = hop.events_of("the output is");
    assert!(told.is_empty(), "{told:?}");
    steady.finish(hop, "r1");
}

/// Somebody who asks often keeps the main thread from ever being idle.
#[test]
fn what_is_down_is_tried_again_while_the_control_socket_is_busy() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let far = rule(2).replace("239.2.2.2:5002", "[fd77::1]:5002");
    let (_directory, path, hop) = Hop::with_file(line.hop(1), config(&[far]));
    hop.event("the output is down");
    // Of routes, unlike of links and addresses, nothing is heard.
    line.hop(1).ip("-6 route add fd77::/64 dev right");
    eventually("the output to be tried again", || {
        assert!(hop.ctl(&path, "rules list").0);
        hop.events_of("the output is back").pop()
    });
    hop.stop();
}

/// The kernel's room for filters is a setting of the namespace since Linux 6.8.
#[test]
fn a_filter_that_cannot_be_replaced_is_tried_again() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let (_directory, path, hop) = Hop::with_file(line.hop(1), config(&[rule(1)]));
    let steady = Steady::start(ends(&line, 1));
    line.hop(1).sysctl("net/core/optmem_max", "64");
    // Without an output, whose socket has a filter, too.
    let counts = "[[relay.rule]]\nname = \"r2\"\ninput = \"239.1.1.2:5001@left\"\n";
    fs::write(&path, config(&[rule(1), counts.to_owned()])).unwrap();
    let (done, text) = hop.ctl(&path, "config reload");
    assert!(done && text.contains("applied: relay.rule: 2 in force"), "{text}");
    let why = "rule \"r2\" does not receive from 239.1.1.2:5001@left: the filter of before stays";
    assert!(text.contains(why), "{text}");
    steady.flow();
    line.hop(1).sysctl("net/core/optmem_max", "131072");
    hop.event("the filter is replaced");
    let from = sender(line.source(), "right", "239.1.1.2:5001");
    eventually("the new rule to count", || {
        from.send(b"count me").unwrap();
        let rule = hop.stats(&path)["relay"]["rules"][1].clone();
        (rule["packets"] != 0 && rule["down"].is_null()).then_some(())
    });
    assert_eq!(hop.events_of("the filter of before stays").len(), 1, "it is told once");
    steady.finish(hop, "r1");
}
