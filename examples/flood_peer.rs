//! The load of `scripts/overload.sh`: announces at a rate that does not wait for the tracker. First
//! it finds the rate at which most are answered, then it offers that rate once, twice and three
//! times, and at last a quarter of it, to see how soon everything is answered again.
//!
//! Announces leave 64 in a send (UDP_SEGMENT), so that one core outruns a tracker on another.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};

/// Floods a tracker and prints what became of it as one JSON object.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    target: SocketAddr,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The first rate of the search for the peak, in announces per second.
    #[arg(long, default_value_t = 20_000.0)]
    from: f64,
    /// Nothing but this rate, in announces per second.
    #[arg(long)]
    rate: Option<f64>,
}

fn main() {
    let arguments = Arguments::parse();
    let mut load = Load::connect(arguments.target);
    let length = Duration::from_secs(arguments.seconds);
    if let Some(rate) = arguments.rate {
        let phase = load.phase(rate, length);
        load.settle();
        return println!("{}", load.figures(phase).json());
    }
    let peak = load.find_peak(arguments.from);
    let phases = [1.0, 2.0, 3.0].map(|times| load.phase(times * peak.answered, length));
    let after = load.phase(peak.answered / 4.0, Duration::from_secs(2));
    load.settle();
    let [once, twice, thrice] = phases.map(|phase| load.figures(phase).json());
    let summary = json!({
        "peak": peak.json(),
        "1x": once, "2x": twice, "3x": thrice,
        "after": load.figures(after).json(),
        "recovery_ms": load.recovery_ms(after),
        "sent": load.requests.len() + load.connects,
    });
    println!("{summary}");
}

/// One announce.
struct Request {
    sent_us: u64,
    /// `None` as long as there is no answer.
    latency_us: Option<u32>,
}

/// Part of the run: announces by their number, and when it began and ended.
#[derive(Clone, Copy)]
struct Phase {
    first: usize,
    end: usize,
    began_us: u64,
    ended_us: u64,
}

struct Load {
    sockets: Vec<UdpSocket>,
    began: Instant,
    /// By transaction ID.
    requests: Vec<Request>,
    connects: usize,
    template: [u8; ANNOUNCE_BYTES],
}

