//! Network namespaces that exist as long as a test holds them: they have no name, so nothing is
//! left behind, whatever ends the test.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, socket};
use ringtide::sys::interface::Interface;

use super::eventually;

/// Says whether tests with namespaces are switched off. Without the right to make one, a test
/// fails instead.
pub fn switched_off() -> bool {
    let off = std::env::var_os("RINGTIDE_SKIP_NAMESPACES").is_some_and(|value| value == "1");
    if off {
        // Not a print macro: those are silenced in tests that pass.
        let _ = std::io::stderr()
            .write_all(b"NOT TESTED: RINGTIDE_SKIP_NAMESPACES=1 skips a test with namespaces\n");
    }
    off
}

/// A network namespace, with loopback up.
pub struct Namespace {
    file: File,
}

impl Namespace {
    pub fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| {
                panic!(
                    "cannot make a network namespace ({error}): run this test as root, or set \
                     RINGTIDE_SKIP_NAMESPACES=1 to leave it out"
                )
            });
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let file = thread::spawn(make).join().unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic);
        });
        let namespace = Self { file };
        // Probing for duplicate addresses would take a second for each cable.
        for conf in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{conf}/accept_dad"), "0");
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` on a thread of its own inside the namespace.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` inside, and insists on success.
    pub fn ip(&self, arguments: &str) {
        let output = self.run(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {complaint}");
    }

    /// Writes a sysctl, given as a path below /proc/sys.
    pub fn sysctl(&self, path: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value).unwrap());
    }

    /// Reads a file of /proc/net.
    pub fn proc_net(&self, name: &str) -> String {
        self.run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap())
    }

    /// Looks up an interface that must be there.
    pub fn interface(&self, name: &str) -> Interface {
        self.run(|| Interface::find(name).unwrap()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Waits until an interface carries IPv4 and IPv6, and returns its link-local address.
    pub fn ready(&self, name: &str) -> Ipv6Addr {
        eventually("an interface that carries packets", || {
            let Interface { up, addresses, .. } = self.interface(name);
            addresses.iter().filter(|_| up).find_map(|address| match address {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(*v6),
                _ => None,
            })
        })
    }

    /// What `ip` takes for a namespace without a name.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

/// Two namespaces and a cable: `a` with 10.9.0.1 and fd09::1 on this side, `b` with 10.9.0.2 and
/// fd09::2 on the other.
pub struct Cable {
    pub near: Namespace,
    pub far: Namespace,
}

impl Cable {
    pub fn new() -> Self {
        let cable = Self { near: Namespace::new(), far: Namespace::new() };
        cable.add("a", "b", 9);
        cable
    }

    /// Adds a cable with addresses in 10.`net`.0.0/24 and fd`net`::/64.
    pub fn add(&self, near: &str, far: &str, net: u8) {
        connect((&self.near, near), (&self.far, far), net);
    }
}

/// Lays a cable between two namespaces: 10.`net`.0.1 and fd`net`::1 are the first end, 10.`net`.0.2
/// and fd`net`::2 the second.
pub fn connect(near: (&Namespace, &str), far: (&Namespace, &str), net: u8) {
    let other = far.0.path();
    // Ends with the same index in both namespaces look like hardware to the kernel, and news of
    // their carrier may then wait for a second (`linkwatch_urgent_event`).
    let index = INDEX.fetch_add(1, Ordering::Relaxed);
    let veth = format!("index {index} type veth peer name {} netns {other}", far.1);
    near.0.ip(&format!("link add name {} {veth}", near.1));
    for ((namespace, name), host) in [(near, 1), (far, 2)] {
        namespace.ip(&format!("addr add 10.{net}.0.{host}/24 dev {name}"));
        namespace.ip(&format!("addr add fd{net:02}::{host}/64 dev {name} nodad"));
        namespace.ip(&format!("link set dev {name} up"));
    }
    for (namespace, name) in [near, far] {
        namespace.ready(name);
    }
}

/// A packet socket without any filter.
pub fn raw_socket(namespace: &Namespace, interface: &str) -> OwnedFd {
    namespace.run(|| {
        let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol).unwrap();
        let link = getifaddrs().unwrap().find_map(|entry| {
            let address = entry.address.filter(|_| entry.interface_name == interface)?;
            address.as_link_addr().copied()
        });
        bind(socket.as_raw_fd(), &link.unwrap()).unwrap();
        socket
    })
}

/// Interfaces made anew get another index each.
static INDEX: AtomicU32 = AtomicU32::new(1000);
