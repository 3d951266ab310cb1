//! Clocks that jump while the tracker runs, by a library loaded before the C library: the time of
//! day, and what counts time through a suspend. Only the monotonic clock ages anything.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use nix::libc::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, give_away, hash};

/// A directory with a configuration, and a file that moves the clocks of who is started in it.
struct Clocks {
    directory: TempDir,
    ahead: fs::File,
}

impl Clocks {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/faults_live/clock_shift.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(path("shift.so")).arg(source);
        assert!(compile.status().unwrap().success());
        fs::write(path("ahead"), [0; 4096]).unwrap();
        let text = "workers = 1\nreport_interval = \"1s\"\n[privileges]\nuser = \"65534\"\n\
                    [tracker]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndirectory = \"state\"\n";
        fs::write(path("r.toml"), text).unwrap();
        give_away(directory.path());
        let ahead = fs::OpenOptions::new().write(true).open(path("ahead")).unwrap();
        Self { ahead, directory }
    }

    fn start(&self) -> Binary {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = Command::new(RINGTIDE);
        command.args(["run", "--log-format", "json", "-c"]).arg(path("r.toml"));
        command.env("LD_PRELOAD", path("shift.so")).env("CLOCK_SHIFT", path("ahead"));
        Binary::spawn(command)
    }

    /// Sets a clock ahead by so many seconds of the real one.
    fn set(&self, clock: i32, seconds: i64) {
        self.ahead.write_all_at(&seconds.to_ne_bytes(), 8 * clock as u64).unwrap();
    }
}

fn tracker_with_peers(clocks: &Clocks) -> (Binary, Client) {
    let binary = clocks.start();
    let client = Client::new(binary.serving());
    (1..=PEERS).for_each(|port| drop(client.announce(&Ask::leecher(hash(1), port))));
    (binary, client)
}

/// Lets ticks and sweeps go by.
fn linger(binary: &Binary) -> Value {
    let reports = binary.events_of("tracker").len();
    binary.nth_event("tracker", reports + 2)
}

/// Everybody is still there, and a connection ID of before is good.
fn assert_unmoved(binary: &Binary, client: &Client) {
    let report = linger(binary);
    assert_eq!((&report["peers"], &report["drops"]), (&PEERS.into(), &"0".into()), "{report}");
    let id = client.id();
    let announced = client.announce(&Ask::leecher(hash(1), 1));
    assert_eq!((announced.counts(), client.id()), ((0, PEERS.into()), id));
}

#[test]
fn the_time_of_day_jumps_by_a_day_and_back() {
    let clocks = Clocks::new();
    let (mut binary, client) = tracker_with_peers(&clocks);
    for days in [1, -1, 400] {
        clocks.set(CLOCK_REALTIME, days * DAY_S);
        assert_unmoved(&binary, &client);
    }
    // The log tells the time of day as it is.
    let day = |event: &Value| event["timestamp"].as_str().unwrap()[..10].to_owned();
    assert_ne!(day(&binary.events()[0]), day(&linger(&binary)));
    binary.signal(Signal::SIGTERM);
    assert_eq!(binary.exit().code(), Some(0));
    // What was saved then is as old as it is by the same clock, and new by one that was set back.
    for days in [400, 0] {
        clocks.set(CLOCK_REALTIME, days * DAY_S);
        let mut next = clocks.start();
        let loaded = next.event("loaded swarm");
        assert_eq!((&loaded["peers"], &loaded["expired"]), (&PEERS.into(), &0.into()), "{loaded}");
        next.serving();
        next.signal(Signal::SIGTERM);
        assert_eq!(next.exit().code(), Some(0));
    }
}

/// A suspended machine announces nothing and answers nothing: its time does not count.
#[test]
fn a_machine_is_suspended_for_an_hour() {
    let clocks = Clocks::new();
    let (binary, client) = tracker_with_peers(&clocks);
    for clock in [CLOCK_REALTIME, CLOCK_BOOTTIME] {
        clocks.set(clock, 3600);
    }
    assert_unmoved(&binary, &client);
}

/// The other way round: what the tests above move would age everything if it were looked at.
#[test]
fn time_that_goes_by_ages_peers_and_connection_ids() {
    let clocks = Clocks::new();
    let (binary, client) = tracker_with_peers(&clocks);
    let before = binary.events_of("tracker").len();
    clocks.set(CLOCK_MONOTONIC, DAY_S);
    client.send(&client.announce_request(&Ask::leecher(hash(1), 1)));
    let report = |fits: fn(&Value) -> bool| {
        eventually("a report", || binary.events_of("tracker").into_iter().skip(before).find(fits))
    };
    report(|report| report["drops"] == "bad_connection_id=1");
    report(|report| report["peers"] == 0);
}

const DAY_S: i64 = 86_400;
const PEERS: u16 = 200;
