//! A process that is to take over and goes away half-way: the one that runs goes on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::common::asking::Controlled;
use crate::common::{Ask, Binary, Client, RINGTIDE, hash, switched_off};
use crate::faults_live::bed::{assert_warned, descriptors, row};
use crate::faults_live::steadfast::Steadfast;
use crate::relay::line::Line;
use crate::relay::numbered::Numbered;
use crate::relay::traffic::rule;

/// Asks to take over, as a successor does, and is agreed with.
fn successor(process: &Controlled, serves: &str) -> UnixStream {
    let mut stream = UnixStream::connect(process.path("state/handover.sock")).unwrap();
    let length = (serves.len() as u32).to_be_bytes();
    let request = [&b"RTHANDOV"[..], &2u32.to_be_bytes(), &length, serves.as_bytes()].concat();
    stream.write_all(&request).unwrap();
    let mut answer = [1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0]);
    stream
}

/// Asks to take over and goes away, each time in another way. Returns in which.
fn fails(process: &Controlled, serves: &str, round: usize) -> &'static str {
    let mut stream = successor(process, serves);
    match round % 3 {
        0 => "successor gone before anything is stopped",
        1 => {
            // It is there, and takes nothing: this shows only when it is given the sockets.
            stream.shutdown(Shutdown::Read).unwrap();
            process.binary.nth_event(GOES_ON, round);
            "successor gone when it is given the sockets"
        }
        _ => {
            // Each message has a head of 28 bytes; the last one is zeros. They close the sockets
            // that come along, as nobody takes them.
            let mut head = [1; 28];
            while head != [0; 28] {
                stream.read_exact(&mut head).unwrap();
            }
            "successor gone when it has the sockets"
        }
    }
}

const GOES_ON: &str = "the process that was to take over is gone";

#[test]
fn a_successor_goes_away_before_it_has_taken_over() {
    let process = Controlled::start("[state]\ndirectory = \"state\"\ntakeover = true\n");
    let server = process.binary.serving();
    let client = Client::new(server);
    (1..=50).for_each(|port| drop(client.announce(&Ask::leecher(hash(1), port))));
    let steadfast = Steadfast::start(server);
    let open = descriptors(process.binary.pid());
    let id = client.id();
    for round in 1..=6 {
        let started = Instant::now();
        let fault = fails(&process, "workers 1\nlisten 127.0.0.1:0\n", round);
        process.binary.nth_event(GOES_ON, round);
        // Each request is sent once: what comes while no worker runs waits in the sockets.
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1)).counts(), (0, 50));
        row(&format!("{fault}: goes on"), started.elapsed());
        assert_eq!(client.id(), id);
        steadfast.goes_on();
    }
    steadfast.end();
    assert_eq!(process.ctl_text("health"), "healthy\n");
    crate::common::eventually("descriptors as before", || {
        (descriptors(process.binary.pid()) == open).then_some(())
    });
    assert_warned(&process, &[(GOES_ON, 6)]);
    // Who comes then takes over.
    let next = start_beside(&process);
    assert_eq!(next.serving(), server);
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1)).counts(), (0, 50));
    next.signal(Signal::SIGTERM);
}

/// Whether the signal comes before the hand-over, while it is under way, or after it has failed.
#[test]
fn a_stop_holds_although_a_successor_goes_away() {
    for round in 0..6 {
        let mut process = Controlled::start("[state]\ndirectory = \"state\"\ntakeover = true\n");
        let successor = successor(&process, "workers 1\nlisten 127.0.0.1:0\n");
        if round % 2 == 0 {
            process.binary.signal(Signal::SIGTERM);
            drop(successor);
        } else {
            drop(successor);
            process.binary.signal(Signal::SIGTERM);
        }
        assert_eq!(process.binary.exit().code(), Some(0), "{:?}", process.binary.lines());
    }
}

fn start_beside(process: &Controlled) -> Binary {
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "--log-format", "json", "-c"]).arg(process.path("r.toml"));
    Binary::spawn(command)
}

#[test]
fn a_relay_whose_successor_goes_away_loses_nothing() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "workers = 1\n[control]\nsocket = \"control.sock\"\n[privileges]\nuser = \"65534\"\n\
         [state]\ndirectory = \"state\"\ntakeover = true\n[relay]\n{}",
        rule(1)
    );
    std::fs::write(directory.path().join("r.toml"), text).unwrap();
    let mut process = line.hop(1).run(|| Controlled::start_in(directory));
    let numbered = Numbered::start(&line, "239.1.1.1:5001", "239.2.2.1:5002");
    let open = descriptors(process.binary.pid());
    for round in 1..=6 {
        numbered.flow();
        fails(&process, "no tracker\n", round);
        process.binary.nth_event(GOES_ON, round);
    }
    numbered.flow();
    crate::common::eventually("descriptors as before", || {
        (descriptors(process.binary.pid()) == open).then_some(())
    });
    assert_warned(&process, &[(GOES_ON, 6)]);
    let next = line.hop(1).run(|| start_beside(&process));
    next.event("packet sockets taken over");
    assert_eq!(process.binary.exit().code(), Some(0));
    numbered.flow();
    numbered.end();
    next.signal(Signal::SIGTERM);
}
