//! Source-specific rules.

use crate::common::switched_off;
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass, payloads, receiver, sender_from};

#[test]
fn only_listed_sources_are_relayed() {
    if switched_off() {
        return;
    }
    let cases = [
        ("239.1.1.1:5001", "239.2.2.2:5002", ["10.1.0.1", "10.1.0.8"], "10.1.0.9"),
        ("[ff35::1]:5001", "[ff15::2]:5002", ["fd01::1", "fd01::8"], "fd01::9"),
    ];
    for (input, output, listed, other) in cases {
        let line = Line::new(1);
        line.source().ip(&format!("addr add {}/24 dev right nodad", listed[1]));
        line.source().ip(&format!("addr add {other}/24 dev right nodad"));
        let flags = format!(
            "--input {input}@left --source {} --source {} --output {output}@right",
            listed[0], listed[1]
        );
        let hop = Hop::relay(line.hop(1), &flags);
        let to = receiver(line.sink(), "left", output);
        let from = |source| sender_from(line.source(), "right", Some(source), input);
        let unwanted = from(other);
        for source in listed {
            for payload in payloads(25, 100) {
                unwanted.send(&payload).unwrap();
            }
            pass(&from(source), &[&to], &payloads(50, 200), None);
        }
        assert_empty(&to);
        let summary = hop.stop();
        summary.assert_passed("rule-1", 100, 100 * 200);
        assert_eq!(summary.drops(), "source_not_listed=50");
    }
}
