//! Where requests go, and where they come from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::error::LoadError;
use super::stats::{Operation, Stats};
use super::verify::{Brings, Expected, Failure, verify};
use crate::wire::bep15::request::emit_connect;
use crate::wire::bep15::{Family, TransactionId, response_field};

/// Addresses that clients on this host send from: an IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    network: Ipv4Addr,
    prefix: u8,
}

impl SourceRange {
    /// The address of a client: one after the other, from the second of the network on, and from
    /// the start again when there are no more.
    pub(super) fn address(self, client: usize) -> Ipv4Addr {
        let addresses = 1_u64 << (32 - self.prefix);
        // The first and the last one are the network's own, where it is not too small for that.
        let (first, usable) = if addresses > 2 { (1, addresses - 2) } else { (0, addresses) };
        let offset = first + client as u64 % usable;
        Ipv4Addr::from_bits(self.network.to_bits() + offset as u32)
    }
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not an IPv4 network such as 127.0.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(1..=32).contains(&prefix) {
            return Err(wrong());
        }
        let mask = u32::MAX << (32 - prefix);
        Ok(Self { network: Ipv4Addr::from_bits(address.to_bits() & mask), prefix })
    }
}

impl std::fmt::Display for SourceRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The address that a client binds. On loopback each has its own; elsewhere routing chooses,
/// unless a range was asked for.
pub(super) fn source(target: SocketAddr, range: Option<SourceRange>, client: usize) -> IpAddr {
    match (target.ip(), range) {
        (IpAddr::V4(_), Some(range)) => range.address(client).into(),
        (IpAddr::V4(target), None) if target.is_loopback() => {
            SourceRange { network: Ipv4Addr::new(127, 0, 0, 0), prefix: 16 }.address(client).into()
        }
        (IpAddr::V4(_), None) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(target), _) if target.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        (IpAddr::V6(_), _) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The addresses behind `HOST:PORT`.
///
/// # Errors
/// When there are none, or the text is no host and port.
pub(super) fn resolve(target: &str) -> Result<Vec<SocketAddr>, LoadError> {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host).to_owned();
    match target.to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            let none = io::Error::other("the name has no address");
            if addresses.is_empty() {
                Err(LoadError::UnknownHost { host, source: none })
            } else {
                Ok(addresses)
            }
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(LoadError::NoTarget { text: target.to_owned() })
        }
        Err(source) => Err(LoadError::UnknownHost { host, source }),
    }
}

/// Asks the tracker for a connection ID before the load begins, so that a wrong address is reported
/// at once. These datagrams are counted like all others.
///
/// # Errors
/// Why there is no answer, as far as the network says.
pub(super) fn probe(
    target: SocketAddr,
    source: IpAddr,
    timeout: Duration,
    stats: &mut Stats,
) -> Result<(), LoadError> {
    let fail = |source: io::Error| LoadError::from_io(target, source);
    let socket = UdpSocket::bind((source, 0)).map_err(fail)?;
    // Connected, so that the kernel reports ICMP errors.
    socket.connect(target).map_err(fail)?;
    for attempt in 0..PROBES_MAX {
        let wait = timeout * (1 << attempt);
        if probe_once(&socket, target, attempt, wait, stats).map_err(fail)? {
            return Ok(());
        }
    }
    let waited = timeout * ((1 << PROBES_MAX) - 1);
    Err(LoadError::NoAnswer { target, probes: PROBES_MAX, waited })
}

/// Sends one connect request. True when it was answered correctly.
fn probe_once(
    socket: &UdpSocket,
    target: SocketAddr,
    attempt: u32,
    wait: Duration,
    stats: &mut Stats,
) -> io::Result<bool> {
    let transaction = TransactionId(fastrand::u32(..).to_be_bytes());
    let mut request = [0; 16];
    let length = emit_connect(&mut request, transaction);
    let started = Instant::now();
    socket.send(&request[..length])?;
    stats.sent(Operation::Connect, length, attempt > 0);
    let mut answer = [0; 2048];
    loop {
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            stats.failed(Operation::Connect, Failure::Timeout);
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut answer) {
            Ok(length) => length,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        let answer = &answer[..length];
        if answer.get(response_field::TRANSACTION) != Some(&transaction.0[..]) {
            continue;
        }
        stats.received(Operation::Connect, length);
        match verify(answer, Family::of(target.ip()), Expected::Connect) {
            Ok(Brings::Connection(_)) => {
                stats.succeeded(Operation::Connect, started.elapsed().as_nanos() as u64);
                return Ok(true);
            }
            Ok(_) => stats.failed(Operation::Connect, Failure::WrongAction),
            Err(failure) => stats.failed(Operation::Connect, failure),
        }
        return Ok(false);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Connect requests before the load begins.
const PROBES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hand_out_addresses() {
        let range: SourceRange = "127.0.0.0/16".parse().unwrap();
        assert_eq!(range.to_string(), "127.0.0.0/16");
        assert_eq!(range.address(0).to_string(), "127.0.0.1");
        assert_eq!(range.address(1000).to_string(), "127.0.3.233");
        assert_eq!(range.address(65_534), range.address(0));
        let two: SourceRange = "10.0.0.7/31".parse().unwrap();
        assert_eq!([0, 1, 2].map(|i| two.address(i).octets()[3]), [6, 7, 6]);
        let one: SourceRange = "10.0.0.7/32".parse().unwrap();
        assert_eq!(one.address(5).to_string(), "10.0.0.7");
        for text in ["127.0.0.1", "127.0.0.0/0", "127.0.0.0/33", "::1/64", "x/8", ""] {
            assert!(text.parse::<SourceRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn sources_fit_the_target() {
        let range = "10.1.0.0/16".parse().ok();
        for (target, range, expected) in [
            ("127.0.0.1:1", None, "127.0.0.3"),
            ("127.0.0.1:1", range, "10.1.0.3"),
            ("192.0.2.1:1", None, "0.0.0.0"),
            ("192.0.2.1:1", range, "10.1.0.3"),
            ("[::1]:1", None, "::1"),
            ("[2001:db8::1]:1", None, "::"),
        ] {
            let address = source(target.parse().unwrap(), range, 2);
            assert_eq!(address.to_string(), expected, "{target}");
        }
    }

    #[test]
    fn targets_are_resolved_or_explained() {
        assert_eq!(resolve("127.0.0.1:6969").unwrap(), ["127.0.0.1:6969".parse().unwrap()]);
        assert_eq!(resolve("[::1]:1").unwrap(), ["[::1]:1".parse().unwrap()]);
        for text in ["localhost", "", "1.2.3.4:99999"] {
            assert!(matches!(resolve(text), Err(LoadError::NoTarget { .. })), "{text}");
        }
    }
}
