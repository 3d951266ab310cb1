//! Why a tracker cannot be tested.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Remedy;
use crate::sys::socket::BindError;
use crate::workers::StartError;

/// Why a tracker cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Flags that do not go together.
    #[error("{problem}")]
    Flags {
        /// What is wrong.
        problem: String,
        /// What would be right.
        advice: &'static str,
    },
    /// The target is not a host and a port.
    #[error("--target \"{text}\" is not a host and a port")]
    NoTarget {
        /// What was given.
        text: String,
    },
    /// There is no such process.
    #[error("--pid {pid}: there is no such process on this host, or it cannot be inspected")]
    NoProcess {
        /// Which one.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The host's name has no address.
    #[error("the host {host} is unknown")]
    UnknownHost {
        /// Its name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// ICMP says that nobody listens.
    #[error("{target} refuses UDP: nothing listens on this port (ICMP port unreachable)")]
    Refused {
        /// The tracker's address.
        target: SocketAddr,
    },
    /// No route, or ICMP says that there is none.
    #[error("{target} cannot be reached")]
    Unreachable {
        /// The tracker's address.
        target: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A firewall or a missing permission.
    #[error("no permission to send to {target}")]
    Permission {
        /// The tracker's address.
        target: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// No answer arrived.
    #[error(
        "{target} does not answer: {probes} connect requests went unanswered in {:.1} s",
        waited.as_secs_f64()
    )]
    NoAnswer {
        /// The tracker's address.
        target: SocketAddr,
        /// How often.
        probes: u32,
        /// For how long.
        waited: Duration,
    },
    /// The network fails in another way.
    #[error("cannot talk to {target}")]
    Network {
        /// The tracker's address.
        target: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// More sockets than the process may open.
    #[error("{clients} clients need {needed} file descriptors, and the limit is {limit}")]
    TooManySockets {
        /// Clients asked for.
        clients: usize,
        /// Descriptors that they and the rest need.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// A client's socket cannot be bound.
    #[error("cannot open a client's socket")]
    Bind(#[from] BindError),
    /// A worker cannot start.
    #[error("cannot start the load workers")]
    Start(#[from] StartError),
    /// Something that every process needs.
    #[error("cannot start")]
    System(#[source] io::Error),
    /// A worker panicked or its ring broke.
    #[error("a load worker failed and was restarted: what it measured is lost")]
    Restarted,
    /// A report cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LoadError {
    /// The error that an error of a socket to `target` stands for.
    pub(super) fn from_io(target: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused { target },
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT,
            ) => Self::Unreachable { target, source },
            // A source on loopback has no way to another host.
            Some(libc::EINVAL) => Self::Unreachable { target, source },
            Some(libc::EACCES | libc::EPERM) => Self::Permission { target, source },
            _ => Self::Network { target, source },
        }
    }

    /// Whether the flags are wrong, so that nothing was started.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Flags { .. } | Self::NoTarget { .. } | Self::NoProcess { .. })
    }
}

impl Remedy for LoadError {
    fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::Flags { advice, .. } => (*advice).to_owned(),
            Self::NoTarget { .. } => {
                "give it as 127.0.0.1:6969, [::1]:6969 or tracker.example.org:6969".to_owned()
            }
            Self::NoProcess { .. } => "give the tracker's process ID on this host".to_owned(),
            Self::UnknownHost { .. } => {
                "check the spelling, or give the address itself: --target 192.0.2.1:6969".to_owned()
            }
            Self::Refused { target } => format!(
                "start the tracker, or ask it where it listens (`ss -ulpn sport = :{}` on its \
                 host)",
                target.port()
            ),
            Self::Unreachable { .. } => {
                "check the address, and the route to it with `ip route get`; --source-range must \
                 fit the target"
                    .to_owned()
            }
            Self::Permission { .. } => {
                "allow outgoing UDP to this address in the firewall of this host (`nft list \
                 ruleset`); broadcast addresses cannot be tested"
                    .to_owned()
            }
            Self::NoAnswer { .. } => {
                "check that a UDP tracker runs there and that no firewall drops its packets; try a \
                 longer --timeout"
                    .to_owned()
            }
            Self::TooManySockets { needed, .. } => format!(
                "raise it (`ulimit -n {needed}` as root, LimitNOFILE= in a unit), or use a \
                 smaller --concurrency"
            ),
            Self::Restarted => "please report it, with what was logged above".to_owned(),
            Self::Write { .. } => "choose a path that can be written to".to_owned(),
            Self::Network { .. } | Self::Bind(_) | Self::Start(_) | Self::System(_) => return None,
        };
        Some(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::describe;

    #[test]
    fn every_sign_of_the_network_has_its_advice() {
        let target = "192.0.2.1:6969".parse().unwrap();
        for (errno, text) in [
            (libc::ECONNREFUSED, "start the tracker"),
            (libc::ENETUNREACH, "ip route get"),
            (libc::EINVAL, "--source-range"),
            (libc::EPERM, "firewall"),
            (libc::EIO, "cannot talk to 192.0.2.1:6969"),
        ] {
            let error = LoadError::from_io(target, io::Error::from_raw_os_error(errno));
            assert!(!error.is_usage());
            assert!(describe(&error).contains(text), "{}", describe(&error));
        }
    }
}
