//! What outlives the process: connection IDs, swarms, and the list of torrents.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, give_away, hash};

/// A directory with a configuration file in it; relative paths start there.
pub(crate) fn configured(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let tracker = "[tracker]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\n";
    let user = "[privileges]\nuser = \"65534\"\n";
    let text = format!("workers = 2\nreport_interval = \"0s\"\n{user}{tracker}{text}");
    fs::write(directory.path().join("r.toml"), text).unwrap();
    give_away(directory.path());
    directory
}

pub(crate) fn start(directory: &Path) -> Binary {
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "--log-format", "json", "-c"]).arg(directory.join("r.toml"));
    Binary::spawn(command)
}

pub(crate) fn stop(mut binary: Binary) -> Binary {
    binary.signal(Signal::SIGTERM);
    assert_eq!(binary.exit().code(), Some(0), "{:?}", binary.lines());
    binary
}

#[test]
fn clients_notice_nothing_of_a_restart() {
    let directory = configured("[state]\ndirectory = \"state\"");
    let first = start(directory.path());
    let client = Client::new(first.serving());
    for port in 1001..=1040 {
        client.announce(&Ask::leecher(hash(1), port));
    }
    client.announce(&Ask::seeder(hash(1), 1001).completed());
    client.announce(&Ask::leecher(hash(2), 1002));
    let (id, port) = (client.id(), client.socket().local_addr().unwrap().port());
    assert!(first.events_of("loaded swarm").is_empty());
    let first = stop(first);
    let saved = first.event("saved swarm");
    assert_eq!((saved["torrents"].as_u64(), saved["peers"].as_u64()), (Some(2), Some(41)));
    assert!(saved["took"].is_string(), "{saved}");

    let second = start(directory.path());
    let loaded = second.event("loaded swarm");
    assert_eq!((loaded["torrents"].as_u64(), loaded["peers"].as_u64()), (Some(2), Some(41)));
    let client = Client::new(second.serving());
    assert_ne!(client.socket().local_addr().unwrap().port(), port, "the ID is of the address");
    client.use_id(id);
    assert_eq!(client.scrape_one(hash(1)), (1, 1, 39));
    assert_eq!(client.announce(&Ask::leecher(hash(2), 1002)).counts(), (0, 1));
    assert_eq!(client.id(), id);
    // What one peer completed is not counted again.
    client.announce(&Ask::seeder(hash(1), 1001).completed());
    assert_eq!(client.scrape_one(hash(1)), (1, 1, 39));
    for name in ["connection.key", "swarms"] {
        let file = fs::metadata(directory.path().join("state").join(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
    stop(second);
}

#[test]
fn a_damaged_file_is_set_aside_and_the_tracker_runs() {
    let directory = configured("[state]\ndirectory = \"state\"");
    let state = directory.path().join("state");
    let first = start(directory.path());
    let client = Client::new(first.serving());
    client.announce(&Ask::leecher(hash(1), 1001));
    stop(first);
    let mut bytes = fs::read(state.join("swarms")).unwrap();
    bytes[40] ^= 0x10;
    fs::write(state.join("swarms"), bytes).unwrap();
    let second = start(directory.path());
    let client = Client::new(second.serving());
    assert_eq!(client.scrape_one(hash(1)), (0, 0, 0));
    let lines = second.lines().join("\n");
    assert!(lines.contains("the checksum of a block is wrong; it is set aside as"), "{lines}");
    let names = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
    let damaged = |name: &std::ffi::OsString| name.to_str().unwrap().starts_with("swarms.damaged-");
    assert_eq!(names.filter(damaged).count(), 1);
    stop(second);
}

#[test]
fn doubtful_state_stops_the_start() {
    let directory = configured("[state]\ndirectory = \"state\"");
    let state = directory.path().join("state");
    let first = start(directory.path());
    first.serving();
    let text = start(directory.path()).refusal();
    assert!(text.contains("another ringtide keeps its state there"), "{text}");
    stop(first);
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(&state.join("connection.key"), 0o644).unwrap();
    let text = start(directory.path()).refusal();
    assert!(text.contains("connection.key: mode 644 lets others read or write it"), "{text}");
    open(&state.join("connection.key"), 0o600).unwrap();
    open(&state, 0o777).unwrap();
    let text = start(directory.path()).refusal();
    assert!(text.contains("mode 777 lets others write to it; forbid it (`chmod 700`)"), "{text}");
}

#[test]
fn swarms_and_the_list_are_written_while_announces_are_answered() {
    let directory = configured(
        "[state]\ndirectory = \"state\"\nsave_interval = \"1s\"\n\
         [export]\nfile = \"torrents.csv\"\ninterval = \"1s\"",
    );
    let mut binary = start(directory.path());
    let client = Client::new(binary.serving());
    client.announce(&Ask::leecher(hash(1), 1001));
    client.announce(&Ask::seeder(hash(1), 1002).completed());
    let line = format!("ipv4,{},1,1,1", hash(1));
    eventually("the list", || {
        client.announce(&Ask::leecher(hash(1), 1001));
        let text = fs::read_to_string(directory.path().join("torrents.csv")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "family,info_hash,seeders,leechers,completed");
        lines.contains(&line.as_str()).then_some(())
    });
    assert!(binary.event("exported torrents")["took"].is_string());
    eventually("a save with both", || {
        let saves = binary.events_of("saved swarm");
        saves.iter().any(|save| save["peers"] == 2).then_some(())
    });
    // Killed without a chance to save: what was saved before comes back.
    binary.signal(Signal::SIGKILL);
    binary.exit();
    let second = start(directory.path());
    let client = Client::new(second.serving());
    assert_eq!(client.scrape_one(hash(1)), (1, 1, 1));
    stop(second);
}

#[test]
fn without_a_directory_nothing_is_kept() {
    let directory = configured("");
    let first = start(directory.path());
    Client::new(first.serving()).announce(&Ask::leecher(hash(1), 1001));
    let first = stop(first);
    assert!(first.events_of("saved swarm").is_empty());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
