//! Three relays in a row.

use crate::common::switched_off;
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, payloads, receiver, sender};

#[test]
fn three_hops_pass_everything_on_unchanged_and_in_order() {
    if switched_off() {
        return;
    }
    let line = Line::new(3);
    let hops = [1, 2, 3].map(|n| {
        let flags = format!(
            "--input 239.1.1.{n}:500{n}@left --output 239.1.1.{next}:500{next}@right",
            next = n + 1
        );
        Hop::relay(line.hop(n), &flags)
    });
    let from = sender(line.source(), "right", "239.1.1.1:5001");
    let to = receiver(line.sink(), "left", "239.1.1.4:5004");

    let numbered: Vec<Vec<u8>> = (0..1000_u32).map(|n| n.to_be_bytes().repeat(25)).collect();
    pass(&from, &[&to], &numbered, None);
    let plain = payloads(10_000_000 / 1400, 1400);
    pass(&from, &[&to], &plain, None);
    let super_packets = payloads(10_000_000 / 63_000, 63_000);
    pass(&from, &[&to], &super_packets, Some(1400));
    assert_empty(&to);

    let bytes = |sends: &[Vec<u8>]| sends.iter().map(Vec::len).sum::<usize>();
    let packets = numbered.len() + plain.len() + super_packets.len() * 45;
    for hop in hops {
        let total = bytes(&numbered) + bytes(&plain) + bytes(&super_packets);
        hop.stop().assert_passed("rule-1", packets, total);
    }
}
