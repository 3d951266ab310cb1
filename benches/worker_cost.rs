//! CPU time per announce of one pinned worker under load, next to a bare echo on the same engine.
//!
//! `cargo bench --bench worker_cost [-- ROUNDS] [ENGINE] [ADDRESS]`: io_uring, epoll, or both when
//! none is named. The worker is pinned to the first core, the load to the second: 16 clients, each
//! with 64 requests in flight. Rounds of both handlers on all engines alternate and medians are
//! printed. The echo answers with as many bytes as the tracker does on average. On 0.0.0.0, the
//! default, the kernel tells with each request which address was asked; on 127.0.0.1 it need not.
#![allow(clippy::unwrap_used)]

#[path = "common/canned.rs"]
mod canned;
#[path = "common/served.rs"]
mod served;

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmsg,
};
use ringtide::io::Engine;
use ringtide::telemetry::{Counter, Counters};
use ringtide::tracker::core::policy::{Policy, SharedPolicy};
use ringtide::tracker::store::{Secrets, Shards};
use ringtide::tracker::udp::connection_id::ConnectionIds;
use ringtide::tracker::udp::handler::{Tracker, TrackerParts};

use canned::Canned;
use served::{Served, serve};

/// What one round came to.
#[derive(Clone, Copy)]
struct Round {
    responses_per_s: f64,
    cpu_ns_per_response: f64,
    busy_share: f64,
    bytes_per_response: f64,
}

fn main() {
    let rounds: usize = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(7);
    let cores = core_affinity::get_core_ids().unwrap();
    assert!(cores.len() > 1, "the worker and the load need a core each");
    core_affinity::set_for_current(cores[1]);
    let core = [Some(cores[0].id)];
    let listen = std::env::args().filter_map(|word| word.parse().ok()).next();
    let listen = SocketAddr::new(listen.unwrap_or(IpAddr::from([0; 4])), 0).to_string();
    let named = |engine: &Engine| std::env::args().any(|word| word == engine.name());
    let any_named = Engine::ALL.iter().any(named);
    let mut measured: Vec<_> = Engine::ALL
        .into_iter()
        .filter(|engine| !any_named || named(engine))
        .map(|engine| (engine, Vec::new(), Vec::new()))
        .collect();
    for _ in 0..rounds {
        for (engine, tracker, echo) in &mut measured {
            let round = measure(serve(&listen, *engine, &core, tracker_handler));
            let bytes = round.bytes_per_response as usize;
            tracker.push(round);
            let canned = move |_| Canned::with_bytes(bytes);
            echo.push(measure(serve(&listen, *engine, &core, canned)));
        }
    }
    println!(
        "{:17} {:>12} {:>16} {:>10} {:>8}",
        "", "responses/s", "CPU ns/response", "CPU share", "bytes"
    );
    for (engine, tracker, echo) in &measured {
        print(&format!("{} tracker", engine.name()), tracker);
        print(&format!("{} echo", engine.name()), echo);
    }
    for (engine, tracker, echo) in &measured {
        compare(&format!("tracker to echo on {}", engine.name()), tracker, echo);
    }
    if let [(_, ring, ring_echo), (_, epoll, epoll_echo)] = &measured[..] {
        compare("epoll to io_uring, tracker", epoll, ring);
        compare("epoll to io_uring, echo", epoll_echo, ring_echo);
    }
}

fn compare(what: &str, these: &[Round], those: &[Round]) {
    let ratios: Vec<f64> = these
        .iter()
        .zip(those)
        .map(|(this, that)| this.cpu_ns_per_response / that.cpu_ns_per_response)
        .collect();
    println!("CPU per response, {what}, pair by pair: median {:.3}", median(&ratios));
}