impl Load {
    /// All sockets have one address, and so one connection ID.
    fn connect(target: SocketAddr) -> Self {
        let sockets: Vec<_> = (0..SOCKETS).map(|_| socket(target)).collect();
        let id = connection_id(&sockets[0]);
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
            setsockopt(socket, sockopt::UdpGsoSegment, &(ANNOUNCE_BYTES as i32)).unwrap();
        }
        let mut template = [0; ANNOUNCE_BYTES];
        template[..8].copy_from_slice(&id);
        template[11] = 1;
        template[16..56].fill(b'r');
        template[71] = 1;
        template[92..96].copy_from_slice(&50_u32.to_be_bytes());
        Self { sockets, began: Instant::now(), requests: Vec::new(), connects: 1, template }
    }

    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Raises the rate until the tracker does not follow; the best phase is the peak.
    fn find_peak(&mut self, from: f64) -> Figures {
        let (mut rate, mut best, mut misses) = (from, Figures::default(), 0);
        while misses < 3 {
            let phase = self.phase(rate, Duration::from_secs(1));
            self.settle();
            let figures = self.figures(phase);
            misses += usize::from(figures.answered < 0.95 * rate);
            if figures.answered > best.answered {
                best = figures;
            }
            rate *= 1.2;
        }
        best
    }

    /// Sends at a rate for a while. Late is never made up for by more than a burst.
    fn phase(&mut self, rate: f64, length: Duration) -> Phase {
        let (first, began_us) = (self.requests.len(), self.now_us());
        let end_us = began_us + length.as_micros() as u64;
        let mut skipped = 0.0;
        loop {
            let now_us = self.now_us();
            if now_us >= end_us {
                let end = self.requests.len();
                return Phase { first, end, began_us, ended_us: now_us };
            }
            let due = rate * (now_us - began_us) as f64 / 1e6 - skipped;
            let mut behind = due - (self.requests.len() - first) as f64;
            if behind > BURST_MAX {
                skipped += behind - BURST_MAX;
                behind = BURST_MAX;
            }
            for _ in 0..(behind / SEGMENTS as f64) as usize {
                self.send(now_us);
            }
            self.receive();
        }
    }

    fn send(&mut self, now_us: u64) {
        let mut bytes = [0; SEGMENTS * ANNOUNCE_BYTES];
        let first = self.requests.len() as u32;
        for (announce, number) in bytes.chunks_mut(ANNOUNCE_BYTES).zip(first..) {
            announce.copy_from_slice(&self.template);
            announce[12..16].copy_from_slice(&number.to_be_bytes());
            let torrent = number.wrapping_mul(2_654_435_761) % TORRENTS;
            announce[16..20].copy_from_slice(&torrent.to_be_bytes());
            announce[96..98].copy_from_slice(&(1000 + (number / 7 % 200) as u16).to_be_bytes());
        }
        let socket = &self.sockets[first as usize / SEGMENTS % SOCKETS];
        if socket.send(&bytes).is_ok() {
            let request = || Request { sent_us: now_us, latency_us: None };
            self.requests.extend(std::iter::repeat_with(request).take(SEGMENTS));
        }
    }

    fn receive(&mut self) {
        let now_us = self.now_us();
        let mut bytes = [0; 2048];
        for socket in &self.sockets {
            for _ in 0..RECEIVES_MAX {
                let Ok(length) = socket.recv(&mut bytes) else { break };
                assert!(length >= 20 && bytes[3] == 1, "no announce response: {:?}", &bytes[..8]);
                let number = u32::from_be_bytes(*bytes[4..].first_chunk().unwrap());
                let request = &mut self.requests[number as usize];
                assert!(request.latency_us.is_none(), "answered twice");
                request.latency_us = Some((now_us - request.sent_us) as u32);
            }
        }
    }

    /// Receives until nothing has come for a while.
    fn settle(&mut self) {
        let answered =
            |load: &Self| load.requests.iter().filter(|r| r.latency_us.is_some()).count();
        loop {
            let (before, until) = (answered(self), self.now_us() + QUIET_US);
            while self.now_us() < until {
                self.receive();
            }
            if answered(self) == before {
                return;
            }
        }
    }

    fn figures(&self, phase: Phase) -> Figures {
        let seconds = (phase.ended_us - phase.began_us) as f64 / 1e6;
        let requests = &self.requests[phase.first..phase.end];
        let mut latencies: Vec<u32> = requests.iter().filter_map(|r| r.latency_us).collect();
        latencies.sort_unstable();
        // What was answered while the phase lasted, whenever it was asked.
        let arrived = self.requests.iter().filter(|request| {
            let arrival = request.latency_us.map(|latency| request.sent_us + u64::from(latency));
            arrival.is_some_and(|arrival| (phase.began_us..phase.ended_us).contains(&arrival))
        });
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        Figures {
            offered: requests.len() as f64 / seconds,
            answered: arrived.count() as f64 / seconds,
            unanswered: requests.len() - latencies.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
        }
    }

    /// From the end of the flood to the last announce that was not answered within 20 ms.
    fn recovery_ms(&self, after: Phase) -> f64 {
        let late = |request: &&Request| request.latency_us.is_none_or(|us| us > PROMPT_US);
        let last = self.requests[after.first..after.end].iter().rfind(late);
        last.map_or(0.0, |request| (request.sent_us - after.began_us) as f64 / 1e3)
    }
}

#[derive(Default)]
struct Figures {
    offered: f64,
    answered: f64,
    unanswered: usize,
    p50_us: u32,
    p99_us: u32,
    max_us: u32,
}

impl Figures {
    fn json(&self) -> Value {
        let Self { offered, answered, unanswered, p50_us, p99_us, max_us } = *self;
        json!({
            "offered_per_s": offered.round(), "answered_per_s": answered.round(),
            "unanswered": unanswered, "p50_us": p50_us, "p99_us": p99_us, "max_us": max_us,
        })
    }
}

fn socket(target: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((target.ip(), 0)).unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(target).unwrap();
    socket
}

/// BEP 15: a connect request, and the ID in its response.
fn connection_id(socket: &UdpSocket) -> [u8; 8] {
    socket.send(&[0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 7]).unwrap();
    let mut response = [0; 16];
    assert_eq!(socket.recv(&mut response).unwrap(), 16);
    *response[8..].first_chunk().unwrap()
}

const ANNOUNCE_BYTES: usize = 98;
const SEGMENTS: usize = 64;
const SOCKETS: usize = 4;
const TORRENTS: u32 = 1000;
/// Announces that a send which comes late makes up for at the most.
const BURST_MAX: f64 = 2048.0;
const RECEIVES_MAX: usize = 256;
const QUIET_US: u64 = 200_000;
const PROMPT_US: u32 = 20_000;
