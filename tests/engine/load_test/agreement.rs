//! Against ringtide itself: nothing fails, and both sides count the same.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::Run;
use crate::common::{Binary, RINGTIDE};

/// Runs a test against a tracker of its own and compares both sides' figures.
#[track_caller]
fn agree(mut tracker: Binary, flags: &str) -> (Run, Value) {
    let pid = tracker.pid();
    // Answers are waited for, however busy the machine is.
    let run = Run::new(tracker.serving(), &format!("{flags} --timeout 60s --pid {pid}"));
    tracker.signal(Signal::SIGTERM);
    assert!(tracker.exit().success());
    let [summary] = &tracker.events_of("summary")[..] else { panic!("one summary") };
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    run.check_sums();
    assert_eq!((run.number("total/failed"), run.number("unsent")), (0, 0), "{}", run.stdout);
    assert_eq!(run.report["strays"], serde_json::json!({}));
    let theirs = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{summary}"));
    for (ours, name) in [
        ("operations/connect/sent", "connects"),
        ("operations/announce/sent", "announces"),
        ("operations/scrape/sent", "scrapes"),
        ("total/sent", "received"),
        ("total/succeeded", "sent"),
    ] {
        assert_eq!(run.number(ours), theirs(name), "{name}: {summary}");
    }
    assert!(run.number("tracker/rss_bytes") > 0);
    (run, summary.clone())
}

#[test]
fn a_closed_loop_counts_what_the_tracker_counts() {
    let flags = "--duration 1s --concurrency 20 --torrents 10 --hashes 3 --peers 90 --seed 3";
    let (run, summary) = agree(Binary::tracker(&["--workers", "1"]), flags);
    assert_eq!(summary["torrents"], 10);
    assert!(summary["completed"].as_u64().unwrap() > 0);
    assert!(run.number("operations/scrape/sent") > 0);
    assert!(run.report["peers_per_answer"].as_f64().unwrap() > 1.0);
    assert!(run.stdout.contains("verdict     "), "{}", run.stdout);
    assert_eq!(run.report["setup"]["loop_kind"], "closed");
    assert_eq!(run.number("setup/seed"), 3);
}

#[test]
fn several_workers_on_both_sides_agree_with_and_without_coalescing() {
    for coalesce in ["on", "off"] {
        let flags = format!(
            "--duration 500ms --concurrency 21 --workers 2 --popularity zipf:0.9 --torrents 1000 \
             --coalesce {coalesce}"
        );
        let (run, summary) = agree(Binary::tracker(&["--workers", "2"]), &flags);
        assert_eq!(run.report["setup"]["coalesced"], coalesce == "on");
        // Only a request that travels alone is steered by its own info hash.
        let elsewhere = summary["elsewhere"].as_u64().unwrap();
        assert_eq!(elsewhere > 0, coalesce == "on", "{summary}");
    }
}

#[test]
fn an_open_loop_sends_exactly_what_its_schedule_says() {
    let flags = "--duration 1s --concurrency 10 --rate 50 --scrape-every 4 --workers 2";
    let (run, _) = agree(Binary::tracker(&[]), flags);
    let sent = run.number("operations/announce/sent") + run.number("operations/scrape/sent");
    assert_eq!(sent, 500);
    // The probe before the load, and one of each client.
    assert_eq!(run.number("operations/connect/sent"), 11);
    assert_eq!(run.report["setup"]["loop_kind"], "open");
}

#[test]
fn more_clients_than_a_tracker_has_sockets() {
    let flags = "--duration 500ms --concurrency 1500 --rate 2 --hashes 1";
    let (run, summary) = agree(Binary::tracker(&["--workers", "1"]), flags);
    assert_eq!(run.number("operations/connect/sent"), 1501);
    // Every client has an address of its own: none takes another's place in a swarm.
    let stopped = run.number("operations/announce/sent") - summary["peers"].as_u64().unwrap();
    assert!(stopped < 100, "{summary}");
}

#[test]
fn a_name_and_ipv6_are_targets_too() {
    let mut command = std::process::Command::new(RINGTIDE);
    command.args(["tracker", "--listen", "[::1]:0", "--workers", "1", "--log-format", "json"]);
    agree(Binary::spawn(command), "--duration 300ms --concurrency 3");
    let tracker = Binary::tracker(&["--workers", "1"]);
    let port = tracker.serving().port();
    // Where the name also means ::1, that is refused and the next address tried.
    let flags = "--duration 300ms --concurrency 3 --timeout 60s";
    let run = Run::new(format!("localhost:{port}"), flags);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
}