fn print(name: &str, rounds: &[Round]) {
    let of = |field: fn(&Round) -> f64| median(&rounds.iter().map(field).collect::<Vec<_>>());
    println!(
        "{name:17} {:12.0} {:16.0} {:9.0}% {:8.0}",
        of(|round| round.responses_per_s),
        of(|round| round.cpu_ns_per_response),
        of(|round| round.busy_share * 100.0),
        of(|round| round.bytes_per_response),
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn tracker_handler(index: usize) -> Tracker {
    Tracker::new(TrackerParts {
        worker: index,
        shards: Arc::new(Shards::new(1, &Secrets::random().unwrap())),
        policy: SharedPolicy::new(Policy::default(), [7; 2]),
        ids: ConnectionIds::new([7; 16], 120),
        counters: Arc::new(Counters::default()),
    })
}

fn measure(server: Served) -> Round {
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    let counters = &server.counters[0];
    let mut clients: Vec<_> = (0..CLIENTS).map(|index| Client::new(address, index)).collect();
    load(&mut clients, WARM_UP);
    let (before, cpu, started) = (counters.snapshot(), worker_cpu_ns(), Instant::now());
    load(&mut clients, MEASURED);
    let (elapsed, cpu) = (started.elapsed(), worker_cpu_ns() - cpu);
    let counted = counters.snapshot().since(&before);
    server.workers.stop();
    let responses = counted.get(Counter::PacketsSent) as f64;
    Round {
        responses_per_s: responses / elapsed.as_secs_f64(),
        cpu_ns_per_response: cpu as f64 / responses,
        busy_share: cpu as f64 / elapsed.as_nanos() as f64,
        bytes_per_response: counted.get(Counter::BytesSent) as f64 / responses,
    }
}

/// Keeps every client's window full for `duration`.
fn load(clients: &mut [Client], duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        for client in &mut *clients {
            client.turn();
        }
    }
    for client in clients {
        client.settle();
    }
}

struct Client {
    socket: UdpSocket,
    request: [u8; 98],
    rng: fastrand::Rng,
    in_flight: usize,
    last_reply: Instant,
    headers: MultiHeaders<SockaddrStorage>,
    replies: Vec<[u8; 1500]>,
}

impl Client {
    fn new(server: SocketAddr, index: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut connect = [0; 16];
        connect[..8].copy_from_slice(&0x0417_2710_1980u64.to_be_bytes());
        let mut reply = [0; 1500];
        socket.send(&connect).unwrap();
        socket.recv(&mut reply).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut request = [0; 98];
        request[..8].copy_from_slice(&reply[8..16]);
        request[11] = 1;
        request[64..72].copy_from_slice(&(index % 2).to_be_bytes());
        request[92..96].copy_from_slice(&u32::MAX.to_be_bytes());
        request[96..98].copy_from_slice(&(2000 + index as u16).to_be_bytes());
        Self {
            socket,
            request,
            rng: fastrand::Rng::with_seed(index),
            in_flight: 0,
            last_reply: Instant::now(),
            headers: MultiHeaders::preallocate(WINDOW, None),
            replies: vec![[0; 1500]; WINDOW],
        }
    }

    /// Takes the replies that are there and fills the window again.
    fn turn(&mut self) {
        let received = self.receive();
        if received > 0 {
            self.in_flight = self.in_flight.saturating_sub(received);
            self.last_reply = Instant::now();
        } else if self.last_reply.elapsed() > LOST_AFTER {
            self.in_flight = 0;
            self.last_reply = Instant::now();
        }
        if WINDOW - self.in_flight >= BATCH {
            self.send(WINDOW - self.in_flight);
        }
    }

    fn receive(&mut self) -> usize {
        let mut slices: Vec<[std::io::IoSliceMut<'_>; 1]> =
            self.replies.iter_mut().map(|reply| [std::io::IoSliceMut::new(reply)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        recvmmsg(self.socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None)
            .map_or(0, Iterator::count)
    }

    /// Sends `count` announces for random torrents as one super-packet.
    fn send(&mut self, count: usize) {
        let mut batch = Vec::with_capacity(count * self.request.len());
        for _ in 0..count {
            let torrent = self.rng.u64(..TORRENTS).to_be_bytes();
            self.request[16..24].copy_from_slice(&torrent);
            self.request[28..36].copy_from_slice(&torrent);
            batch.extend_from_slice(&self.request);
        }
        let slices = [IoSlice::new(&batch)];
        let size = self.request.len() as u16;
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        if sendmsg::<SockaddrStorage>(fd, &slices, &segments, flags, None).is_ok() {
            self.in_flight += count;
        }
    }

    /// Takes what is still coming, so that rounds do not mix.
    fn settle(&mut self) {
        let until = Instant::now() + LOST_AFTER;
        while self.in_flight > 0 && Instant::now() < until {
            self.in_flight = self.in_flight.saturating_sub(self.receive());
        }
    }
}

/// CPU time of the thread named worker-0, from the scheduler's own statistics.
fn worker_cpu_ns() -> u64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| task.unwrap().path())
        .filter(|path| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "worker-0\n")
        })
        .map(|path| std::fs::read_to_string(path.join("schedstat")).unwrap())
        .map(|text| text.split_whitespace().next().unwrap().parse::<u64>().unwrap())
        .sum()
}

const CLIENTS: u64 = 16;
const WINDOW: usize = 64;
const BATCH: usize = 16;
const TORRENTS: u64 = 10_000;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_millis(1500);
const LOST_AFTER: Duration = Duration::from_millis(50);
