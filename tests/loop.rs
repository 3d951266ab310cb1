//! The event loop on a real ring, with small handlers of the tests' own.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Echo, Forward, Started};
use ringtide::engine::LoopSizes;
use ringtide::handler::{Handler, Now, Packet, Transmit};
use ringtide::telemetry::{Counter, DropReason};

#[test]
fn echoes_over_ipv4_and_ipv6_from_the_asked_address() {
    let started = Started::new(1, &["0.0.0.0:0", "[::]:0"], |_| Echo);
    let client = UdpSocket::bind("127.0.0.9:0").unwrap();
    for asked in ["127.0.0.1", "127.0.0.5"] {
        let reply = started.ask(&client, (asked, started.port(0)), b"tide");
        assert_eq!(reply.0, b"tide");
        assert_eq!(reply.1.ip().to_string(), asked);
    }
    let client = UdpSocket::bind("[::1]:0").unwrap();
    assert_eq!(started.ask(&client, ("::1", started.port(1)), b"six").0, b"six");
    started.stop_and_check();
}

#[test]
fn forwards_without_a_copy_and_gets_every_buffer_back() {
    let sizes = LoopSizes { forwards: true, ..LoopSizes::TRACKER };
    let started = Started::with(1, &["127.0.0.1:0"], None, sizes, |_, counters| Forward(counters));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..5_000u32 {
        let reply = started.ask(&client, ("127.0.0.1", started.port(0)), &round.to_be_bytes());
        assert_eq!(reply.0, round.to_be_bytes());
    }
    started.stop_and_check();
}

#[test]
fn oversized_datagrams_are_dropped_and_counted() {
    let started = Started::new(1, &["127.0.0.1:0"], |_| Echo);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&[7; 40_000], ("127.0.0.1", started.port(0))).unwrap();
    assert_eq!(started.ask(&client, ("127.0.0.1", started.port(0)), b"after").0, b"after");
    let total = started.stop_and_check();
    assert_eq!(total.dropped(DropReason::Truncated), 1);
    assert_eq!(total.get(Counter::PacketsReceived), 2);
}

#[test]
fn a_panic_restarts_the_worker_and_no_other() {
    struct Fragile;
    impl Handler for Fragile {
        fn on_packet<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
            assert_ne!(packet.payload, b"break");
            Echo.on_packet(now, packet, tx);
        }
        fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
    }
    let started = Started::new(2, &["127.0.0.1:0"], |_| Fragile);
    // Enough clients that both workers get some, whichever way the kernel spreads them.
    let clients: Vec<_> = (0..16).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let server = ("127.0.0.1", started.port(0));
    for client in &clients {
        assert_eq!(started.ask(client, server, b"one").0, b"one");
    }
    clients[0].send_to(b"break", server).unwrap();
    for client in &clients {
        assert_eq!(started.ask(client, server, b"two").0, b"two");
    }
    let total = started.stop_and_check();
    assert_eq!(total.get(Counter::WorkerRestarts), 1);
    assert_eq!(total.dropped(DropReason::Panic), 1);
}

#[test]
fn stopping_an_idle_worker_is_immediate() {
    let started = Started::new(1, &["127.0.0.1:0"], |_| Echo);
    let stopped = started.stop_within(Duration::from_secs(30));
    assert!(stopped, "the wake-up through the ring did not arrive");
}
