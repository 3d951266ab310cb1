//! The tracker under test, and what it says of a torrent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::engine::engine;
use crate::real_clients::host::eventually;
use crate::real_clients::process::{Farewell, Process};

/// A running `ringtide tracker`.
pub(crate) struct Tracker {
    process: Process,
    pub(crate) address: SocketAddr,
}

/// A torrent's counts as a scrape gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) seeders: u32,
    pub(crate) completed: u32,
    pub(crate) leechers: u32,
}

impl Tracker {
    /// Starts a tracker on a port that is free, and waits until it serves.
    pub(crate) fn start(directory: &Path, host: IpAddr) -> Self {
        let listen = SocketAddr::new(host, 0).to_string();
        let command = [
            env!("CARGO_BIN_EXE_ringtide"),
            "tracker",
            "--listen",
            &listen,
            "--workers",
            "2",
            "--announce-interval",
            "10s",
            "--engine",
            engine().name(),
        ];
        let farewell = Farewell::Signal(Signal::SIGTERM);
        let mut process = Process::start("tracker", directory, &command, farewell);
        let line = process.wait_for_line("serving listen=", 1);
        let (_, address) = line.split_once("listen=").unwrap();
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        Self { process, address }
    }

    /// The announce URL.
    pub(crate) fn url(&self) -> String {
        format!("udp://{}/announce", self.address)
    }

    /// Waits until the tracker has these counts for a torrent.
    pub(crate) fn wait_for(&self, info_hash: [u8; 20], wanted: Counts) {
        let mut latest = None;
        eventually(&format!("{wanted:?} at the tracker"), || {
            let counts = self.scrape(info_hash);
            if latest != Some(counts) {
                eprintln!("the tracker has {counts:?}");
                latest = Some(counts);
            }
            (counts == wanted).then_some(())
        });
    }

    /// The counts of a torrent, asked with bytes written by hand (BEP 15).
    pub(crate) fn scrape(&self, info_hash: [u8; 20]) -> Counts {
        let socket = UdpSocket::bind((self.address.ip(), 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let connect = [&0x417_2710_1980_u64.to_be_bytes()[..], &[0; 4], b"conn"].concat();
        let connection_id = &ask(&socket, &connect, 16)[8..];
        let scrape = [connection_id, &[0, 0, 0, 2], b"scra", &info_hash].concat();
        let response = ask(&socket, &scrape, 20);
        let count = |at: usize| u32::from_be_bytes(response[at..at + 4].try_into().unwrap());
        Counts { seeders: count(8), completed: count(12), leechers: count(16) }
    }

    /// Stops the tracker as an operator does, and checks that it ended well.
    pub(crate) fn stop(self) {
        let (status, log) = self.process.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        let summary = log.lines().find(|line| line.contains("summary")).unwrap();
        assert!(summary.contains(" drops=0 "), "{log}");
        assert!(summary.contains(" worker_restarts=0 "), "{log}");
    }
}

/// Sends a request until its response comes, which must have this length.
fn ask(socket: &UdpSocket, request: &[u8], length: usize) -> Vec<u8> {
    let mut response = [0; 2048];
    eventually("an answer of the tracker", || {
        socket.send(request).unwrap();
        let length_received = socket.recv(&mut response).ok()?;
        let received = &response[..length_received];
        // The action and the transaction ID come back; a late second response has others.
        let ours = received.get(..8) == Some(&request[8..16]);
        ours.then(|| assert_eq!(received.len(), length, "{received:?}"))?;
        Some(received.to_vec())
    })
}
