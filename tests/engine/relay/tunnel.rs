//! Across unicast, and across address families.

use crate::common::switched_off;
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, payloads, receiver, sender};

/// No socket is bound where the second relay takes the datagrams, so the kernel there answers
/// with ICMP errors, which must cost nothing.
#[test]
fn multicast_goes_through_a_unicast_tunnel() {
    through("239.1.1.1:5001", "10.2.0.2:7000", "239.3.3.3:5003");
}

#[test]
fn multicast_goes_through_a_unicast_tunnel_over_ipv6() {
    through("239.1.1.1:5001", "[fd02::2]:7000", "[ff15::3]:5003");
}

#[test]
fn ipv6_is_relayed() {
    through("[ff15::1]:5001", "[ff15::2]:5002", "[ff15::3]:5003");
}

#[test]
fn ipv4_becomes_ipv6_and_ipv4_again() {
    through("239.1.1.1:5001", "[ff15::2]:5002", "239.3.3.3:5003");
}

#[test]
fn ipv6_becomes_ipv4_and_ipv6_again() {
    through("[ff15::1]:5001", "239.2.2.2:5002", "[ff15::3]:5003");
}

/// Passes datagrams through two relays, by the destinations on each of the three cables.
fn through(first: &str, second: &str, third: &str) {
    if switched_off() {
        return;
    }
    let line = Line::new(2);
    let hops = [(1, first, second), (2, second, third)].map(|(n, input, output)| {
        Hop::relay(line.hop(n), &format!("--input {input}@left --output {output}@right"))
    });
    let from = sender(line.source(), "right", first);
    let to = receiver(line.sink(), "left", third);
    pass(&from, &[&to], &payloads(1000, 1400), None);
    pass(&from, &[&to], &payloads(30, 63_000), Some(1400));
    assert_empty(&to);
    for hop in hops {
        hop.stop().assert_passed("rule-1", 1000 + 30 * 45, 1000 * 1400 + 30 * 63_000);
    }
}
