//! What a server does wrong is told for what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Run;
use super::server::Server;

const FLAGS: &str = "--duration 600ms --concurrency 4 --rate 50 --scrape-every 10 --timeout 150ms";

/// Every tenth announce.
fn tenth(number: u64) -> bool {
    number % 10 == 3
}

/// Runs a test against a server that spoils every tenth answer, and returns how many it spoiled.
#[track_caller]
fn spoiled(spoil: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> (Run, u64) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |number, right| {
        if !tenth(number) {
            return vec![right];
        }
        counted.fetch_add(1, Ordering::Relaxed);
        spoil(right)
    });
    let run = Run::new(server.address, FLAGS);
    drop(server);
    run.check_sums();
    let count = count.load(Ordering::Relaxed);
    assert!(count > 3, "{count} spoiled");
    (run, count)
}

#[test]
fn dropped_requests_are_timeouts_and_are_repeated() {
    let (run, dropped) = spoiled(|_| vec![]);
    assert_eq!(run.number("failures/timeout"), dropped, "{}", run.stdout);
    assert_eq!(run.number("total/failed"), dropped);
    assert!(run.number("operations/announce/retries") > 0);
    assert!(run.number("operations/announce/retries") <= dropped);
    assert_eq!((run.code, &run.report["verdict"]["grade"]), (Some(1), &"poor".into()));
}

#[test]
fn every_kind_of_wrong_answer_has_its_reason() {
    type Spoil = fn(Vec<u8>) -> Vec<Vec<u8>>;
    let kinds: [(&str, Spoil); 5] = [
        ("wrong_action", |mut right| {
            right[3] = 2;
            right.truncate(8);
            vec![right]
        }),
        ("wrong_length", |mut right| {
            right.push(0);
            vec![right]
        }),
        ("bad_address", |mut right| {
            right.extend([127, 0, 0, 1, 0, 0]);
            vec![right]
        }),
        ("bad_counts", |mut right| {
            right[12] = 0xff;
            vec![right]
        }),
        ("error_response", |right| vec![[&[0, 0, 0, 3], &right[4..8], b"try later"].concat()]),
    ];
    for (reason, spoil) in kinds {
        let (run, wrong) = spoiled(spoil);
        assert_eq!(run.number(&format!("failures/{reason}")), wrong, "{}", run.stdout);
        assert_eq!(run.number("total/failed"), wrong, "{reason}");
        assert_eq!(run.report["strays"], serde_json::json!({}));
        let told = run.stdout.contains("the tracker said: \"try later\"");
        assert_eq!(told, reason == "error_response", "{}", run.stdout);
    }
}

#[test]
fn second_answers_are_strays_and_no_failures() {
    let (run, doubled) = spoiled(|right| vec![right.clone(), right]);
    assert_eq!(run.number("strays/duplicate"), doubled, "{}", run.stdout);
    assert_eq!((run.number("total/failed"), run.code), (0, Some(0)));
}

#[test]
fn a_wrong_transaction_answers_nothing() {
    let (run, wrong) = spoiled(|mut right| {
        right[4] ^= 0x80;
        vec![right]
    });
    assert_eq!(run.number("strays/wrong_transaction"), wrong, "{}", run.stdout);
    assert_eq!(run.number("failures/timeout"), wrong);
    assert_eq!(run.number("total/failed"), wrong);
}

#[test]
fn what_comes_after_its_time_is_late() {
    // A server that holds an answer back until the next one but four is due.
    let mut held = Vec::new();
    let server = Server::start(move |number, right| {
        if number % 60 == 5 {
            held.push(right);
            return vec![];
        }
        // At 200 requests a second, 55 of them take longer than the timeout.
        if number % 60 == 0 {
            return held.drain(..).chain([right]).collect();
        }
        vec![right]
    });
    // One client, so that held answers go to the one that they are for.
    let flags = "--duration 900ms --concurrency 1 --rate 200 --scrape-every 0 --timeout 100ms";
    let run = Run::new(server.address, flags);
    run.check_sums();
    assert!(run.number("strays/late") > 0, "{}", run.stdout);
    let timeouts = run.number("failures/timeout");
    assert!(timeouts >= run.number("strays/late"));
    assert_eq!(run.number("total/failed"), timeouts);
}

#[test]
fn an_open_loop_does_not_hide_a_stall() {
    let stall = Duration::from_millis(200);
    let server = Server::start(move |number, right| {
        if number == 100 {
            std::thread::sleep(stall);
        }
        vec![right]
    });
    let flags = "--duration 1s --concurrency 10 --rate 50 --scrape-every 0 --timeout 5s";
    let run = Run::new(server.address, flags);
    run.check_sums();
    assert_eq!((run.number("total/failed"), run.number("unsent")), (0, 0), "{}", run.stdout);
    // A hundred of five hundred requests were due in the meantime, fifty of them in its first
    // half: the stall is seen by more than one in a hundred.
    assert!(run.number("total/latency_ns/max") >= 200_000_000 * 99 / 100, "{}", run.stdout);
    assert!(run.number("total/latency_ns/p99") > 100_000_000, "{}", run.stdout);
    assert!(run.number("total/latency_ns/p95") > 50_000_000, "{}", run.stdout);
}
