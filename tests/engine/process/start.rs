//! What the process says when it cannot start, or not as asked: what is wrong and what to do.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::{
    Ask, Binary, Client, RINGTIDE, eventually, file, hash, ringtide_of_nobody, ringtide_refused,
    skip,
};

fn assert_told(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "\"{part}\" is not in: {text}");
    }
}

fn tracker(mut command: Command, arguments: &[&str]) -> Binary {
    command.arg("tracker").args(arguments).args(["--log-format", "json"]);
    Binary::spawn(command)
}

fn sysctl(name: &str) -> u64 {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let holder = UdpSocket::bind(address).unwrap();
        let address = holder.local_addr().unwrap();
        for workers in ["1", "2"] {
            let arguments = ["--listen", &address.to_string(), "--workers", workers];
            let mut binary = tracker(Command::new(RINGTIDE), &arguments);
            let told =
                format!("{address} is in use by another process; stop it or listen elsewhere");
            let look = format!("ss -ulpn sport = :{}", address.port());
            assert_told(&binary.failure(), &["ringtide: error: ", &told, &look]);
        }
    }
}

#[test]
fn another_ringtide_does_not_share_the_port() {
    let first = Binary::tracker(&["--workers", "2"]);
    let address = first.serving().to_string();
    let mut second = tracker(Command::new(RINGTIDE), &["--listen", &address, "--workers", "2"]);
    assert_told(&second.failure(), &[&address, "in use"]);
}

#[test]
fn a_privileged_port_needs_privileges() {
    if sysctl("net.ipv4.ip_unprivileged_port_start") <= 1 {
        return skip("a_privileged_port_needs_privileges", "every port is unprivileged here");
    }
    let (_directory, command) = ringtide_of_nobody();
    let mut binary = tracker(command, &["--listen", "127.0.0.1:1"]);
    let told = ["no permission to bind 127.0.0.1:1", "CAP_NET_BIND_SERVICE", "port_start"];
    assert_told(&binary.failure(), &told);
}

#[test]
fn an_address_of_no_interface_is_named() {
    let mut binary = tracker(Command::new(RINGTIDE), &["--listen", "192.0.2.1:6969"]);
    assert_told(&binary.failure(), &["192.0.2.1:6969", "no interface has this address"]);
}

#[test]
fn small_buffers_are_told_once_with_the_sysctl() {
    const WANTED: u64 = 512 << 20;
    if sysctl("net.core.rmem_max") >= WANTED || sysctl("net.core.wmem_max") >= WANTED {
        return skip("small_buffers_are_told_once_with_the_sysctl", "all buffers are granted here");
    }
    let (directory, mut command) = ringtide_of_nobody();
    let config = "workers = 2\nlog.format = \"json\"\n[tracker]\n\
                  listen = [\"127.0.0.1:0\", \"[::1]:0\"]\n\
                  receive_buffer = \"512MiB\"\nsend_buffer = \"512MiB\"\n";
    let path = directory.path().join("ringtide.toml");
    fs::write(&path, config).unwrap();
    command.arg("run").arg("-c").arg(path);
    let binary = Binary::spawn(command);
    binary.serving();
    for (kind, sysctl) in [("receive", "net.core.rmem_max"), ("send", "net.core.wmem_max")] {
        let [warning] = &binary.events_of(&format!("the kernel grants {kind} buffers"))[..] else {
            panic!("one warning: {:?}", binary.lines())
        };
        assert_eq!(warning["level"], "WARN");
        let message = warning["message"].as_str().unwrap();
        assert_told(
            message,
            &[&format!("instead of {WANTED}"), &format!("sysctl -w {sysctl}={WANTED}")],
        );
    }
    drop(binary);
    let ample = Binary::tracker(&[]);
    ample.serving();
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        assert!(ample.events_of("the kernel grants").is_empty(), "root gets what it asks for");
    }
}

#[test]
fn a_refused_ring_names_the_likely_cause_and_the_remedy() {
    for (errno, parts) in [
        (libc::EPERM, ["seccomp", "--security-opt seccomp="]),
        (libc::ENOSYS, ["CONFIG_IO_URING", "seccomp"]),
        (libc::ENOMEM, ["ulimit -l", "LimitMEMLOCK="]),
        (libc::EMFILE, ["too many open files", "ulimit -n"]),
    ] {
        let command = ringtide_refused(libc::SYS_io_uring_setup, None, errno);
        let arguments = ["--listen", "127.0.0.1:0", "--engine", "io_uring"];
        let mut binary = tracker(command, &arguments);
        let failure = binary.failure();
        if failure.contains("prctl: ") {
            return skip("a_refused_ring_names_the_likely_cause_and_the_remedy", &failure);
        }
        assert_told(&failure, &["ringtide: error: cannot start the workers", parts[0], parts[1]]);
        assert_told(&failure, &["remedy: ", "--engine"]);
    }
}

