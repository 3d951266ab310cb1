//! Where datagrams come from and go to: an address, a port and an interface, as one text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address, a port and the interface they are meant on: `239.1.1.1:5001@veth0`, or
/// `[ff15::1]:5001@veth0`.
///
/// Parsing looks at the text alone: the interface need not exist, and the relay checks whether the
/// address suits its purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A multicast group or a unicast address, and a UDP port other than 0. Without a scope: the
    /// interface is one.
    pub address: SocketAddr,
    /// The interface's name, at most [`INTERFACE_BYTES_MAX`] bytes; it need not exist yet.
    pub interface: String,
}

impl Endpoint {
    /// The most payload of one datagram to or from this address, in bytes.
    pub const fn payload_bytes_max(&self) -> usize {
        match self.address {
            SocketAddr::V4(_) => IPV4_PAYLOAD_BYTES_MAX,
            SocketAddr::V6(_) => IPV6_PAYLOAD_BYTES_MAX,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.address, self.interface)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        // No address contains an "@", so that the first one ends it.
        let (address, interface) = text.split_once('@').ok_or(EndpointError::NoInterface)?;
        let address = parse_address(address)?;
        check_interface(interface)?;
        Ok(Self { address, interface: interface.to_owned() })
    }
}

/// Why a text is no [`Endpoint`]. The message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no `@`, or nothing after it.
    #[error("the interface is missing: write \"@\" and its name at the end, as in {EXAMPLE}")]
    NoInterface,
    /// The name is longer than Linux allows.
    #[error("the interface name has {0} bytes; Linux allows at most {INTERFACE_BYTES_MAX}")]
    InterfaceTooLong(usize),
    /// The name has a character, or is a name, that Linux refuses.
    #[error(
        "{0:?} is no interface name: spaces, control characters, \"/\" and \":\" are not allowed, \
         and neither are the names \".\" and \"..\""
    )]
    InterfaceName(String),
    /// The name is written as `ip link` shows an interface with its peer.
    #[error("\"@\" is there twice: of what `ip link` shows as veth0@if7 the name is veth0 alone")]
    InterfacePeer,
    /// The address stands alone.
    #[error("the port is missing: write \":\" and the port after the address, as in {EXAMPLE}")]
    NoPort,
    /// The port is no number, 0 or too large.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// An IPv6 address without brackets, where its port cannot be told from its last group.
    #[error("an IPv6 address goes in brackets, as in \"[ff15::1]:5001@veth0\"")]
    NoBrackets,
    /// Neither an IPv4 nor an IPv6 address.
    #[error(
        "the address must be IPv4 or, in brackets, IPv6, as in {EXAMPLE} or \
         \"[ff15::1]:5001@veth0\"; host names are not looked up"
    )]
    Address,
    /// An IPv4-mapped IPv6 address, which is never seen in a packet.
    #[error("write the IPv4 address itself: {0}")]
    Mapped(Ipv4Addr),
    /// A zone such as `%eth0` in the address.
    #[error("leave \"%\" and what follows it out: the interface after the \"@\" says it already")]
    Scope,
}

fn parse_address(text: &str) -> Result<SocketAddr, EndpointError> {
    let (ip, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(EndpointError::Address)?;
            (IpAddr::V6(parse_ipv6(host)?), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            // A second colon after hex digits alone: this was meant to be IPv6.
            if port.rfind(':') > Some(0) && host.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(EndpointError::NoBrackets);
            }
            (IpAddr::V4(host.parse().map_err(|_| EndpointError::Address)?), port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Err(EndpointError::NoPort),
        None => Err(EndpointError::Address),
        Some("") => Err(EndpointError::NoPort),
        Some(port) => Ok(SocketAddr::new(ip, parse_port(port)?)),
    }
}

fn parse_ipv6(text: &str) -> Result<Ipv6Addr, EndpointError> {
    if text.contains('%') {
        return Err(EndpointError::Scope);
    }
    let ip: Ipv6Addr = text.parse().map_err(|_| EndpointError::Address)?;
    ip.to_ipv4_mapped().map_or(Ok(ip), |ipv4| Err(EndpointError::Mapped(ipv4)))
}

/// Digits only: the standard library would also take a sign.
fn parse_port(text: &str) -> Result<u16, EndpointError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| is_number && *port != 0);
    port.ok_or(EndpointError::Port)
}

/// Refuses what the kernel refuses as a name (`dev_valid_name`), and control characters, which no
/// terminal should meet.
pub(crate) fn check_interface(name: &str) -> Result<(), EndpointError> {
    let is_refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if name.is_empty() {
        Err(EndpointError::NoInterface)
    } else if name.contains('@') {
        Err(EndpointError::InterfacePeer)
    } else if name.len() > INTERFACE_BYTES_MAX {
        Err(EndpointError::InterfaceTooLong(name.len()))
    } else if matches!(name, "." | "..") || name.contains(is_refused) {
        Err(EndpointError::InterfaceName(name.to_owned()))
    } else {
        Ok(())
    }
}

/// The longest name of an interface: `IFNAMSIZ` less the closing zero byte.
pub const INTERFACE_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// 65,535 bytes of total length (RFC 791, section 3.1) less 20 of IPv4 header without options and
/// 8 of UDP header.
pub const IPV4_PAYLOAD_BYTES_MAX: usize = 65_535 - 20 - 8;

/// 65,535 bytes of payload length, which leaves the IPv6 header out (RFC 8200, section 3), less 8
/// of UDP header. Linux sends no jumbograms (RFC 2675) over UDP.
pub const IPV6_PAYLOAD_BYTES_MAX: usize = 65_535 - 8;

