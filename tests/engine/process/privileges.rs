//! What the running process has given up, as the kernel tells it, and what an intruder in it
//! would be refused.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{Uid, setresuid};
use ringtide::server::sandbox::{Files, Landlock, PrivilegeSettings, Role, confine};

use crate::common::{Binary, RINGTIDE, file, ringtide_of_nobody, skip};

/// One field of /proc/PID/status.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_root(test: &str) -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        skip(test, "it takes root to give root up");
    }
    root
}

fn privileges(binary: &Binary) -> String {
    binary.event("privileges: ")["message"].as_str().unwrap().to_owned()
}

fn configured(sections: &str) -> (tempfile::TempDir, Binary) {
    let text = format!("workers = 2\nlog.format = \"json\"\n{sections}");
    let (directory, path) = file("ringtide.toml", text);
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "-c", &path]);
    (directory, Binary::spawn(command))
}

const LISTEN: &str = "[tracker]\nlisten = [\"127.0.0.1:0\"]\n";

#[test]
fn every_thread_has_given_everything_up() {
    if !is_root("every_thread_has_given_everything_up") {
        return;
    }
    let binary = Binary::tracker(&["--workers", "2"]);
    binary.serving();
    let pid = binary.pid();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tasks: Vec<u32> =
        tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    assert!(tasks.len() >= 3, "{tasks:?}");
    for task in tasks {
        let nobody = status(task, "Uid");
        assert!(!nobody.split(' ').any(|uid| uid == "0"), "{nobody}");
        assert_eq!(status(task, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(task, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(task, "NoNewPrivs"), "1");
        assert_eq!(status(task, "Seccomp"), "2");
    }
    let told = privileges(&binary);
    assert!(told.contains("capabilities none, no_new_privs on, seccomp on"), "{told}");
    assert!(told.ends_with("broker none"), "{told}");
}

#[test]
fn each_step_can_be_switched_off() {
    if !is_root("each_step_can_be_switched_off") {
        return;
    }
    let all = "switch_user = false\ndrop_capabilities = false\nno_new_privileges = false\n\
               seccomp = false\nlandlock = false\n";
    let (_directory, binary) = configured(&format!("[privileges]\n{all}{LISTEN}"));
    binary.serving();
    assert_eq!(status(binary.pid(), "Uid"), "0 0 0 0");
    assert_eq!(status(binary.pid(), "CapEff"), status(std::process::id(), "CapEff"));
    assert_eq!(status(binary.pid(), "NoNewPrivs"), "0");
    assert_eq!(status(binary.pid(), "Seccomp"), status(std::process::id(), "Seccomp"));
    let told = privileges(&binary);
    assert!(told.contains("no_new_privs off, seccomp off, landlock off"), "{told}");
    let (_directory, binary) = configured(&format!("[privileges]\nswitch_user = false\n{LISTEN}"));
    binary.serving();
    assert_eq!(status(binary.pid(), "Uid"), "0 0 0 0");
    assert_eq!(status(binary.pid(), "CapEff"), "0000000000000000");
    let (_directory, binary) = configured(&format!("[privileges]\nuser = \"12345\"\n{LISTEN}"));
    binary.serving();
    assert_eq!(status(binary.pid(), "Uid"), "12345 12345 12345 12345");
    assert_eq!(status(binary.pid(), "Gid"), "12345 12345 12345 12345");
}

#[test]
fn a_user_that_does_not_exist_stops_the_start() {
    if !is_root("a_user_that_does_not_exist_stops_the_start") {
        return;
    }
    let (_directory, mut binary) =
        configured(&format!("[privileges]\nuser = \"nouser\"\n{LISTEN}"));
    let failure = binary.failure();
    assert!(failure.contains("there is no user nouser"), "{failure}");
    assert!(failure.contains("useradd --system"), "{failure}");
}

#[test]
fn without_root_from_the_start_the_rest_is_given_up() {
    let (_directory, mut command) = ringtide_of_nobody();
    command.args(["tracker", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let binary = Binary::spawn(command);
    binary.serving();
    assert_eq!(status(binary.pid(), "CapPrm"), "0000000000000000");
    assert_eq!(status(binary.pid(), "NoNewPrivs"), "1");
    assert_eq!(status(binary.pid(), "Seccomp"), "2");
}

#[test]
fn files_that_are_replaced_are_read_again() {
    let (directory, list) = file("list", "");
    let tracker = format!("{LISTEN}access_mode = \"deny\"\naccess_file = \"{list}\"\n");
    let (configuration, binary) = configured(&tracker);
    binary.serving();
    // As editors and installers do: another file takes the name.
    for (folder, name, text) in [
        (&directory, "list", "aa".repeat(20)),
        (&configuration, "ringtide.toml", format!("workers = 3\n{tracker}")),
    ] {
        let fresh = folder.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, folder.path().join(name)).unwrap();
    }
    binary.signal(Signal::SIGHUP);
    binary.event("a change of workers needs a restart");
    assert_eq!(binary.event("access list reloaded")["hashes"], 1);
}

#[test]
fn a_file_that_cannot_be_read_again_is_told_at_the_start() {
    if !is_root("a_file_that_cannot_be_read_again_is_told_at_the_start") {
        return;
    }
    let (_directory, path) = file("ringtide.toml", format!("log.format = \"json\"\n{LISTEN}"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "-c", &path]);
    let binary = Binary::spawn(command);
    binary.serving();
    assert_eq!(binary.event(&format!("{path} cannot be read any more"))["level"], "WARN");
    binary.signal(Signal::SIGHUP);
    binary.event("reload failed, everything in force stays");
}

/// Runs one of the ignored tests below, which give up what this process needs, in another one.
fn inside(test: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--test-threads=1", test]);
    command.output().unwrap()
}

fn give_up() {
    let own = tempfile::tempdir().unwrap();
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(own.path().join("read"), "me").unwrap();
    let files =
        Files { readable: vec!["/proc/self".into()], writable: vec![own.path().to_owned()] };
    // It hears whoever may talk to it, by a name in no file system.
    let name = SocketAddr::from_abstract_name(format!("ringtide-{}", std::process::id())).unwrap();
    let listener = UnixListener::bind_addr(&name).unwrap();
    UnixStream::connect_addr(&name).unwrap();
    let confinement = confine(&PrivilegeSettings::default(), Role::Serve, &files).unwrap();
    assert!(confinement.capabilities.is_empty() && confinement.seccomp);
    // A kernel that enforces a part of it only does not have this (Linux 6.12).
    if confinement.landlock == Landlock::Full {
        let refused = UnixStream::connect_addr(&name).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    }
    drop(listener);
    assert_eq!(fs::read_to_string(own.path().join("read")).unwrap(), "me");
    fs::write(own.path().join("written"), "by me").unwrap();
    // Its own user may not, or could not, remove it: that is left to the system.
    std::mem::forget(own);
}

#[test]
fn an_intruder_is_refused_what_root_may_do() {
    if !is_root("an_intruder_is_refused_what_root_may_do") {
        return;
    }
    let output = inside("process::privileges::intruder_tries_what_root_may_do");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn an_intruder_that_runs_a_program_is_killed() {
    let output = inside("process::privileges::intruder_runs_a_program");
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
}

#[test]
#[ignore = "gives up the privileges of its process; another test runs it"]
fn intruder_tries_what_root_may_do() {
    give_up();
    for family in [AddressFamily::Packet, AddressFamily::Inet] {
        let raw = socket(family, SockType::Raw, SockFlag::empty(), None);
        assert!(matches!(raw, Err(Errno::EPERM | Errno::EPROTONOSUPPORT)), "{family:?} {raw:?}");
    }
    for path in ["/etc/shadow", "/etc/passwd", "/root", "/proc/1/environ"] {
        let read = fs::File::open(path).unwrap_err();
        assert_eq!(read.kind(), ErrorKind::PermissionDenied, "{path}");
    }
    let written = fs::File::create("/tmp/ringtide-intruder").unwrap_err();
    assert_eq!(written.kind(), ErrorKind::PermissionDenied);
    let root = Uid::from_raw(0);
    assert_eq!(setresuid(root, root, root), Err(Errno::EPERM));
    let space = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
    assert_eq!(space, Err(Errno::EPERM));
    let child = Command::new("/bin/true").spawn().unwrap_err();
    assert_eq!(child.kind(), ErrorKind::PermissionDenied);
    let signalled = nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None);
    assert_eq!(signalled, Err(Errno::EPERM));
    let port = UdpSocket::bind("127.0.0.1:1").unwrap_err();
    assert_eq!(port.kind(), ErrorKind::PermissionDenied);
    // What it does every day still works.
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").unwrap();
    std::thread::spawn(|| ()).join().unwrap();
}

#[test]
#[ignore = "gives up the privileges of its process; another test runs it"]
fn intruder_runs_a_program() {
    give_up();
    let _ = nix::unistd::execv(c"/bin/true", &[c"true"]);
}

#[test]
fn the_broker_is_not_for_hands() {
    let output = Command::new(RINGTIDE).args(["socket-broker", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("this command is for ringtide itself"), "{told}");
    let help = Command::new(RINGTIDE).arg("--help").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("socket-broker"));
}

#[test]
fn state_of_root_goes_to_the_user_and_what_cannot_be_written_is_told() {
    if !is_root("state_of_root_goes_to_the_user_and_what_cannot_be_written_is_told") {
        return;
    }
    let sections = format!(
        "[privileges]\nuser = \"12345\"\n[state]\ndirectory = \"state\"\n[control]\n\
         socket = \"run/control.sock\"\n[export]\nfile = \"list.csv\"\n{LISTEN}"
    );
    let (directory, mut binary) = configured(&sections);
    binary.serving();
    binary.event("user 12345 cannot write to");
    let owner = |name: &str| fs::metadata(directory.path().join(name)).unwrap().uid();
    assert_eq!((owner("."), owner("state"), owner("state/connection.key")), (0, 12345, 12345));
    assert_eq!((owner("run"), owner("run/control.sock")), (12345, 0));
    let ctl = |arguments: &str| {
        let socket = directory.path().join("run/control.sock");
        let mut command = Command::new(RINGTIDE);
        command.arg("ctl").arg("--socket").arg(socket).args(arguments.split(' '));
        command.output().unwrap()
    };
    let stats = ctl("--json stats");
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert!(stats["process"]["open_files"].as_u64().unwrap() > 5, "{stats}");
    assert!(stats["process"]["rss_bytes"].as_u64().unwrap() > 1 << 20, "{stats}");
    assert!(ctl("log-level debug").status.success());
    let save = ctl("config save");
    let refusal = String::from_utf8(save.stderr).unwrap();
    assert!(!save.status.success() && refusal.contains("the user ringtide runs as"), "{refusal}");
    binary.signal(Signal::SIGTERM);
    assert_eq!(binary.exit().code(), Some(0), "{:?}", binary.lines());
    assert!(fs::read_dir(directory.path().join("run")).unwrap().next().is_none());
    assert_eq!(owner("state/swarms"), 12345);
}
