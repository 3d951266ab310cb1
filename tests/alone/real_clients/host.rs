//! What the scenarios need of the machine: programs, a private network, patience.

use std::io::{self, Write as _};
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

/// Something a scenario needs, how to see whether it is there, and how to get it.
pub(crate) struct Requirement {
    check: &'static [&'static str],
    remedy: &'static str,
}

pub(crate) const LIBTORRENT: Requirement = Requirement {
    check: &["/usr/bin/python3", "-c", "import libtorrent"],
    remedy: "install the Debian package python3-libtorrent",
};
pub(crate) const ARIA2: Requirement =
    Requirement { check: &["aria2c", "--version"], remedy: "install the Debian package aria2" };
pub(crate) const TRANSMISSION: Requirement = Requirement {
    check: &["transmission-cli", "--version"],
    remedy: "install the Debian package transmission-cli",
};
/// For [`in_private_network`].
pub(crate) const PRIVATE_NETWORK: Requirement = Requirement {
    check: &["unshare", "--net", "ip", "link", "set", "lo", "up"],
    remedy: "run as root, which a network namespace needs, with the Debian package iproute2",
};

/// Whether the scenario can run here. It must, unless the environment says that what cannot run
/// may be skipped.
pub(crate) fn can_run(requirements: &[Requirement]) -> bool {
    let missing: Vec<_> = requirements.iter().filter(|one| !one.is_met()).collect();
    if missing.is_empty() {
        return true;
    }
    let remedies: Vec<_> = missing.iter().map(|one| one.remedy).collect();
    let remedies = remedies.join("; ");
    let may_skip = std::env::var_os(SKIP).is_some_and(|value| value == "1");
    assert!(may_skip, "this test needs more than is here: {remedies} (or set {SKIP}=1)");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // The macros would write into the test's captured output, where nobody would see it.
    let _ = writeln!(io::stderr(), "\nWARNING: {test} WAS SKIPPED. To run it: {remedies}.\n");
    false
}

impl Requirement {
    fn is_met(&self) -> bool {
        let mut check = Command::new(self.check[0]);
        check.args(&self.check[1..]).stdin(Stdio::null());
        check.stdout(Stdio::null()).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    }
}

/// Runs a scenario in a network namespace with nothing but a loopback device, on which it finds
/// the addresses 198.18.0.1 to 198.18.0.3 (RFC 2544: test networks).
///
/// Transmission refuses peers on 127.0.0.0/8, and aria2 speaks to UDP trackers only with its
/// DHT on, which reaches nobody from here. The namespace belongs to the scenario's thread and the
/// processes that it starts; it goes when they go, whatever happens.
pub(crate) fn in_private_network(scenario: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        // A thread of its own, because a thread cannot go back to the namespace it left.
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            // Some clients receive datagrams into buffers that hold little more than an
            // Ethernet frame.
            succeed("ip", &["link", "set", "lo", "mtu", "1500", "up"]);
            for address in ["198.18.0.1/32", "198.18.0.2/32", "198.18.0.3/32"] {
                succeed("ip", &["address", "add", address, "dev", "lo"]);
            }
            scenario();
        });
        if let Err(panic) = inside.join() {
            resume_unwind(panic);
        }
    });
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn succeed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until there is an answer; fails, naming `what`, when there is none in time.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        pause();
    }
}

/// The moment between two looks at something that another process does.
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

const SKIP: &str = "RINGTIDE_SKIP_REAL_CLIENTS";
/// Clients decide every ten seconds whom to serve, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);