const EXAMPLE: &str = "\"239.1.1.1:5001@veth0\"";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> EndpointError {
        text.parse::<Endpoint>().expect_err(text)
    }

    #[test]
    fn endpoints_read_as_written() {
        for text in [
            "239.1.1.1:5001@veth0",
            "10.0.0.1:1@lo",
            "[ff15::1]:5001@veth0",
            "[ff02::fb]:65535@br-lan.100",
            "[ff01::1]:9@a",
            "[fe80::1]:9@fifteen-bytes-1",
            "[2001:db8::1]:9@w\u{fc}rfel",
        ] {
            assert_eq!(text.parse::<Endpoint>().expect(text).to_string(), text);
        }
        let endpoint: Endpoint = "[ff15::1]:5001@veth0".parse().unwrap();
        assert_eq!(
            endpoint.address,
            SocketAddr::from((Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 1), 5001))
        );
        assert_eq!(endpoint.interface, "veth0");
    }

    #[test]
    fn each_mistake_has_its_own_answer() {
        for (text, expected) in [
            ("239.1.1.1:5001", EndpointError::NoInterface),
            ("239.1.1.1:5001@", EndpointError::NoInterface),
            ("", EndpointError::NoInterface),
            ("239.1.1.1@veth0", EndpointError::NoPort),
            ("239.1.1.1:@veth0", EndpointError::NoPort),
            ("[ff15::1]@veth0", EndpointError::NoPort),
            ("[ff15::1]:@veth0", EndpointError::NoPort),
            ("239.1.1.1:0@veth0", EndpointError::Port),
            ("239.1.1.1:65536@veth0", EndpointError::Port),
            ("239.1.1.1:+5@veth0", EndpointError::Port),
            ("[ff15::1]:-5@veth0", EndpointError::Port),
            ("239.1.1.1:http@veth0", EndpointError::Port),
            ("239.1.1:5001@veth0", EndpointError::Address),
            ("239.1.1.256:5001@veth0", EndpointError::Address),
            ("feed.example:5001@veth0", EndpointError::Address),
            ("@veth0", EndpointError::Address),
            ("[239.1.1.1]:5001@veth0", EndpointError::Address),
            ("[ff15::1:5001@veth0", EndpointError::Address),
            ("[ff15::1]5001@veth0", EndpointError::Address),
            ("239.1.1.1:50:01@veth0", EndpointError::Port),
            ("ff15::1:5001@veth0", EndpointError::NoBrackets),
            ("ff15::1@veth0", EndpointError::NoBrackets),
            ("::@veth0", EndpointError::NoBrackets),
            ("2001:db8:0:0:0:0:0:1:5001@veth0", EndpointError::NoBrackets),
            ("[fe80::1%veth0]:5001@veth0", EndpointError::Scope),
            ("[::ffff:10.0.0.1]:5@veth0", EndpointError::Mapped(Ipv4Addr::new(10, 0, 0, 1))),
            ("10.0.0.1:5@veth0@if7", EndpointError::InterfacePeer),
            ("10.0.0.1:5@sixteen-bytes-16", EndpointError::InterfaceTooLong(16)),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        for name in ["a b", " veth0", "veth0 ", "a/b", "a:1", ".", "..", "a\nb", "a\u{1b}b"] {
            let expected = EndpointError::InterfaceName(name.to_owned());
            assert_eq!(error(&format!("10.0.0.1:5@{name}")), expected);
        }
    }

    #[test]
    fn messages_are_one_safe_line_that_says_what_to_write() {
        for (text, hint) in [
            ("239.1.1.1:5001", "\"239.1.1.1:5001@veth0\""),
            ("239.1.1.1@veth0", "the port is missing"),
            ("ff15::1:1@a", "\"[ff15::1]:5001@veth0\""),
            ("x:1@a", "host names are not looked up"),
            ("10.0.0.1:5@sixteen-bytes-16", "16 bytes; Linux allows at most 15"),
            ("10.0.0.1:5@a\u{1b}\nb", "\"a\\u{1b}\\nb\" is no interface name"),
        ] {
            let message = error(text).to_string();
            assert!(message.contains(hint), "{text:?}: {message}");
            assert!(!message.contains(char::is_control), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_largest_payloads_are_those_of_the_length_fields() {
        let bytes_max = |text: &str| text.parse::<Endpoint>().unwrap().payload_bytes_max();
        assert_eq!(bytes_max("239.1.1.1:1@a"), 65_507);
        assert_eq!(bytes_max("[ff15::1]:1@a"), 65_527);
    }

    /// Addresses of both families, with ports and names that are valid.
    fn endpoints() -> impl Strategy<Value = Endpoint> {
        let ip = prop_oneof![
            any::<Ipv4Addr>().prop_map(IpAddr::V4),
            any::<Ipv6Addr>()
                .prop_filter("mapped", |ip| ip.to_ipv4_mapped().is_none())
                .prop_map(IpAddr::V6)
        ];
        (ip, 1..=u16::MAX, "[a-z][a-z0-9.-]{0,14}").prop_map(|(ip, port, interface)| Endpoint {
            address: SocketAddr::new(ip, port),
            interface,
        })
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = text.parse::<Endpoint>();
        }

        #[test]
        fn nearly_right_text_is_answered_and_what_is_read_keeps_its_promises(
            text in "\\[?(10\\.0\\.0|[f:]{1,4}5?%?)[.:0-9]{0,6}\\]?\
                     :?[-+0-9]{0,6}@{0,2}[a-z./ @]{0,17}",
        ) {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_ne!(endpoint.address.port(), 0);
                prop_assert!((1..=INTERFACE_BYTES_MAX).contains(&endpoint.interface.len()));
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }

        #[test]
        fn endpoints_survive_a_round_trip(endpoint in endpoints()) {
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }
}
