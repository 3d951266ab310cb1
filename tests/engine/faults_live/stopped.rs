//! A process that is stopped for seconds, or for a minute with RINGTIDE_TEST_LONG=1.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{Ask, Client, eventually, hash, switched_off};
use crate::faults_live::bed::{Bed, IN, OUT, row, second_input};
use crate::relay::ports::{receiver, sender};

/// How long the fault lasts.
fn length() -> Duration {
    let long = std::env::var_os("RINGTIDE_TEST_LONG").is_some_and(|value| value == "1");
    Duration::from_secs(if long { 60 } else { 3 })
}

/// What waits in receive buffers is served, what did not fit is counted, and nothing has aged
/// beyond its time.
#[test]
fn stopped_and_continued() {
    if switched_off() {
        return;
    }
    let mut bed = Bed::quiet();
    let server = bed.process.binary.serving();
    let client = bed.line.hop(1).run(|| Client::new(server));
    let ask = Ask::leecher(hash(1), 1);
    (1..=100).for_each(|port| drop(client.announce(&Ask::leecher(hash(1), port))));
    let from = sender(bed.line.source(), "right2", IN);
    let to = receiver(bed.line.sink(), "left2", OUT);
    bed.process.binary.stop();
    let stopped = Instant::now();
    (0..100).for_each(|_| client.send(&client.announce_request(&ask)));
    for _ in 0..DATAGRAMS {
        from.send(&[5; 1400]).unwrap();
    }
    // The fault takes as long as it is to take.
    std::thread::sleep(length().saturating_sub(stopped.elapsed()));
    bed.process.binary.signal(Signal::SIGCONT);
    let continued = Instant::now();
    crate::relay::ports::receive(&to);
    row(&format!("stopped for {} s, continued: relay", length().as_secs()), continued.elapsed());
    client.receive();
    row(&format!("stopped for {} s, continued: tracker", length().as_secs()), continued.elapsed());
    (1..100).for_each(|_| drop(client.receive()));
    assert_eq!(client.announce(&ask).counts(), (0, 100), "nobody expired");
    let delivered = {
        let mut delivered = 1;
        to.set_nonblocking(true).unwrap();
        eventually("each datagram delivered or counted", || {
            delivered += std::iter::repeat_with(|| to.recv(&mut [0; 2000]).ok())
                .take_while(Option::is_some)
                .count() as u64;
            let dropped = kernel_drops(&bed);
            (delivered + dropped == DATAGRAMS).then_some(())
        });
        delivered
    };
    assert!(delivered > 100 && delivered < DATAGRAMS, "{delivered} fit into the receive buffer");
    let health = || bed.process.ask("GET", "/healthz", "").0;
    eventually("health", || (health() == 200).then_some(()));
    // What the kernel dropped at a socket that is closed stays counted.
    bed.line.hop(1).ip("link del dev left2");
    bed.process.binary.event("there is no such interface yet");
    second_input(&bed.line);
    bed.process.binary.nth_event("receiving", 3);
    assert_eq!(kernel_drops(&bed), DATAGRAMS - delivered);
    bed.rest();
    bed.end(&[("there is no such interface yet", 1)]);
}

fn kernel_drops(bed: &Bed) -> u64 {
    bed.stats()["relay"]["kernel_drops"].as_u64().unwrap()
}

const DATAGRAMS: u64 = 20_000;
