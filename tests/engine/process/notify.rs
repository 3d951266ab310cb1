//! What a service manager hears.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::{Binary, DEADLINE, RINGTIDE, file, hash, uninterrupted};

struct Manager(UnixDatagram);

impl Manager {
    /// Waits for the next message.
    #[track_caller]
    fn hears(&self) -> String {
        let mut bytes = [0; 256];
        let length = uninterrupted(|| self.0.recv(&mut bytes)).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}

fn start(watchdog: Option<&str>) -> (tempfile::TempDir, Manager, Binary) {
    let (directory, list) = file("list", format!("{}\n", hash(1)));
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // The process that tells is nobody's by then.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = Command::new(RINGTIDE);
    command.args(["tracker", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--access-mode", "deny", "--access-file", &list]);
    command.env("NOTIFY_SOCKET", &path).env_remove("WATCHDOG_PID");
    if let Some(time) = watchdog {
        command.env("WATCHDOG_USEC", time);
    }
    (directory, Manager(socket), Binary::spawn(command))
}

#[test]
fn readiness_reloads_and_the_end_are_told() {
    let (_directory, manager, mut binary) = start(None);
    assert_eq!(manager.hears(), "READY=1\n");
    binary.serving();
    binary.signal(Signal::SIGHUP);
    let reloading = manager.hears();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hears(), "READY=1\n");
    binary.signal(Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1\n");
    assert_eq!(binary.exit().code(), Some(0));
}

#[test]
fn the_watchdog_hears_while_workers_turn() {
    let (_directory, manager, _binary) = start(Some("500000"));
    assert_eq!(manager.hears(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }
}
