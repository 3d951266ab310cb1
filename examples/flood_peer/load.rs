//! Announces in phases, and when each of them was answered.
//!
//! They leave 64 in a send (UDP_SEGMENT), so that one core outruns a tracker on another.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::figures::Figures;

/// One announce.
struct Request {
    sent_us: u64,
    /// `None` as long as there is no answer.
    latency_us: Option<u32>,
}

/// BufferSlice of a phase: its announces, and when it began and ended.
struct Span {
    requests: Range<usize>,
    time_us: Range<u64>,
    server_cpu_ns: u64,
}

/// Sockets and the announces that are kept an eye on.
pub(crate) struct Load {
    sockets: Vec<UdpSocket>,
    began: Instant,
    requests: Vec<Request>,
    /// The transaction ID of the first of them: how many were sent and forgotten.
    first: u32,
    connects: usize,
    template: [u8; ANNOUNCE_BYTES],
    server: Option<u32>,
}

impl Load {
    /// All sockets have one address, and so one connection ID.
    pub(crate) fn connect(target: SocketAddr, server: Option<u32>) -> Self {
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
        let requests = Vec::with_capacity(REQUESTS_USUAL);
        Self { sockets, began: Instant::now(), requests, first: 0, connects: 1, template, server }
    }

    /// One phase, with silence after it.
    pub(crate) fn offer(&mut self, rate: f64, length: Duration) -> Figures {
        let span = self.phase(rate, length);
        self.settle();
        let figures = self.figures(&span);
        self.forget();
        figures
    }

    /// One phase, with a lower rate right after it. Returns as well how many milliseconds into that
    /// the last announce was sent that was not answered promptly.
    pub(crate) fn flood(&mut self, rate: f64, length: Duration, rate_after: f64) -> (Figures, f64) {
        let span = self.phase(rate, length);
        let (first, ended_us) = (self.requests.len(), self.now_us());
        self.phase(rate_after, AFTER);
        let after = first..self.requests.len();
        self.settle();
        let late = |request: &&Request| request.latency_us.is_none_or(|us| us > PROMPT_US);
        let last = self.requests[after].iter().rfind(late);
        let recovery_ms = last.map_or(0.0, |last| (last.sent_us - ended_us) as f64 / 1e3);
        let figures = self.figures(&span);
        self.forget();
        (figures, recovery_ms)
    }

    /// Datagrams sent until now.
    pub(crate) fn sent(&self) -> usize {
        self.first as usize + self.requests.len() + self.connects
    }

    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Warms up and sends at a rate for a while.
    fn phase(&mut self, rate: f64, length: Duration) -> Span {
        self.send_for(rate, WARM_UP);
        let (first, began_us, cpu_ns) = (self.requests.len(), self.now_us(), self.server_cpu_ns());
        self.send_for(rate, length);
        Span {
            requests: first..self.requests.len(),
            time_us: began_us..self.now_us(),
            server_cpu_ns: self.server_cpu_ns() - cpu_ns,
        }
    }

    /// Late is never made up for by more than a burst.
    fn send_for(&mut self, rate: f64, length: Duration) {
        let (first, began_us) = (self.requests.len(), self.now_us());
        let end_us = began_us + length.as_micros() as u64;
        let mut skipped = 0.0;
        loop {
            let now_us = self.now_us();
            if now_us >= end_us {
                return;
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
        let first = self.first + self.requests.len() as u32;
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

    /// Returns how many answers there were.
    fn receive(&mut self) -> usize {
        let now_us = self.now_us();
        let mut bytes = [0; 2048];
        let mut count = 0;
        for socket in &self.sockets {
            for _ in 0..RECEIVES_MAX {
                let Ok(length) = socket.recv(&mut bytes) else { break };
                assert!(length >= 20 && bytes[3] == 1, "no announce response: {:?}", &bytes[..8]);
                let number = u32::from_be_bytes(*bytes[4..].first_chunk().unwrap());
                let request = &mut self.requests[(number - self.first) as usize];
                assert!(request.latency_us.is_none(), "answered twice");
                request.latency_us = Some((now_us - request.sent_us) as u32);
                count += 1;
            }
        }
        count
    }

    /// SocketKind until nothing has come for a while.
    fn settle(&mut self) {
        let mut until = self.now_us() + QUIET_US;
        while self.now_us() < until {
            if self.receive() > 0 {
                until = self.now_us() + QUIET_US;
            }
        }
    }

    /// Nothing is on its way any more.
    fn forget(&mut self) {
        self.first += self.requests.len() as u32;
        self.requests.clear();
    }

    fn figures(&self, span: &Span) -> Figures {
        let seconds = (span.time_us.end - span.time_us.start) as f64 / 1e6;
        let requests = &self.requests[span.requests.clone()];
        let mut latencies: Vec<u32> = requests.iter().filter_map(|r| r.latency_us).collect();
        latencies.sort_unstable();
        // What was answered meanwhile, whenever it was asked.
        let arrived = self.requests.iter().filter(|request| {
            let arrival = request.latency_us.map(|latency| request.sent_us + u64::from(latency));
            arrival.is_some_and(|arrival| span.time_us.contains(&arrival))
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
            server_cpu: span.server_cpu_ns as f64 / 1e9 / seconds,
        }
    }

    /// The processor time of all threads of the tracker, by the scheduler's statistics.
    fn server_cpu_ns(&self) -> u64 {
        let Some(server) = self.server else { return 0 };
        let threads = fs::read_dir(format!("/proc/{server}/task")).unwrap();
        threads
            .map(|thread| fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap())
            .map(|text| text.split_whitespace().next().unwrap().parse::<u64>().unwrap())
            .sum()
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
/// Announces of a phase that there is room for from the start.
const REQUESTS_USUAL: usize = 1 << 23;
/// As long as a queue may take to fill.
const WARM_UP: Duration = Duration::from_millis(500);
/// The phase in which everything is to be answered again.
const AFTER: Duration = Duration::from_millis(1500);
/// The most announces that a late send makes up for.
const BURST_MAX: f64 = 2048.0;
const RECEIVES_MAX: usize = 256;
const QUIET_US: u64 = 200_000;
const PROMPT_US: u32 = 20_000;
