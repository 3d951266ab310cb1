//! `ringtide traffic`: what is sent is what is received, and what is not is told.
//!
//! The tests of groups need root, for network namespaces. Without it they fail and say so, unless
//! RINGTIDE_SKIP_NAMESPACES=1.
#![allow(unreachable_pub)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringtide::tools::traffic::payload::{Pool, Stamp, Stream};
use serde_json::Value;

use crate::common::{Cable, DEADLINE, Namespace, switched_off, uninterrupted};

/// A receiver that ends in any case, but not because a busy machine keeps the sender waiting.
const PATIENTLY: &str = "--idle 60s --for 120s";

const COUNT: u64 = 100_000;

#[test]
fn a_hundred_thousand_arrive_intact_in_segments_and_singly() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    for (group, segment) in [
        ("239.1.1.1:5001", "off"),
        ("239.1.1.1:5001", "on"),
        ("[ff15::1]:5001", "off"),
        ("[ff15::1]:5001", "on"),
        ("10.9.0.2:5001", "on"),
    ] {
        let expect = format!("--group {group} --interface b --expect {COUNT} {PATIENTLY} --json");
        let receiver = Receiver::start(Some(&cable.far), &expect);
        // The receive buffer holds all of it, and the count leaves a short last super-packet.
        let flags = format!(
            "send --group {group} --interface a --count {COUNT} --size 301 --rate 100000 \
             --flows 3 --segment {segment} --json"
        );
        let sent = cable.near.run(|| traffic(&flags).output().unwrap());
        assert_eq!(sent.status.code(), Some(0), "{sent:?}");
        let (code, received) = receiver.end();
        let sent = json(&sent.stdout);
        assert_eq!(code, Some(0), "{group} {segment}: {sent} {received}");
        for figure in ["packets", "bytes"] {
            assert_eq!(sent[figure], received[figure], "{figure}");
        }
        assert_eq!(received["packets"], COUNT);
        assert_eq!(received["distinct"], COUNT);
        for figure in ["lost", "duplicated", "reordered", "late", "corrupt", "foreign"] {
            assert_eq!(received[figure], 0, "{figure} of {group} {segment}: {received}");
        }
        assert_eq!((&received["intact"], &received["ended"]), (&true.into(), &"expected".into()));
        let flows = received["flows"].as_array().unwrap();
        assert_eq!(flows.len(), 3);
        assert_eq!(flows.iter().map(|flow| flow["packets"].as_u64().unwrap()).sum::<u64>(), COUNT);
        let latency = &received["latency_ns"];
        assert!(latency["p50"].as_u64() <= latency["max"].as_u64(), "{latency}");
        let seconds = sent["seconds"].as_f64().unwrap();
        assert!(seconds >= 0.99, "100,000 at no more than 100,000 a second: {seconds} s");
        let sends = sent["sends"].as_u64().unwrap();
        assert!(segment == "off" || sends < COUNT / 32, "{sends} sends of super-packets");
    }
}

#[test]
fn a_source_that_is_not_the_senders_gets_nothing() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    for (source, packets) in [("10.9.0.77", 0), ("10.9.0.1", 10)] {
        let flags = format!("--group 232.1.1.1:5001 --interface b --source {source} --json");
        let receiver = Receiver::start(Some(&cable.far), &flags);
        let flags = "send --group 232.1.1.1:5001 --interface a --count 10 --ttl 3";
        assert!(cable.near.run(|| traffic(flags).status().unwrap()).success());
        let (code, received) = receiver.interrupted();
        assert_eq!((code, &received["packets"]), (Some(0), &packets.into()), "{source}");
    }
}

#[test]
fn a_slow_queue_makes_the_generator_wait_and_loses_nothing() {
    if switched_off() {
        return;
    }
    let cable = Cable::new();
    let flags = "send --group 239.1.1.1:1 --interface a --size 1473 --segment on";
    let refused = cable.near.run(|| traffic(flags).output().unwrap());
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("use --size 1472 or less, or --segment off"), "{text}");
    // A short queue refuses (ENOBUFS); a long one fills the socket's buffer (EAGAIN).
    for (limit, figure, segment) in
        [("100k", "retries", "off"), ("100m", "waits", "off"), ("100m", "waits", "on")]
    {
        // Slower than any generator.
        let tc = format!("qdisc replace dev a root tbf rate 50mbit burst 200k limit {limit}");
        let shaped = cable
            .near
            .run(|| Command::new("tc").args(tc.split(' ')).status().is_ok_and(|s| s.success()));
        if !shaped {
            // Not a print macro: those are silenced in tests that pass.
            let _ = std::io::stderr().write_all(b"NOT TESTED: no `tc` with the tbf qdisc here\n");
            return;
        }
        // More than the generator's socket holds.
        let expect =
            format!("--group 239.1.1.1:5001 --interface b --expect 8000 {PATIENTLY} --json");
        let receiver = Receiver::start(Some(&cable.far), &expect);
        let flags = format!(
            "send --group 239.1.1.1:5001 --interface a --count 8000 --segment {segment} --json"
        );
        let sent = json(&cable.near.run(|| traffic(&flags).output().unwrap()).stdout);
        let (code, received) = receiver.end();
        assert_eq!(code, Some(0), "{sent} {received}");
        assert!(sent[figure].as_u64().unwrap() > 0, "{figure}: {sent}");
    }
}

