//! Datagrams of every size, alone, in super-packets and in turns, with offload and without.

use crate::common::switched_off;
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, pass_flows, payloads, receiver, sender};

#[test]
fn every_size_arrives() {
    sizes("auto", "239.1.1.1:5001", "239.2.2.2:5002", &[0, 1, 1472, 1473, 9000, 65_507]);
}

#[test]
fn every_size_arrives_without_offload() {
    sizes("off", "239.1.1.1:5001", "239.2.2.2:5002", &[0, 1, 1472, 1473, 9000, 65_507]);
}

#[test]
fn every_size_arrives_over_ipv6() {
    for offload in ["auto", "off"] {
        sizes(offload, "[ff15::1]:5001", "[ff15::2]:5002", &[0, 1, 1452, 1453, 1473, 9000, 65_527]);
    }
}

#[test]
fn every_size_arrives_across_families() {
    sizes("auto", "239.1.1.1:5001", "[ff15::2]:5002", &[0, 1452, 1453, 1473, 9000, 65_507]);
    sizes("auto", "[ff15::1]:5001", "239.2.2.2:5002", &[0, 1452, 1453, 1473, 9000, 65_507]);
}

#[test]
fn long_ipv6_datagrams_pass_a_chain_of_relays() {
    if switched_off() {
        return;
    }
    let line = Line::new(3);
    let hops = [1, 2, 3].map(|n| {
        let flags = format!("--input [ff15::{n}]:5001@left --output [ff15::{}]:5001@right", n + 1);
        Hop::relay_with(line.hop(n), 2, &flags)
    });
    let from = sender(line.source(), "right", "[ff15::1]:5001");
    let to = receiver(line.sink(), "left", "[ff15::4]:5001");
    pass(&from, &[&to], &payloads(200, 9000), None);
    assert_empty(&to);
    for hop in hops {
        hop.stop().assert_passed("rule-1", 200, 200 * 9000);
    }
}

/// The kernel's filter goes by address where there is no port.
#[test]
fn long_ipv6_datagrams_to_other_ports_are_counted_and_hold_nothing_up() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let hop = Hop::relay(line.hop(1), "--input [ff15::1]:5001@left --output [ff15::2]:5002@right");
    let from = sender(line.source(), "right", "[ff15::1]:5001");
    let elsewhere = sender(line.source(), "right", "[ff15::1]:5009");
    let to = receiver(line.sink(), "left", "[ff15::2]:5002");
    for turn in 1..=30 {
        elsewhere.send(&payloads(1, 9000)[0]).unwrap();
        pass(&from, &[&to], &payloads(turn, 9000), None);
    }
    let summary = hop.stop();
    let passed = (1..=30).sum::<usize>();
    summary.assert_passed("rule-1", passed, passed * 9000);
    // 9008 bytes behind the IPv6 header are seven fragments of up to 1448.
    assert_eq!(summary.drops(), "no_rule=210");
}

/// Over an MTU of 1500: the larger ones come and leave in fragments.
fn sizes(offload: &str, input: &str, output: &str, sizes: &[usize]) {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let flags = format!("--input {input}@left --output {output}@right --offload {offload}");
    let hop = Hop::relay(line.hop(1), &flags);
    let from = sender(line.source(), "right", input);
    let to = receiver(line.sink(), "left", output);
    let mut sends = Vec::new();
    for turn in 0..50 {
        sends.extend(sizes.iter().map(|size| payloads(turn + 1, *size).remove(turn)));
    }
    pass(&from, &[&to], &sends, None);
    assert_empty(&to);
    hop.stop().assert_passed("rule-1", sends.len(), sends.iter().map(Vec::len).sum());
}

#[test]
fn super_packets_with_a_short_end_stay_what_they_are() {
    super_packets("auto");
}

#[test]
fn super_packets_are_cut_without_offload() {
    super_packets("off");
}

fn super_packets(offload: &str) {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let flags = "--input 239.1.1.1:5001@left --output 239.2.2.2:5002@right";
    let hop = Hop::relay(line.hop(1), &format!("{flags} --offload {offload}"));
    let from = sender(line.source(), "right", "239.1.1.1:5001");
    let to = receiver(line.sink(), "left", "239.2.2.2:5002");
    let (mut packets, mut bytes) = (0, 0);
    for (size, segment) in [(10_300, 1000), (1001, 1000), (61, 10), (63_500, 1472), (1000, 1000)] {
        pass(&from, &[&to], &payloads(40, size), Some(segment));
        packets += 40 * size.div_ceil(segment.into());
        bytes += 40 * size;
    }
    assert_empty(&to);
    let summary = hop.stop();
    summary.assert_passed("rule-1", packets, bytes);
    let output = summary.outputs("rule-1").remove(0);
    match offload {
        "off" => assert_eq!(output.sends, output.packets),
        _ => assert!(output.sends * 5 < output.packets, "{output:?}"),
    }
}

#[test]
fn flows_in_turns_keep_their_order() {
    if switched_off() {
        return;
    }
    for offload in ["auto", "off"] {
        let line = Line::new(1);
        let flags = "--input 239.1.1.1:5001@left --output 239.2.2.2:5002@right";
        let hop = Hop::relay(line.hop(1), &format!("{flags} --offload {offload}"));
        let from = [(); 4].map(|()| sender(line.source(), "right", "239.1.1.1:5001"));
        let to = receiver(line.sink(), "left", "239.2.2.2:5002");
        let sizes = [64, 1400, 2, 3000];
        pass_flows(&from, &to, sizes.map(|size| payloads(800, size)).to_vec());
        assert_empty(&to);
        let bytes = sizes.iter().sum::<usize>() * 800;
        hop.stop().assert_passed("rule-1", 4 * 800, bytes);
    }
}
