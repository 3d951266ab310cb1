//! SIGHUP: the access list is read again while announces go on.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::{Ask, Binary, Client, RINGTIDE, file, hash};

fn start(mode: &str, list: &str) -> (Binary, Client) {
    let binary = Binary::tracker(&["--access-mode", mode, "--access-file", list]);
    let client = Client::new(binary.serving());
    (binary, client)
}

/// The list is a pipe, so that reading it takes for as long as the test wants.
#[test]
fn announces_are_answered_while_the_list_is_read() {
    let (directory, _) = file("unused", "");
    let pipe = directory.path().join("list");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = pipe.to_str().unwrap().to_owned();
    // Opening a pipe for writing waits for its reader, which is the process at its start.
    let first = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, format!("{}\n", hash(9)))
    });
    let (binary, client) = start("deny", &path);
    first.join().unwrap().unwrap();
    let ask = Ask::leecher(hash(1), 1001);
    assert_eq!(client.announce(&ask).counts(), (0, 1));

    binary.signal(Signal::SIGHUP);
    let mut list = File::options().write(true).open(&pipe).unwrap();
    list.write_all(format!("{}\n", hash(1)).as_bytes()).unwrap();
    for _ in 0..500 {
        assert_eq!(client.announce(&ask).counts(), (0, 1), "the old list is in force");
    }
    client.announce_refused(&Ask::leecher(hash(9), 1001));
    assert!(binary.events_of("access list reloaded").is_empty());
    drop(list);
    assert_eq!(binary.event("access list reloaded")["hashes"], 1);
    client.announce_refused(&ask);
    assert_eq!(client.announce(&Ask::leecher(hash(9), 1001)).counts(), (0, 1));
}

#[test]
fn a_bad_list_keeps_the_old_one_and_says_where_and_why() {
    let (_directory, list) = file("list", format!("{}\n", hash(1)));
    let (binary, client) = start("allow", &list);
    fs::write(&list, format!("# comment\n{}\n{}\n", hash(2), "0".repeat(39))).unwrap();
    for (nth, reason) in [
        (1, format!("{list}: line 3: an info hash has 40 hex digits (64 for v2), not 39")),
        (2, format!("{list}: cannot be read: No such file or directory")),
    ] {
        binary.signal(Signal::SIGHUP);
        let event = binary.nth_event("reload failed, the list in force stays", nth);
        let message = event["message"].as_str().unwrap();
        assert!(message.contains(&reason), "{message}");
        assert_eq!(event["level"], "ERROR");
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
        client.announce_refused(&Ask::leecher(hash(2), 1001));
        fs::remove_file(&list).unwrap_or_default();
    }
    fs::write(&list, format!("{}\n", hash(2))).unwrap();
    binary.signal(Signal::SIGHUP);
    binary.event("access list reloaded");
    assert_eq!(client.announce(&Ask::leecher(hash(2), 1001)).counts(), (0, 1));
    client.announce_refused(&Ask::leecher(hash(1), 1001));
}

#[test]
fn without_a_list_a_reload_changes_nothing() {
    let binary = Binary::tracker(&[]);
    let client = Client::new(binary.serving());
    binary.signal(Signal::SIGHUP);
    binary.event("nothing to reload: SIGHUP reads the access list again, and none is set");
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
}

fn configured(path: &str, flags: &[&str]) -> Binary {
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "-c", path, "--log-format", "json"]).args(flags);
    Binary::spawn(command)
}

fn level(level: &str) -> String {
    format!("workers = 1\nlog.level = \"{level}\"\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n")
}

#[test]
fn the_log_takes_up_another_level() {
    let (_directory, path) = file("r.toml", level("info"));
    let binary = configured(&path, &[]);
    let client = Client::new(binary.serving());
    let reload = |text: &str| {
        fs::write(&path, level(text)).unwrap();
        binary.signal(Signal::SIGHUP);
    };
    reload("debug");
    assert_eq!(binary.event("log level changed")["filter"], "debug");
    binary.nth_event("configuration reloaded", 1);
    // At "warn" a reload says nothing but what needs a restart.
    fs::write(&path, level("warn").replace("workers = 1", "workers = 2")).unwrap();
    binary.signal(Signal::SIGHUP);
    binary.event("a change of workers needs a restart");
    assert_eq!(binary.events_of("configuration reloaded").len(), 1);
    reload("info");
    binary.nth_event("log level changed", 2);
    binary.nth_event("configuration reloaded", 2);
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
}

#[test]
fn a_level_from_the_command_line_stays() {
    let (_directory, path) = file("r.toml", level("warn"));
    let binary = configured(&path, &["--log-level", "info"]);
    binary.serving();
    fs::write(&path, level("error")).unwrap();
    binary.signal(Signal::SIGHUP);
    binary.event("a change of log.level has no effect: --log-level overrides it");
    binary.event("configuration reloaded");
}

#[test]
fn limits_for_each_source_change_while_it_runs() {
    let limits = |per_s: u32, burst: u32| {
        let limits =
            format!("announces_per_source = {per_s}\nannounces_per_source_burst = {burst}");
        format!("report_interval = \"1s\"\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n{limits}\n")
    };
    let (_directory, path) = file("r.toml", limits(0, 5));
    let binary = configured(&path, &[]);
    let client = Client::new(binary.serving());
    let many = |ports: std::ops::Range<u16>| {
        for port in ports {
            client.announce(&Ask::leecher(hash(1), port));
        }
    };
    many(1001..1101);
    for (nth, (per_s, burst)) in [(1, 5), (1, 50), (0, 5)].into_iter().enumerate() {
        fs::write(&path, limits(per_s, burst)).unwrap();
        binary.signal(Signal::SIGHUP);
        binary.nth_event("configuration reloaded", nth + 1);
        // Everybody has the whole burst again.
        many(1001..1001 + burst as u16);
    }
    many(1001..1101);
    // Over the limit nothing is answered, and the report says what became of it.
    fs::write(&path, limits(1, 1)).unwrap();
    binary.signal(Signal::SIGHUP);
    binary.nth_event("configuration reloaded", 4);
    for port in 1001..1101 {
        client.send(&client.announce_request(&Ask::leecher(hash(1), port)));
    }
    crate::common::eventually("refusals in the report", || {
        let lines = binary.lines();
        lines.iter().any(|line| line.contains("announces_over_limit=")).then_some(())
    });
}
