//! A process takes over from the one that runs, while clients announce without a pause.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::common::{Ask, Binary, Client, eventually, hash};
use crate::state::{configured, start, stop};

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
