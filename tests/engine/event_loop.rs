//! The event loop on a real ring, with small handlers of the tests' own.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

use crate::common::{DEADLINE, Echo, Forward, Started, eventually, uninterrupted};
use ringtide::io::LoopSizes;
use ringtide::io::{
    DatagramService, Now, Packet, SEGMENTS_BYTES_MAX, Transmit, TransmitError, Wakeup,
};
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
    impl DatagramService for Fragile {
        fn on_datagram<T: Transmit>(&mut self, now: Now, packet: &Packet<'_>, tx: &mut T) {
            assert_ne!(packet.payload, b"break");
            Echo.on_datagram(now, packet, tx);
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
    // What came in one batch with it would be dropped.
    let restarts = || started.total().get(Counter::WorkerRestarts) == 1;
    eventually("the restart", || restarts().then_some(()));
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
    assert!(started.stops(), "the wake-up through the ring did not arrive");
}

/// Answers each datagram with as many segments of 98 bytes as its first byte says.
struct Segments;

impl DatagramService for Segments {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let length = usize::from(packet.payload[0]) * 98;
        let sent = tx.send_segments(packet.path, 98, |out| {
            assert_eq!(out.len(), SEGMENTS_BYTES_MAX);
            for (index, segment) in out[..length].chunks_mut(98).enumerate() {
                segment.fill(index as u8);
            }
            length
        });
        if sent == Err(TransmitError::Full) {
            let _ = tx.reply(packet.path, |_| 0);
        }
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}
}

#[test]
fn segments_arrive_one_by_one_where_the_loop_provides_for_them() {
    for (address, segments) in [("127.0.0.1", true), ("::1", true), ("127.0.0.1", false)] {
        let sizes = LoopSizes { segments, send_slots: 2, ..LoopSizes::TRACKER };
        let listen = if address == "::1" { "[::1]:0" } else { "127.0.0.1:0" };
        let started = Started::with(1, &[listen], None, sizes, |_, _| Segments);
        let client = UdpSocket::bind((address, 0)).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let receive = |bytes: &mut [u8]| uninterrupted(|| client.recv(bytes)).unwrap();
        for count in [1, 2, 64, 3] {
            client.send_to(&[count], (address, started.port(0))).unwrap();
            let mut bytes = [0xff; 200];
            if !segments {
                assert_eq!(receive(&mut bytes), 0);
                continue;
            }
            for index in 0..count {
                assert_eq!(receive(&mut bytes), 98);
                assert_eq!(bytes[..98], [index; 98]);
            }
        }
        started.stop_and_check();
    }
}

/// Wants to be called every millisecond; tells when that happened ten times without a tick since
/// the last time.
struct Metronome {
    due: Option<Now>,
    ticked: bool,
    untimely: u32,
    done: mpsc::Sender<()>,
}

impl DatagramService for Metronome {
    fn on_datagram<T: Transmit>(&mut self, _: Now, _: &Packet<'_>, _: &mut T) {}

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {
        self.ticked = true;
    }

    fn on_flush<T: Transmit>(&mut self, now: Now, _: &mut T) {
        if self.due.is_none_or(|due| due <= now) {
            self.due = Some(now.after(Duration::from_millis(1)));
            self.untimely += u32::from(!std::mem::take(&mut self.ticked));
            if self.untimely == 10 {
                // The test has ended when nobody listens.
                let _ = self.done.send(());
            }
        }
    }

    fn wakeup(&self) -> Wakeup {
        Wakeup { at: self.due, ..Wakeup::default() }
    }
}

#[test]
fn a_handler_is_called_when_it_wants_to_be_although_nothing_arrives() {
    let (done, calls) = mpsc::channel();
    let started = Started::new(1, &["127.0.0.1:0"], move |_| Metronome {
        due: None,
        ticked: false,
        untimely: 0,
        done: done.clone(),
    });
    // Left to ticks alone, there would be one between any two calls.
    calls.recv_timeout(DEADLINE).expect("calls between ticks");
    started.stop_and_check();
}

/// Answers to nobody, and says of each turn how many datagrams it brought.
struct Gatherer {
    wanted: usize,
    gathered: usize,
    largest: mpsc::Sender<usize>,
}

impl DatagramService for Gatherer {
    fn on_datagram<T: Transmit>(&mut self, _: Now, packet: &Packet<'_>, tx: &mut T) {
        self.gathered += 1;
        let _ = tx.reply(packet.path, |_| 0);
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {}

    fn on_flush<T: Transmit>(&mut self, _: Now, _: &mut T) {
        if self.gathered > 0 {
            let _ = self.largest.send(std::mem::take(&mut self.gathered));
        }
    }

    fn wakeup(&self) -> Wakeup {
        Wakeup { packets: self.wanted, ..Wakeup::default() }
    }
}

#[test]
fn wanted_datagrams_are_gathered_and_a_single_one_is_not_forgotten() {
    let (largest, turns) = mpsc::channel();
    let started = Started::new(1, &["127.0.0.1:0"], move |_| Gatherer {
        wanted: 4,
        gathered: 0,
        largest: largest.clone(),
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The tick brings what alone would not have ended the wait.
    client.send_to(b"one", ("127.0.0.1", started.port(0))).unwrap();
    assert_eq!(turns.recv_timeout(DEADLINE), Ok(1));
    for _ in 0..8 {
        client.send_to(b"more", ("127.0.0.1", started.port(0))).unwrap();
    }
    let mut left = 8;
    while left > 0 {
        left -= turns.recv_timeout(DEADLINE).unwrap();
    }
    started.stop_and_check();
}
