//! Directories that are full, gone or not to be written to while a tracker saves and exports.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, give_away, hash, skip};
use crate::faults_live::bed::row;
use crate::faults_live::steadfast::Steadfast;

/// A tracker that saves and exports every second, into a tmpfs that only it sees if there is to be
/// one.
struct Saver {
    binary: Binary,
    directory: TempDir,
}

impl Saver {
    fn start(tmpfs: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = "workers = 1\nreport_interval = \"1s\"\n[privileges]\nuser = \"65534\"\n\
                    [tracker]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndirectory = \"state\"\n\
                    save_interval = \"1s\"\n[export]\nfile = \"state/torrents.csv\"\n\
                    interval = \"1s\"\n";
        fs::write(directory.path().join("r.toml"), text).unwrap();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        give_away(directory.path());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        let mount = "mount -t tmpfs -o size=128k,mode=700,uid=65534,gid=65534 tmpfs \"$0\" && ";
        let mount = if tmpfs { mount } else { "" };
        command.arg(format!("{mount}exec \"$@\"")).arg(&state).arg(RINGTIDE);
        command.args(["run", "--log-format", "json", "-c"]).arg(directory.path().join("r.toml"));
        let binary = Binary::spawn(command);
        binary.serving();
        Self { binary, directory }
    }

    /// The state directory as the process sees it.
    fn state(&self) -> PathBuf {
        let inside = self.directory.path().strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.binary.pid())).join(inside).join("state")
    }

    fn saves(&self) -> usize {
        self.binary.events_of("saved swarm").len()
    }

    /// Waits for two more attempts to save.
    fn linger(&self) {
        let reports = self.binary.events_of("tracker").len();
        self.binary.nth_event("tracker", reports + 4);
    }

    /// Insists that a fault is told once while it lasts, and nothing is left behind by it.
    fn assert_told_once(&self, times: usize) {
        self.linger();
        for message in ["cannot save swarms", "cannot export torrents"] {
            assert_eq!(self.binary.events_of(message).len(), times, "{message}");
        }
    }

    /// Waits for a save and a list after the repair that just happened.
    fn recovered(&self, fault: &str) {
        let (started, saves) = (Instant::now(), self.saves());
        self.binary.nth_event("saved swarm", saves + 1);
        row(fault, started.elapsed());
        let lists = self.binary.events_of("exported torrents").len();
        self.binary.nth_event("exported torrents", lists + 1);
    }
}

fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "it takes root to mount a file system");
    }
    root
}

#[test]
fn the_disk_is_full_and_then_has_room_again() {
    if !is_root("disk full") {
        return;
    }
    let saver = Saver::start(true);
    let steadfast = Steadfast::start(saver.binary.serving());
    let client = Client::new(saver.binary.serving());
    (1..100).for_each(|port| drop(client.announce(&Ask::leecher(hash(1), port))));
    let saves = saver.saves();
    saver.binary.nth_event("saved swarm", saves + 2);
    for times in 1..=2 {
        let state = saver.state();
        let mut fill = fs::File::create(state.join("fill")).unwrap();
        // What is being replaced just then takes room twice, and gives half of it back.
        eventually("no room for either file", || {
            while fill.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
            let faults = ["cannot save swarms", "cannot export torrents"];
            let told = |fault: &&str| saver.binary.events_of(fault).len() >= times;
            faults.iter().all(told).then_some(())
        });
        let read = || ["swarms", "torrents.csv"].map(|name| fs::read(state.join(name)).unwrap());
        let before = read();
        (1..100).for_each(|port| drop(client.announce(&Ask::leecher(hash(2), port))));
        saver.assert_told_once(times);
        assert_eq!(read(), before, "files that cannot be replaced stay whole");
        let aside = |name: &std::ffi::OsString| name.to_str().unwrap().ends_with(".new");
        eventually("nothing half-written", || (!names_of(&state).iter().any(aside)).then_some(()));
        drop(fill);
        fs::remove_file(state.join("fill")).unwrap();
        saver.recovered("disk full while saving, room again");
        assert_ne!(read(), before);
    }
    steadfast.end();
}

fn names_of(directory: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn the_state_directory_is_moved_away_or_not_to_be_written_to() {
    if !is_root("state directory") {
        return;
    }
    let saver = Saver::start(false);
    let steadfast = Steadfast::start(saver.binary.serving());
    saver.binary.event("saved swarm");
    let state = saver.directory.path().join("state");
    let away = saver.directory.path().join("away");
    fs::rename(&state, &away).unwrap();
    saver.binary.event("cannot save swarms");
    saver.binary.event("cannot export torrents");
    saver.assert_told_once(1);
    fs::rename(&away, &state).unwrap();
    saver.recovered("state directory moved away, back");
    let mode = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    saver.binary.nth_event("cannot save swarms", 2);
    saver.binary.nth_event("cannot export torrents", 2);
    saver.assert_told_once(2);
    mode(0o700);
    saver.recovered("state directory not writable, writable");
    steadfast.end();
}