#[test]
fn where_io_uring_is_refused_the_tracker_runs_on_epoll_and_says_why() {
    for (call, errno, reason) in [
        (libc::SYS_io_uring_setup, libc::EPERM, "seccomp"),
        (libc::SYS_io_uring_setup, libc::ENOSYS, "CONFIG_IO_URING"),
        (libc::SYS_io_uring_setup, libc::ENOMEM, "ulimit -l"),
        (libc::SYS_io_uring_register, libc::EPERM, "seccomp"),
        (libc::SYS_io_uring_enter, libc::EPERM, "seccomp"),
    ] {
        let command = ringtide_refused(call, None, errno);
        let mut binary = tracker(command, &["--listen", "127.0.0.1:0", "--engine", "auto"]);
        let is_over = || binary.lines().iter().any(|line| line.contains("prctl: "));
        let is_serving = || binary.lines().iter().any(|line| line.contains("\"serving\""));
        eventually("the start", || (is_over() || is_serving()).then_some(()));
        if is_over() {
            let test = "where_io_uring_is_refused_the_tracker_runs_on_epoll_and_says_why";
            return skip(test, &binary.failure());
        }
        let client = Client::new(binary.serving());
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
        assert_eq!(binary.event("serving")["engine"], "epoll");
        let [told] = &binary.events_of("running on epoll, because")[..] else {
            panic!("one line: {:?}", binary.lines())
        };
        assert_eq!(told["level"], "WARN");
        assert_told(told["message"].as_str().unwrap(), &[reason]);
        binary.signal(Signal::SIGTERM);
        assert_eq!(binary.exit().code(), Some(0));
    }
}

#[test]
fn the_engine_is_chosen_by_flag_or_file_and_told() {
    let (_directory, path) =
        file("r.toml", "engine = \"epoll\"\n[tracker]\nlisten = [\"[::1]:0\"]\n");
    for (arguments, expected) in [
        (&["tracker", "--listen", "[::1]:0", "--engine", "auto"][..], "io_uring"),
        (&["tracker", "--listen", "[::1]:0", "--engine", "epoll"], "epoll"),
        (&["run", "-c", &path, "--engine", "io_uring"], "io_uring"),
    ] {
        let mut command = Command::new(RINGTIDE);
        command.args(arguments).args(["--log-format", "json"]);
        let binary = Binary::spawn(command);
        assert_eq!(binary.event("serving")["engine"], expected, "{arguments:?}");
        assert!(binary.events_of("running on epoll").is_empty(), "as it was asked");
    }
}

#[test]
fn a_system_without_ipv6_is_told_what_to_leave_out() {
    let command = ringtide_refused(libc::SYS_socket, Some(libc::AF_INET6), libc::EAFNOSUPPORT);
    let mut binary = tracker(command, &["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    let failure = binary.failure();
    if failure.contains("prctl: ") {
        return skip("a_system_without_ipv6_is_told_what_to_leave_out", &failure);
    }
    assert_told(&failure, &["[::1]:0", "this system has no IPv6", "`listen`"]);
}

#[test]
fn a_bad_access_list_or_key_stops_the_start() {
    let (_directory, list) = file("list", "no hash\n");
    let arguments = ["--listen", "127.0.0.1:0", "--access-mode", "deny", "--access-file", &list];
    let mut binary = tracker(Command::new(RINGTIDE), &arguments);
    assert_told(&binary.refusal(), &["cannot use the access list", &list, "line 1"]);
    let (directory, key) = file("key", "0123456789abcdef");
    let config = directory.path().join("ringtide.toml");
    let text = "[tracker]\nlisten = [\"127.0.0.1:0\"]\nconnection_key_file = \"key\"\n";
    fs::write(&config, text).unwrap();
    let mut command = Command::new(RINGTIDE);
    command.arg("run").arg("-c").arg(config);
    let failure = Binary::spawn(command).refusal();
    assert_told(&failure, &["cannot use the connection-ID key", &key, "32 hex digits, not 16"]);
    assert!(!failure.contains("0123456789abcdef"), "the key is secret");
}
