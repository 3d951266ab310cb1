//! Limits that are too low at the start, and limits that are lowered while it runs.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::common::{
    Ask, Binary, Client, Namespace, RINGTIDE, connect, eventually, file, give_away, hash,
    switched_off,
};

/// `ringtide tracker` under a limit of prlimit(1).
fn limited(limit: &str, arguments: &[&str]) -> Binary {
    let mut command = Command::new("prlimit");
    command.args([limit, RINGTIDE, "tracker", "--listen", "127.0.0.1:0", "--workers", "2"]);
    command.args(["--log-format", "json"]).args(arguments);
    Binary::spawn(command)
}

/// Sets the soft limit on open files of a process that runs, and leaves the hard one. It is done as
/// the user of that process, as root might lack the capability for those of others.
fn allow_files(pid: u32, count: usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let effective = |of: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &effective("Uid:"), "--regid", &effective("Gid:"), "--clear-groups"]);
    command.args(["prlimit", &format!("--nofile={count}:"), "--pid", &pid.to_string()]);
    assert!(command.status().unwrap().success());
}

/// Leaves no number below the limit that is not in use.
fn allow_no_more_files(pid: u32) {
    let is_used = |number: &usize| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).is_ok();
    allow_files(pid, (0..).find(|number| !is_used(number)).unwrap());
}

#[test]
fn little_is_told_and_made_do_with() {
    for (limit, remedy) in [("--nofile=300:300", "ulimit -n"), ("--memlock=0:0", "ulimit -l")] {
        let binary = limited(limit, &["--engine", "auto"]);
        let client = Client::new(binary.serving());
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
        let told = binary.events_of("running on epoll, because");
        if binary.event("serving")["engine"] == "io_uring" {
            // Whether a ring counts as locked memory depends on the kernel.
            assert!(told.is_empty() && limit.contains("memlock"));
            continue;
        }
        assert_eq!(told.len(), 1, "{:?}", binary.lines());
        assert!(told[0]["message"].as_str().unwrap().contains(remedy), "{told:?}");
    }
}

#[test]
fn too_little_stops_the_start_with_the_remedy() {
    for engine in ["auto", "epoll", "io_uring"] {
        let failure = limited("--nofile=8:8", &["--engine", engine]).failure();
        assert!(failure.contains("ulimit -n"), "{engine}: {failure}");
    }
    let failure = limited("--nofile=300:300", &["--engine", "io_uring"]).failure();
    assert!(failure.contains("ulimit -n") && failure.contains("--engine"), "{failure}");
}

/// A process with a control socket that everybody here may use.
fn controlled(
    text: &str,
    run: impl FnOnce(Command) -> Binary,
) -> (tempfile::TempDir, PathBuf, Binary) {
    let (directory, path) = file("r.toml", "");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let socket = directory.path().join("control.sock");
    let text = format!("workers = 1\nlog.format = \"json\"\ncontrol.socket = {:?}\n{text}", socket);
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(RINGTIDE);
    command.args(["run", "-c", &path]);
    let binary = run(command);
    binary.event("serving");
    (directory, socket, binary)
}

fn ctl(socket: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(RINGTIDE);
    command.args(["ctl", "--socket"]).arg(socket).args(arguments);
    command.output().unwrap().status.success()
}

#[test]
fn clients_of_the_control_socket_wait_for_descriptors() {
    let (_directory, socket, binary) =
        controlled("tracker.listen = [\"127.0.0.1:0\"]\n", Binary::spawn);
    let client = Client::new(binary.serving());
    eventually("the control socket", || ctl(&socket, &["health"]).then_some(()));
    allow_no_more_files(binary.pid());
    let _waiting = [(); 5].map(|()| UnixStream::connect(&socket).unwrap());
    let told = binary.event("the control socket cannot accept connections");
    assert!(told["message"].as_str().unwrap().contains("ulimit -n"), "{told}");
    // The tracker needs no more than it has.
    assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
    allow_files(binary.pid(), 4096);
    let began = Instant::now();
    binary.event("the control socket accepts connections again");
    assert!(ctl(&socket, &["health"]));
    println!("too few descriptors: the control socket answers {:?} later", began.elapsed());
    assert_eq!(binary.events_of("the control socket cannot accept connections").len(), 1);
}

#[test]
fn who_takes_over_waits_for_descriptors() {
    let text = "log.format = \"json\"\nworkers = 1\ncontrol.socket = \"off\"\n\
                tracker.listen = [\"127.0.0.1:0\"]\nprivileges.user = \"65534\"\n\
                state = { directory = \"state\", takeover = true }\n";
    let (directory, path) = file("r.toml", text);
    give_away(directory.path());
    let start = || {
        let mut command = Command::new(RINGTIDE);
        command.args(["run", "-c", &path]);
        Binary::spawn(command)
    };
    let mut first = start();
    let server = first.serving();
    allow_no_more_files(first.pid());
    let asking = UnixStream::connect(directory.path().join("state/handover.sock")).unwrap();
    first.event("no process can take over now");
    drop(asking);
    allow_files(first.pid(), 4096);
    first.event("a process that asked to take over is refused");
    assert_eq!(start().serving(), server);
    assert_eq!(first.exit().code(), Some(0));
    assert_eq!(first.events_of("no process can take over now").len(), 1);
}

#[test]
fn rules_wait_for_descriptors() {
    if switched_off() {
        return;
    }
    for broker in [true, false] {
        let (near, far) = (Namespace::new(), Namespace::new());
        // Who is to open sockets itself keeps what that takes.
        let privileges = match broker {
            true => "",
            false => {
                "privileges = { switch_user = false, drop_capabilities = false, seccomp = \
                      false, broker = false }\n"
            }
        };
        let rule =
            "input = \"239.1.1.1:5001@left\"\noutputs = [{ to = \"239.2.2.2:5002@left\" }]\n";
        let text = format!("{privileges}[relay]\n[[relay.rule]]\n{rule}");
        let run = |command| near.run(|| Binary::spawn(command));
        let (_directory, _, binary) = controlled(&text, run);
        binary.event("the output is down: interface left is missing");
        allow_no_more_files(binary.pid());
        connect((&near, "left"), (&far, "right"), 1);
        let told = binary.nth_event("the output is down", 2);
        let told = told["message"].as_str().unwrap();
        assert!(told.to_lowercase().contains("too many open files"), "{told}");
        allow_files(binary.pid(), 4096);
        let began = Instant::now();
        binary.event("the output is back");
        println!("too few descriptors, broker {broker}: a rule works {:?} later", began.elapsed());
        assert_eq!(binary.events_of("the output is down").len(), 2, "{:?}", binary.lines());
        assert!(binary.events_of("the socket broker ended").is_empty());
    }
}