#[test]
fn each_flow_has_a_source_port_of_its_own() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let flags = format!("send --group 127.0.0.1:{port} --interface lo --flows 8 --count 64");
    let output = traffic(&flags).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("sent 64 packets, 89,600 bytes in "), "{text}");
    let mut bytes = [0; 2000];
    let ports: BTreeSet<u16> = (0..64)
        .map(|_| {
            let (length, from) = uninterrupted(|| socket.recv_from(&mut bytes)).unwrap();
            assert_eq!(length, 1400);
            from.port()
        })
        .collect();
    assert_eq!(ports.len(), 8);
}

#[test]
fn what_is_missing_twice_or_corrupt_does_not_meet_the_expectation() {
    let mut pool = Pool::new(10, 100);
    for index in 0..10 {
        let stream = Stream { run: 1, flow: 2 };
        pool.stamp(index, Stamp { stream, sequence: index as u64, sent_ns: 1 });
    }
    let datagram = |index: usize| pool.datagrams(index, 1).to_vec();
    let all: Vec<_> = (0..10).map(datagram).collect();
    let without_3 = [&all[..3], &all[4..]].concat();
    let mut corrupt = all.clone();
    corrupt[3][70] ^= 4;
    let twice = [&all[..4], &all[3..]].concat();
    let backwards: Vec<_> = all.iter().rev().cloned().collect();
    let with_foreign = [&[vec![0; 50]], &all[..]].concat();
    for (what, datagrams, code, figures) in [
        ("all", all, 0, [10, 0, 0, 0, 0, 0]),
        ("missing", without_3, 1, [9, 1, 0, 0, 0, 0]),
        ("twice", twice, 1, [10, 0, 1, 0, 0, 0]),
        ("corrupt", corrupt, 1, [9, 1, 0, 0, 1, 0]),
        ("backwards", backwards, 0, [10, 0, 0, 9, 0, 0]),
        ("foreign", with_foreign, 0, [10, 0, 0, 0, 0, 1]),
    ] {
        let port = free_port();
        let flags =
            format!("--group 127.0.0.1:{port} --interface lo --expect 10 --idle 300ms --json");
        let receiver = Receiver::start(None, &flags);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // It gets them all at once, so that there is no silence between them.
        crate::common::stop(receiver.child.id());
        for datagram in &datagrams {
            socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
        }
        receiver.signal(Signal::SIGCONT);
        let (exit, received) = receiver.end();
        let names = ["distinct", "lost", "duplicated", "reordered", "corrupt", "foreign"];
        let found = names.map(|name| received[name].as_u64().unwrap());
        assert_eq!((exit, found), (Some(code), figures), "{what}: {received}");
    }
}

#[test]
fn a_signal_stops_both_and_both_sum_up() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let flags = format!("send --group 127.0.0.1:{port} --interface lo --rate 100 --json");
    let sender = traffic(&flags).stdout(Stdio::piped()).spawn().unwrap();
    uninterrupted(|| socket.recv(&mut [0; 2000])).unwrap();
    let sent = stop(sender);
    assert_eq!(sent.status.code(), Some(0));
    assert!(json(&sent.stdout)["packets"].as_u64().unwrap() > 0);

    for (expect, code) in [("", 0), ("--expect 5", 1)] {
        let flags = format!("--group 127.0.0.1:{} --interface lo --json {expect}", free_port());
        let receiver = Receiver::start(None, flags.trim());
        let (exit, received) = receiver.interrupted();
        assert_eq!((exit, &received["packets"]), (Some(code), &0.into()), "{received}");
    }
}

