//! What a server does wrong is told for what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringtide::wire::bep15::request_field;

use super::Run;
use super::server::Server;

/// 100 announces or more, and answers that are waited for however busy the machine is.
const PATIENT: &str = "--duration 600ms --concurrency 4 --rate 50 --scrape-every 10 --timeout 60s";
/// The same for requests that are not answered: given up and repeated before the end.
const IMPATIENT: &str = "--duration 2s --concurrency 4 --rate 15 --scrape-every 10 --timeout 1s";

/// Every tenth announce, but for the last ones: each has others behind it.
fn tenth(number: u64) -> bool {
    number % 10 == 3 && number < 100
}

/// Runs a test against a server that spoils every tenth answer, and returns how many it spoiled.
#[track_caller]
fn spoiled(flags: &str, spoil: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> (Run, u64) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |number, right| {
        if !tenth(number) {
            return vec![right];
        }
        counted.fetch_add(1, Ordering::Relaxed);
        spoil(right)
    });
    let run = Run::new(server.address, flags);
    drop(server);
    run.check_sums();
    let count = count.load(Ordering::Relaxed);
    assert!(count > 3, "{count} spoiled");
    (run, count)
}

#[test]
fn dropped_requests_are_timeouts_and_are_repeated() {
    let (run, dropped) = spoiled(IMPATIENT, |_| vec![]);
    // On a busy machine a right answer may come late, too.
    let unanswered = dropped + run.number("strays/late");
    assert_eq!(run.number("failures/timeout"), unanswered, "{}", run.stdout);
    assert_eq!(run.number("total/failed"), unanswered);
    assert!(run.number("operations/announce/retries") > 0);
    assert!(run.number("operations/announce/retries") <= unanswered);
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
        let (run, wrong) = spoiled(PATIENT, spoil);
        assert_eq!(run.number(&format!("failures/{reason}")), wrong, "{}", run.stdout);
        assert_eq!(run.number("total/failed"), wrong, "{reason}");
        assert_eq!(run.report["strays"], serde_json::json!({}));
        let told = run.stdout.contains("the tracker said: \"try later\"");
        assert_eq!(told, reason == "error_response", "{}", run.stdout);
    }
}

#[test]
fn second_answers_are_strays_and_no_failures() {
    let (run, doubled) = spoiled(PATIENT, |right| vec![right.clone(), right]);
    assert_eq!(run.number("strays/duplicate"), doubled, "{}", run.stdout);
    assert_eq!((run.number("total/failed"), run.code), (0, Some(0)));
}

#[test]
fn a_wrong_transaction_answers_nothing() {
    let (run, wrong) = spoiled(IMPATIENT, |mut right| {
        right[4] ^= 0x80;
        vec![right]
    });
    assert_eq!(run.number("strays/wrong_transaction"), wrong, "{}", run.stdout);
    let unanswered = wrong + run.number("strays/late");
    assert_eq!(run.number("failures/timeout"), unanswered, "{}", run.stdout);
    assert_eq!(run.number("total/failed"), unanswered);
}

#[test]
fn what_comes_after_its_time_is_late() {
    // Only the first announce of a client's one peer says that it has started. The server holds the
    // answer back until it is asked that again, which is when the client has given it up.
    let mut held = Vec::new();
    let server = Server::seeing(move |request, right| {
        let is_start = request[request_field::EVENT] == [0, 0, 0, 2];
        if is_start && held.is_empty() {
            held.push(right);
            return vec![];
        }
        let late = if is_start { std::mem::take(&mut held) } else { vec![] };
        [late, vec![right]].concat()
    });
    let flags = "--duration 2s --concurrency 1 --rate 50 --hashes 1 --peers 1 --churn 0 \
                 --scrape-every 0 --timeout 100ms";
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
    let flags = "--duration 1s --concurrency 10 --rate 50 --scrape-every 0 --timeout 60s";
    let run = Run::new(server.address, flags);
    run.check_sums();
    assert_eq!((run.number("total/failed"), run.number("unsent")), (0, 0), "{}", run.stdout);
    // A hundred of five hundred requests were due in the meantime, fifty of them in its first
    // half: the stall is seen by more than one in a hundred.
    assert!(run.number("total/latency_ns/max") >= 200_000_000 * 99 / 100, "{}", run.stdout);
    assert!(run.number("total/latency_ns/p99") > 100_000_000, "{}", run.stdout);
    assert!(run.number("total/latency_ns/p95") > 50_000_000, "{}", run.stdout);
}
