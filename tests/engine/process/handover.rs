//! A process takes over from the one that runs, while clients announce without a pause.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::common::{Ask, Binary, Client, eventually, hash};
use crate::process::state::{configured, start, stop};

const CLIENTS: u16 = 6;
const PEERS: u16 = 100;

/// Announces one after the other, to torrents of its own and to the common one, until it is over.
/// Each request is sent once: a client panics when an answer does not come. Returns how many.
fn announce_on(server: SocketAddr, number: u16, over: &AtomicBool, announced: &AtomicU64) -> u64 {
    let client = Client::new(server);
    let id = client.connect();
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let torrent = 100 * u32::from(number) + count as u32 % 50;
        let answer = client.announce(&Ask::leecher(hash(torrent), number));
        assert_eq!(answer.counts(), (0, 1), "alone in a torrent of its own");
        let answer = client.announce(&Ask::leecher(hash(1), PEERS));
        assert_eq!(answer.counts(), (0, PEERS.into()), "all others are known");
        assert_eq!(client.id(), id, "the connection ID is valid as before");
        count += 1;
        announced.fetch_add(1, Ordering::Relaxed);
    }
    count
}

#[test]
fn nothing_is_lost_while_one_process_takes_over_from_another() {
    let directory = configured("[state]\ndirectory = \"state\"\ntakeover = true");
    let mut running = start(directory.path());
    let server = running.serving();
    let client = Client::new(server);
    for port in 1..=PEERS {
        assert_eq!(client.announce(&Ask::leecher(hash(1), port)).leechers, u32::from(port));
    }
    let (over, announced) = (AtomicBool::new(false), AtomicU64::new(0));
    let sent: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (2..2 + CLIENTS)
            .map(|number| {
                let (over, announced) = (&over, &announced);
                scope.spawn(move || announce_on(server, number, over, announced))
            })
            .collect();
        let progress = || {
            let goal = announced.load(Ordering::Relaxed) + 500;
            eventually("announces", || {
                let is_stuck = clients.iter().any(|client| client.is_finished());
                (is_stuck || announced.load(Ordering::Relaxed) > goal).then_some(())
            });
        };
        for _ in 0..4 {
            progress();
            let successor = start(directory.path());
            assert_eq!(successor.serving(), server, "{:?}", successor.lines());
            assert_eq!(successor.event("serving")["steering"], "on");
            assert_eq!(running.exit().code(), Some(0), "{:?}", running.lines());
            let handed_over = running.event("handed over");
            assert_eq!(handed_over["sockets"], 4, "two workers, two addresses");
            running = successor;
        }
        progress();
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(sent > 2500);
    assert_eq!(client.scrape_one(hash(1)), (0, 0, PEERS.into()));
    let ended = stop(running);
    let summary = ended.event("summary");
    assert_eq!(
        (&summary["drops"], &summary["kernel_drops"]),
        (&Value::from("0"), &Value::from(0)),
        "{summary}"
    );
    assert!(!directory.path().join("state/handover.sock").exists());
}

#[test]
fn who_serves_something_else_takes_nothing_over() {
    let directory = configured("[state]\ndirectory = \"state\"\ntakeover = true");
    let running = start(directory.path());
    let client = Client::new(running.serving());
    let file = directory.path().join("r.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("workers = 2", "workers = 1")).unwrap();
    let refusal = start(directory.path()).refusal();
    assert!(refusal.contains("another number of workers"), "{refusal}");
    running.event("a process that asked to take over is refused");
    fs::write(&file, text.replace("takeover = true", "takeover = false")).unwrap();
    let refusal = start(directory.path()).refusal();
    assert!(refusal.contains("another ringtide keeps its state there"), "{refusal}");
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1)).counts(), (0, 1));
    stop(running);
}

/// An address for metrics that both processes can name beforehand.
fn own_address() -> SocketAddr {
    TcpListener::bind("127.99.0.1:0").unwrap().local_addr().unwrap()
}

/// What is wrong with a successor shows while the process that runs still serves.
#[test]
fn a_successor_that_cannot_start_takes_nothing_over() {
    let state = "[state]\ndirectory = \"state\"\ntakeover = true\n";
    let directory = configured(state);
    let running = start(directory.path());
    let client = Client::new(running.serving());
    client.announce(&Ask::leecher(hash(1), 1));
    let file = directory.path().join("r.toml");
    let text = fs::read_to_string(&file).unwrap();
    let taken = TcpListener::bind("127.99.0.1:0").unwrap();
    for (wrong, reason) in [
        ("[control]\nsocket = \"c.sock\"\ngroup = \"no such group\"\n", "no such group"),
        ("[control]\nsocket = \"/proc/none/c.sock\"\n", "/proc/none"),
        (&format!("[http]\nlisten = \"{}\"\n", taken.local_addr().unwrap()), "in use"),
        ("[tracker]\nconnection_key_file = \"none\"\n", "none"),
        ("[tracker]\naccess_mode = \"allow\"\naccess_file = \"none\"\n", "none"),
    ] {
        let text = match wrong.strip_prefix("[tracker]\n") {
            Some(more) => text.replace("[tracker]\n", &format!("[tracker]\n{more}")),
            None => format!("{text}{wrong}"),
        };
        fs::write(&file, text).unwrap();
        let mut successor = start(directory.path());
        assert_ne!(successor.exit().code(), Some(0), "{wrong}");
        let lines = successor.lines().join("\n");
        assert!(lines.contains(reason) && !lines.contains("panicked"), "{reason}: {lines}");
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1)).counts(), (0, 1), "{wrong}");
    }
    assert!(running.events_of("another process takes over").is_empty());
    stop(running);
}

/// Asks for the health of whoever accepts the connection.
fn assert_healthy(mut stream: impl Read + Write) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Both listen on them for a while, and whoever asks is answered by one.
#[test]
fn control_socket_and_metrics_are_taken_over_too() {
    let http = own_address();
    let directory = configured(&format!(
        "[state]\ndirectory = \"state\"\ntakeover = true\n[control]\nsocket = \"c.sock\"\n\
         [http]\nlisten = \"{http}\"\n"
    ));
    let mut running = start(directory.path());
    for _ in 0..3 {
        running.serving();
        let successor = start(directory.path());
        successor.serving();
        assert_eq!(running.exit().code(), Some(0), "{:?}", running.lines());
        running = successor;
        assert_healthy(UnixStream::connect(directory.path().join("c.sock")).unwrap());
        assert_healthy(TcpStream::connect(http).unwrap());
    }
    stop(running);
    let left = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("c.sock")));
}

#[test]
fn after_a_crash_there_is_nobody_to_take_over_from() {
    let directory = configured("[state]\ndirectory = \"state\"\ntakeover = true");
    let mut first: Binary = start(directory.path());
    first.serving();
    first.signal(nix::sys::signal::Signal::SIGKILL);
    first.exit();
    assert!(directory.path().join("state/handover.sock").exists());
    let second = start(directory.path());
    second.serving();
    stop(second);
}
