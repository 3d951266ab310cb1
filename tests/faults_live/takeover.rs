//! A process that is to take over and goes away half-way: the one that runs goes on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::asking::Controlled;
use crate::bed::{assert_warned, descriptors, row};
use crate::common::{Ask, Binary, Client, RINGTIDE, hash};
use crate::steadfast::Steadfast;

/// Asks to take over, as a successor does, and is agreed with.
fn successor(process: &Controlled) -> UnixStream {
    let mut stream = UnixStream::connect(process.path("state/handover.sock")).unwrap();
    let serves = b"workers 1\nlisten 127.0.0.1:0\n";
    let length = (serves.len() as u32).to_be_bytes();
    let request = [&b"RTHANDOV"[..], &1u32.to_be_bytes(), &length, serves].concat();
    stream.write_all(&request).unwrap();
    let mut answer = [1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0]);
    stream
}

#[test]
fn a_successor_goes_away_before_it_has_the_sockets() {
    let process = Controlled::start("[state]\ndirectory = \"state\"\ntakeover = true\n");
    let server = process.binary.serving();
    let client = Client::new(server);
    (1..=50).for_each(|port| drop(client.announce(&Ask::leecher(hash(1), port))));
    let steadfast = Steadfast::start(server);
    let open = descriptors(process.binary.pid());
    let id = client.id();
    for round in 1..=4 {
        let stream = successor(&process);
        let started = Instant::now();
        let fault = if round % 2 == 0 {
            drop(stream);
            "successor gone before anything is stopped"
        } else {
            // It is there, and takes nothing: this shows only when it is given the sockets.
            stream.shutdown(Shutdown::Read).unwrap();
            "successor gone when it is given the sockets"
        };
        process.binary.nth_event("the process that was to take over is gone", round);
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
    assert_warned(&process, &[("the process that was to take over is gone", 4)]);
    // Who comes then takes over.
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "--log-format", "json", "-c"]).arg(process.path("r.toml"));
    let next = Binary::spawn(command);
    assert_eq!(next.serving(), server);
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1)).counts(), (0, 50));
    next.signal(Signal::SIGTERM);
}
