//! What is logged while the process runs, and what it costs to do nothing.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, hash};

fn tracker(arguments: &[&str], filter: &str) -> Binary {
    let mut command = Command::new(RINGTIDE);
    command.args(["tracker", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    command.args(arguments).env("RINGTIDE_LOG", filter);
    Binary::spawn(command)
}

/// [`Binary::events`] refuses any line that is not one JSON object.
#[test]
fn json_lines_are_json_at_every_level() {
    for filter in ["info", "trace", "warn,ringtide=debug"] {
        let arguments = ["--log-format", "json", "--report-interval", "0s"];
        let mut binary = tracker(&arguments, filter);
        let client = Client::new(binary.serving());
        client.announce(&Ask::leecher(hash(1), 1001));
        let before = binary.events().len();
        // Nothing is logged per packet, at any level.
        for number in 0..100 {
            client.announce(&Ask::leecher(hash(number), 1001));
        }
        assert_eq!(binary.events().len(), before, "{filter}: {:?}", binary.lines());
        binary.signal(Signal::SIGTERM);
        assert_eq!(binary.exit().code(), Some(0));
        for event in binary.events() {
            for field in ["timestamp", "level", "target", "message"] {
                assert!(event[field].is_string(), "no {field}: {event}");
            }
        }
    }
}

#[test]
fn a_process_without_a_log_is_silent() {
    let mut binary = tracker(&["--report-interval", "1s"], "off");
    // It says nothing when it serves: its workers show that it does.
    let tasks = format!("/proc/{}/task", binary.pid());
    let threads = || fs::read_dir(&tasks).is_ok_and(|tasks| tasks.count() > 1);
    eventually("workers", || threads().then_some(()));
    binary.signal(Signal::SIGTERM);
    assert_eq!(binary.exit().code(), Some(0));
    assert_eq!(binary.lines(), [""; 0]);
}

#[test]
fn the_report_tells_what_happened_and_what_is_held() {
    let binary = Binary::tracker(&["--report-interval", "1s"]);
    let client = Client::new(binary.serving());
    client.send(b"too short");
    for number in 0..50 {
        client.announce(&Ask::leecher(hash(number), 1001));
    }
    let reports = |what: fn(&serde_json::Value) -> bool| {
        eventually("a report", || binary.events_of("tracker").into_iter().find(what))
    };
    reports(|report| report["announces_per_s"].as_f64() > Some(0.0));
    reports(|report| report["drops"] == "too_short=1");
    // Later ones tell what happened since the one before: nothing, but what is held stays.
    let quiet = reports(|report| report["responses_per_s"] == 0.0 && report["peers"] == 50);
    assert_eq!((&quiet["torrents"], &quiet["drops"]), (&50.into(), &"0".into()), "{quiet}");
}

#[test]
fn text_lines_are_for_people() {
    let binary = tracker(&["--report-interval", "1s"], "info");
    let line = eventually("a report", || {
        binary.lines().into_iter().find(|line| line.contains("announces_per_s=0"))
    });
    assert!(line.contains("INFO") && line.contains("torrents=0 peers=0"), "{line}");
    assert!(!line.contains('\u{1b}'), "no colours where there is no terminal");
    let serving = binary.lines().into_iter().find(|line| line.contains("serving listen="));
    assert!(serving.unwrap().contains(", [::1]:"));
}

/// The one place where time is measured: CPU time, of which there must be next to none.
#[test]
fn an_idle_process_costs_next_to_nothing() {
    let binary = Binary::tracker(&["--report-interval", "2s"]);
    binary.nth_event("tracker", 1);
    let before = cpu_ticks(&binary);
    // Two seconds later.
    binary.nth_event("tracker", 2);
    let ticks = cpu_ticks(&binary) - before;
    assert!(ticks < 5, "{ticks} ticks of 10 ms in 2 s");
}

/// `utime` and `stime` of all threads, in clock ticks (proc(5)).
fn cpu_ticks(binary: &Binary) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", binary.pid())).unwrap();
    // The name is in brackets and ends the fields that are not plain numbers; state comes next.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
