//! Clients of the control socket and of the address for metrics that do what they should not,
//! many at a time. Others are answered, the tracker is not disturbed, and memory stays bounded.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::common::asking::{Controlled, ask};
use crate::common::{DEADLINE, eventually};
use crate::faults_live::bed::{descriptors, row};
use crate::faults_live::steadfast::Steadfast;

trait Stream: Read + Write + Send {
    fn never_block(&self);
}

impl Stream for TcpStream {
    fn never_block(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

impl Stream for UnixStream {
    fn never_block(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

/// Where a client comes in.
#[derive(Clone, Copy)]
enum Door {
    Control,
    Metrics,
}

impl Door {
    fn open(self, process: &Controlled) -> Box<dyn Stream> {
        match self {
            Self::Control => {
                let stream = UnixStream::connect(process.path("control.sock")).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Box::new(stream)
            }
            Self::Metrics => {
                let stream = TcpStream::connect(process.http()).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Box::new(stream)
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Control => "control socket",
            Self::Metrics => "HTTP address",
        }
    }
}

/// Lets `misbehave` do what it does at one door and then another client ask there, which must be
/// answered while what `misbehave` returned is still open.
#[track_caller]
fn others_are_served<T>(fault: &str, misbehave: impl Fn(&Controlled, Door) -> T) {
    for door in [Door::Control, Door::Metrics] {
        let process = Controlled::start("");
        let steadfast = Steadfast::start(process.binary.serving());
        assert_eq!(process.get("/healthz").0, 200);
        assert_eq!(process.ask("GET", "/healthz", "").0, 200);
        let (open, resident) = (descriptors(process.binary.pid()), resident_kib(&process));
        let held = misbehave(&process, door);
        let started = Instant::now();
        let (status, _) = ask(door.open(&process), "GET", "/healthz", "");
        assert_eq!(status, 200);
        row(&format!("{fault}, {}: another is answered", door.name()), started.elapsed());
        steadfast.goes_on();
        let grown = resident_kib(&process).saturating_sub(resident);
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more than before");
        drop(held);
        // What was asked above may still have been closing when they were counted.
        eventually("no more descriptors than before", || {
            (descriptors(process.binary.pid()) <= open).then_some(())
        });
        steadfast.end();
    }
}

fn resident_kib(process: &Controlled) -> u64 {
    let status = format!("/proc/{}/status", process.binary.pid());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_thousand_connections_that_are_silent_or_stop_in_mid_request() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    others_are_served("1,000 silent connections", |process, door| {
        let mut held: Vec<_> = (0..1000).map(|_| door.open(process)).collect();
        // Most have been closed by then.
        held.iter_mut().step_by(2).for_each(|stream| {
            let _ = stream.write_all(b"GET /stats.json HTTP/1.1\r\nhost:");
        });
        held
    });
}

#[test]
fn many_that_send_their_heads_and_bodies_drop_by_drop() {
    others_are_served("40 slow heads and bodies", |process, door| {
        let head = "GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";
        let mut held: Vec<_> = (0..40).map(|_| door.open(process)).collect();
        for at in 0..head.len() {
            for stream in &mut held {
                let _ = stream.write_all(&head.as_bytes()[at..=at]);
            }
        }
        held
    });
}

#[test]
fn bodies_that_never_end() {
    others_are_served("40 bodies that stop", |process, door| {
        let head = "PATCH /api/v1/access HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{";
        let open = |_| {
            let mut stream = door.open(process);
            stream.write_all(head.as_bytes()).unwrap();
            stream
        };
        (0..40).map(open).collect::<Vec<_>>()
    });
}

#[test]
fn many_that_read_nothing_of_their_answers() {
    others_are_served("40 that do not read", |process, door| {
        let mut held: Vec<_> = (0..40).map(|_| door.open(process)).collect();
        let requests = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
        for stream in &mut held {
            stream.never_block();
            // Until the process takes no more of it.
            for _ in 0..100 {
                if stream.write(requests.as_bytes()).is_err() {
                    break;
                }
            }
        }
        held
    });
}

/// Sends until it is cut off. Returns how much that was.
fn pour(mut stream: Box<dyn Stream>, head: &str, piece: &[u8]) -> u64 {
    let mut poured = 0;
    if stream.write_all(head.as_bytes()).is_ok() {
        while poured < GIGABYTE && stream.write_all(piece).is_ok() {
            poured += piece.len() as u64;
        }
    }
    poured
}

#[test]
fn a_gigabyte_of_head_or_body() {
    others_are_served("a gigabyte of head and body", |process, door| {
        let letters = [b'a'; 1 << 16];
        let chunk = [b"10000\r\n", &letters[..], b"\r\n"].concat();
        let request = "PATCH /api/v1/access HTTP/1.1\r\nhost: a\r\n";
        let announced = format!("{request}content-length: 1000000000\r\n\r\n");
        let chunked = format!("{request}transfer-encoding: chunked\r\n\r\n");
        let requests: [(&str, &[u8]); 4] = [
            ("GET / HTTP/1.1\r\nx: ", &letters),
            (&announced, &letters),
            (&chunked, &chunk),
            ("", &letters),
        ];
        for (head, piece) in requests {
            let poured = pour(door.open(process), head, piece);
            assert!(poured < GIGABYTE, "{head}: all of it was taken");
        }
    });
}

#[test]
fn garbage_again_and_again() {
    others_are_served("2,000 times garbage", |process, door| {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut bytes = vec![0; random.usize(1..2000)];
            random.fill(&mut bytes);
            let _ = door.open(process).write_all(&bytes);
        }
    });
}

#[test]
fn clients_that_hang_up_before_they_are_answered() {
    others_are_served("1,000 that hang up", |process, door| {
        for _ in 0..1000 {
            let mut stream = door.open(process);
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        }
        let stream = TcpStream::connect(process.http()).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    });
}

const GIGABYTE: u64 = 1_000_000_000;

/// 32 connections to each of two listeners, with a body of 1 MiB each at the control socket.
const GROWTH_KIB_MAX: u64 = 64 << 10;
