//! How each client is started so that it knows of peers from the tracker alone.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::real_clients::host::{ARIA2, LIBTORRENT, Requirement, TRANSMISSION};
use crate::real_clients::process::{Farewell, Process};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Libtorrent,
    Aria2,
    Transmission,
}

/// One client's part in a transfer.
pub(crate) struct Peer<'a> {
    /// Names its log.
    pub(crate) role: &'a str,
    /// Where its content is, or goes.
    pub(crate) directory: &'a Path,
    pub(crate) address: IpAddr,
    /// For clients that cannot take any free port.
    pub(crate) port: u16,
}

impl Client {
    pub(crate) fn requirement(self) -> Requirement {
        match self {
            Self::Libtorrent => LIBTORRENT,
            Self::Aria2 => ARIA2,
            Self::Transmission => TRANSMISSION,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Libtorrent => "libtorrent",
            Self::Aria2 => "aria2",
            Self::Transmission => "transmission",
        }
    }

    pub(crate) fn tells_the_tracker_when_it_leaves(self) -> bool {
        // Transmission 3.00 leaves a UDP tracker without a word.
        self != Self::Transmission
    }

    /// Starts the client with one torrent file.
    pub(crate) fn start(self, peer: &Peer<'_>, torrent: &Path) -> Process {
        let torrent = torrent.to_str().unwrap();
        match self {
            Self::Libtorrent => start_libtorrent(peer, &["--torrent", torrent]),
            Self::Aria2 => start_aria2(peer, torrent),
            Self::Transmission => start_transmission(peer, torrent),
        }
    }
}

/// Starts a libtorrent session of its own process: two in one process would share a connection
/// ID, though the tracker gives each address its own.
pub(crate) fn start_libtorrent(peer: &Peer<'_>, arguments: &[&str]) -> Process {
    let listen = SocketAddr::new(peer.address, 0).to_string();
    let directory = peer.directory.to_str().unwrap();
    let fixed = ["/usr/bin/python3", LIBTORRENT_PEER, "--listen", &listen];
    let command = [&fixed, &["--directory", directory][..], arguments].concat();
    Process::start(peer.role, peer.directory, &command, Farewell::EndOfInput)
}

fn start_aria2(peer: &Peer<'_>, torrent: &str) -> Process {
    let port = peer.port;
    let directory = peer.directory.display();
    let options = [
        "--no-conf".to_owned(),
        // It answers for UDP trackers too: without it, aria2 asks none.
        "--enable-dht=true".into(),
        format!("--dht-file-path={directory}/dht.dat"),
        format!("--dht-listen-port={port}"),
        "--enable-dht6=false".into(),
        "--disable-ipv6=true".into(),
        "--enable-peer-exchange=false".into(),
        "--bt-enable-lpd=false".into(),
        format!("--listen-port={port}"),
        format!("--interface={}", peer.address),
        format!("--dir={directory}"),
        "--check-integrity=true".into(),
        "--seed-ratio=0".into(),
        "--file-allocation=none".into(),
        "--show-console-readout=false".into(),
        "--enable-color=false".into(),
        "--console-log-level=notice".into(),
    ];
    let mut command = vec!["aria2c"];
    command.extend(options.iter().map(String::as_str));
    command.push(torrent);
    // Upon this signal it tells the tracker; upon SIGTERM it does not.
    Process::start(peer.role, peer.directory, &command, Farewell::Signal(Signal::SIGINT))
}

fn start_transmission(peer: &Peer<'_>, torrent: &str) -> Process {
    let settings = serde_json::json!({
        "bind-address-ipv4": peer.address.to_string(),
        "peer-port": peer.port,
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "port-forwarding-enabled": false,
        // Its transport over UDP stalls with libtorrent's on a loopback device.
        "utp-enabled": false,
    });
    let configuration = peer.directory.join("configuration");
    fs::create_dir(&configuration).unwrap();
    fs::write(configuration.join("settings.json"), settings.to_string()).unwrap();
    let (configuration, directory) =
        (configuration.to_str().unwrap(), peer.directory.to_str().unwrap());
    let command = [
        "sh",
        "-c",
        AGAIN_UNTIL_TOLD,
        "sh",
        "transmission-cli",
        "--config-dir",
        configuration,
        "--download-dir",
        directory,
        "--verify",
        torrent,
    ];
    Process::start(peer.role, peer.directory, &command, Farewell::Signal(Signal::SIGTERM))
}

/// Transmission 3.00 ends by itself when it looks at its torrent in the moment between the check of
/// the files and the start, in which a torrent counts as stopped.
const AGAIN_UNTIL_TOLD: &str = r#"
trap 'over=1; kill "$pid"' TERM
while [ -z "$over" ]; do
    setpriv --pdeathsig KILL -- "$@" &
    pid=$!
    wait "$pid"
done
wait "$pid"
"#;

const LIBTORRENT_PEER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alone/real_clients/libtorrent_peer.py");