#[test]
fn time_ends_both() {
    let nobody = format!("--group 127.0.0.1:{} --interface lo --for 200ms --json", free_port());
    let (code, received) = Receiver::start(None, &nobody).end();
    assert_eq!((code, &received["ended"]), (Some(0), &"time".into()));

    let to = format!("--group 127.0.0.1:{} --interface lo --json", free_port());
    let receiver = Receiver::start(None, &to);
    let flags = format!("send {to} --rate 10 --duration 1s --size 8");
    let sent = json(&traffic(&flags).output().unwrap().stdout);
    let packets = sent["packets"].as_u64().unwrap();
    assert!((1..=10).contains(&packets), "10 are due in a second: {sent}");
    let (_, received) = receiver.interrupted();
    assert_eq!(
        (&received["unnumbered"], &received["packets"]),
        (&sent["packets"], &packets.into())
    );
}

#[test]
fn wrong_flags_are_explained() {
    const TO: &str = "--group 239.1.1.1:1 --interface lo";
    for (flags, code, hint) in [
        ("send --interface lo".to_owned(), 2, "--group <G:P>"),
        ("send --group 239.1.1.1:1@lo --interface lo".to_owned(), 2, "--interface says"),
        ("send --group 239.1.1.1 --interface lo".to_owned(), 2, "the port is missing"),
        ("send --group ff15::1:1 --interface lo".to_owned(), 2, "in brackets"),
        (format!("send {TO} --size 65508"), 2, "at most 65507 bytes"),
        (format!("send {TO} --size 65528"), 2, "allowed is 0 to 65527"),
        (format!("send {TO} --size 0 --segment on"), 2, "--segment off"),
        (format!("send {TO} --segment yes"), 2, "possible values: on, off"),
        (format!("send {TO} --count 0"), 2, "allowed is 1 to"),
        (format!("send {TO} --rate 0"), 2, "allowed is 1 to"),
        (format!("send {TO} --flows 1025"), 2, "distinguishes no more"),
        (format!("send {TO} --duration 10"), 2, "needs its unit"),
        (format!("send {TO} --ttl 0"), 2, "allowed is 1 to 255"),
        ("send --group 239.1.1.1:1 --interface nowhere0".to_owned(), 1, "ip -brief link"),
        (format!("receive {TO} --source ::1"), 2, "not of the same family"),
        (format!("receive {TO} --source 239.1.1.2"), 2, "the sender's own address"),
        ("receive --group 127.0.0.1:1 --interface lo --source 127.0.0.1".to_owned(), 2, "leave"),
        ("receive --group 198.51.100.1:5001 --interface lo".to_owned(), 1, "neither a group nor"),
        ("receive --group 239.1.1.1:1 --interface nowhere0".to_owned(), 1, "no interface"),
        (format!("receive {TO} --expect many"), 2, "must be a whole number"),
    ] {
        let output = traffic(&flags).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags}: {text}");
        assert!(text.starts_with("ringtide: error: "), "{flags}: {text}");
        assert!(text.contains(hint), "{flags}: {text}");
        assert!(output.stdout.is_empty(), "{flags}");
    }
}

#[test]
fn help_has_examples_and_says_what_is_measured() {
    for (command, parts) in [
        ("send", &["Examples:", "exact on average", "CLOCK_REALTIME", "Exit codes:"][..]),
        ("receive", &["Examples:", "ready", "one-way", "same clock", "late", "Exit codes:"]),
    ] {
        let output = traffic(&format!("{command} --help")).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        for part in parts {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

/// A receiver that has joined.
struct Receiver {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Receiver {
    fn start(namespace: Option<&Namespace>, flags: &str) -> Self {
        let mut command = traffic(&format!("receive {flags}"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match namespace {
            Some(namespace) => namespace.run(|| command.spawn().unwrap()),
            None => command.spawn().unwrap(),
        };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while line.trim_end() != "ready" {
            assert!(line.is_empty() || line.contains("warning"), "{line}");
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended before it was ready");
        }
        Self { child, stderr }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it by a signal, after which it sums up what has arrived by then.
    fn interrupted(self) -> (Option<i32>, Value) {
        self.signal(Signal::SIGINT);
        let (code, received) = self.end();
        assert_eq!(received["ended"], "signal", "{received}");
        (code, received)
    }

    /// Waits for its end: exit code and summary.
    fn end(mut self) -> (Option<i32>, Value) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert!(!rest.contains("error"), "{rest}");
        (output.status.code(), json(&output.stdout))
    }
}

fn stop(child: Child) -> Output {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    child.wait_with_output().unwrap()
}

fn traffic(flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtide"));
    command.arg("traffic").args(flags.split(' ')).stdin(Stdio::null());
    command
}

fn json(output: &[u8]) -> Value {
    let text = String::from_utf8_lossy(output);
    assert_eq!(text.lines().count(), 1, "one JSON object: {text}");
    serde_json::from_slice(output).unwrap()
}

/// A port that no other test has, and that the kernel gives nobody by itself
/// (`ip_local_port_range`).
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let is_free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed)).find(is_free).unwrap()
}
