//! A kernel that gives io_uring to those only who may do everything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::common::{Ask, Binary, Client, RINGTIDE, file, hash, skip};

/// `ringtide run` with a file of this text, in a process that loses io_uring with CAP_SYS_ADMIN,
/// as `kernel.io_uring_disabled = 1` has it.
fn unprivileged(text: &str) -> (tempfile::TempDir, Binary) {
    let (directory, path) = file("r.toml", text);
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("unprivileged.py"), RINGTIDE, "run", "-c", &path]);
    command.args(["--engine", "auto"]);
    (directory, Binary::spawn(command))
}

const HEAD: &str = "workers = 2\nlog.format = \"json\"\ntracker.listen = [\"127.0.0.1:0\"]\n";

#[test]
fn a_ring_that_only_root_may_have_is_not_counted_on() {
    let test = "a_ring_that_only_root_may_have_is_not_counted_on";
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return skip(test, "it takes root to give root up");
    }
    let keep = "privileges = { switch_user = false, drop_capabilities = false }\n";
    for (more, engine) in [("", "epoll"), (keep, "io_uring")] {
        let (_directory, binary) = unprivileged(&format!("{HEAD}{more}"));
        let client = Client::new(binary.serving());
        assert_eq!(client.announce(&Ask::leecher(hash(1), 1001)).counts(), (0, 1));
        assert_eq!(binary.event("serving")["engine"], engine);
        let told = binary.events_of("running on epoll, because");
        assert_eq!(told.len(), usize::from(engine == "epoll"), "{:?}", binary.lines());
    }
}
