//! Several workers, and both jobs on them.

use crate::common::{Ask, Client, file, hash, switched_off};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{assert_empty, pass_flows, payloads, receiver, sender};
use crate::relay::traffic::{Steady, ends, rule};

#[test]
fn two_workers_neither_double_nor_reorder() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let flags = "--input 239.1.1.1:5001@left --output 239.2.2.2:5002@right";
    let hop = Hop::relay_with(line.hop(1), 2, flags);
    let from = [(); 16].map(|()| sender(line.source(), "right", "239.1.1.1:5001"));
    let to = receiver(line.sink(), "left", "239.2.2.2:5002");
    // The last ones come in fragments.
    let sizes = [[64; 5].as_slice(), &[1400; 7], &[3000; 4]].concat();
    pass_flows(&from, &to, sizes.iter().map(|size| payloads(300, *size)).collect());
    assert_empty(&to);
    hop.stop().assert_passed("rule-1", 16 * 300, sizes.iter().sum::<usize>() * 300);
}

#[test]
fn tracker_and_relay_serve_side_by_side() {
    if switched_off() {
        return;
    }
    for workers in [1, 2] {
        let line = Line::new(1);
        let text = format!(
            "workers = {workers}\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n{}{}",
            rule(1),
            rule(2)
        );
        let (_directory, path) = file("r.toml", text);
        let hop = Hop::configured(line.hop(1), &path);
        let flows = [1, 2].map(|number| Steady::start(ends(&line, number)));
        let address = hop.tracker();
        std::thread::scope(|scope| {
            for client in 0..2 {
                let hop = line.hop(1);
                scope.spawn(move || hop.run(|| announce(&Client::new(address), client)));
            }
        });
        flows.iter().for_each(Steady::flow);
        let passed = flows.map(Steady::end);
        let summary = hop.stop();
        summary.assert_passed("r1", passed[0].0, passed[0].1);
        summary.assert_passed("r2", passed[1].0, passed[1].1);
    }
}

/// Every announce is answered, or this fails.
fn announce(client: &Client, number: u32) {
    for turn in 0..ANNOUNCES {
        let ask = Ask::leecher(hash(number * ANNOUNCES + turn), 1001);
        assert_eq!(client.announce(&ask).counts(), (0, 1));
    }
}

const ANNOUNCES: u32 = 2000;
