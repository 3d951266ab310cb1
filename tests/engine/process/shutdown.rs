//! SIGINT and SIGTERM: an orderly end, with a summary that adds up.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, hash};

/// What clients sent, and what came back.
#[derive(Default)]
struct Seen {
    /// Of each client.
    requests: [AtomicU64; CLIENTS],
    replies: AtomicU64,
    over: AtomicBool,
}

const CLIENTS: usize = 3;

/// How many requests a client sends at a time, and how few of them may be unanswered before it
/// sends more: what is under way fits into its receive buffer, however late the answers come.
const WINDOW: usize = 8;

/// Announces and scrapes as fast as answers come, until it is over; takes what is left then.
fn load(server: SocketAddr, seen: &Seen, number: usize) {
    let torrent = number as u32;
    let client = Client::new(server);
    client.connect();
    let announce = client.announce_request(&Ask::leecher(hash(torrent), 1001)).to_vec();
    let scrape = client.scrape_request(&[hash(torrent), hash(torrent + 1)]);
    let socket = client.socket();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut reply = [0; 2048];
    let (mut requests, mut replies) = (1, 1);
    while !seen.over.load(Ordering::Relaxed) {
        if requests - replies < WINDOW as u64 {
            for request in [&announce, &scrape].into_iter().cycle().take(WINDOW) {
                client.send(request);
                requests += 1;
            }
        }
        // None comes after the end.
        let answered = (0..WINDOW).take_while(|_| socket.recv(&mut reply).is_ok()).count();
        replies += answered as u64;
        // Published while it runs, so that the test sees that there is load.
        seen.requests[number].store(requests, Ordering::Relaxed);
    }
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut reply).is_ok() {
        replies += 1;
    }
    seen.replies.fetch_add(replies, Ordering::Relaxed);
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}"))
}

/// The sum over drop reasons: `bad_connection_id=3 shutdown=1`, or `0`.
fn drops(summary: &Value) -> u64 {
    let text = summary["drops"].as_str().unwrap();
    let counts = text.split(' ').map(|reason| reason.rsplit('=').next().unwrap());
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_signal_under_load_ends_in_good_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut binary = Binary::tracker(&[]);
        let server = binary.serving();
        let seen = Seen::default();
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let seen = &seen;
                scope.spawn(move || load(server, seen, number));
            }
            let busy = |requests: &AtomicU64| requests.load(Ordering::Relaxed) > 700;
            eventually("load", || seen.requests.iter().all(busy).then_some(()));
            binary.signal(signal);
            let status = binary.exit();
            // Only now: the load went on until the very end.
            seen.over.store(true, Ordering::Relaxed);
            assert_eq!(status.code(), Some(0), "{signal}: {:?}", binary.lines());
        });
        let [summary] = &binary.events_of("summary")[..] else { panic!("one summary") };
        let replies = seen.replies.load(Ordering::Relaxed);
        assert_eq!(number(summary, "sent"), replies, "{summary}");
        assert_eq!(number(summary, "received"), replies + drops(summary), "{summary}");
        assert_eq!(number(summary, "connects"), 3, "{summary}");
        let handled = ["connects", "announces", "scrapes"].map(|name| number(summary, name));
        assert!(handled.iter().sum::<u64>() >= replies, "{summary}");
        assert!(handled.iter().sum::<u64>() <= number(summary, "received"), "{summary}");
        assert_eq!(number(summary, "elsewhere"), 0, "{summary}");
        assert_eq!((number(summary, "torrents"), number(summary, "peers")), (3, 3), "{summary}");
        assert_eq!(number(summary, "worker_restarts"), 0, "{summary}");
    }
}

/// The process is held still while both signals are sent: it takes the first, and the second is
/// there as soon as it is let through.
#[test]
fn a_second_signal_ends_at_once() {
    let mut binary = Binary::tracker(&[]);
    binary.serving();
    binary.stop();
    binary.signal(Signal::SIGINT);
    binary.signal(Signal::SIGTERM);
    binary.signal(Signal::SIGCONT);
    let status = binary.exit();
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{status}");
    assert_eq!(binary.events_of("stopping; a second signal stops at once").len(), 1);
    assert!(binary.events_of("summary").is_empty());
}

#[test]
fn an_idle_process_stops_at_once() {
    let mut binary = Binary::tracker(&["--report-interval", "0s"]);
    binary.serving();
    binary.signal(Signal::SIGTERM);
    assert_eq!(binary.exit().code(), Some(0));
    let [summary] = &binary.events_of("summary")[..] else { panic!("one summary") };
    assert_eq!((number(summary, "received"), drops(summary)), (0, 0));
}

#[test]
fn a_stopped_trackers_port_is_free_at_once() {
    // An address of its own, so that no other test is given the port meanwhile.
    let start = |address: &str| {
        let mut command = Command::new(RINGTIDE);
        command.args(["tracker", "--listen", address, "--log-format", "json"]);
        Binary::spawn(command)
    };
    let mut binary = start("127.0.6.1:0");
    let address = binary.serving().to_string();
    for _ in 0..5 {
        binary.signal(Signal::SIGTERM);
        assert!(binary.exit().success());
        binary = start(&address);
        assert_eq!(binary.serving().to_string(), address);
    }
}
