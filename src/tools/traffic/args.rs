//! The flags of `ringtide traffic`, and what they must fulfil together.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::error::TrafficError;
use crate::values::endpoint::{Endpoint, EndpointError};
use crate::values::limit::{Limit, TTL, in_limit};

/// Send or receive test traffic.
#[derive(Debug, Subcommand)]
pub enum TrafficCommand {
    /// Send numbered, stamped and checksummed datagrams to a group or a host
    Send(SendArgs),
    /// Receive them, and report loss, duplicates, order, corruption and latency
    Receive(ReceiveArgs),
}

/// What the generator sends, where and how fast.
#[derive(Args, Clone, Debug)]
#[command(after_help = SEND_HELP)]
pub struct SendArgs {
    /// Group or host and port to send to: 239.1.1.1:5001 or \[ff15::1\]:5001
    #[arg(long, value_name = "G:P", value_parser = parse_group)]
    pub group: SocketAddr,

    /// Interface to leave by
    #[arg(long, value_name = "IF", value_parser = parse_interface)]
    pub interface: String,

    /// Payload of each datagram in bytes; from 32 on it can be checked in full
    #[arg(long, value_name = "BYTES", default_value_t = 1400)]
    #[arg(value_parser = in_limit(SIZE))]
    pub size: usize,

    /// Stop after this many datagrams, over all flows
    #[arg(long, value_name = "N", value_parser = in_limit(COUNT))]
    pub count: Option<u64>,

    /// Datagrams per second, over all flows [default: as fast as it goes]
    #[arg(long, value_name = "PPS", value_parser = rate)]
    pub rate: Option<NonZeroU64>,

    /// Stop after this time [default: at --count, or at Ctrl-C]
    #[arg(long, value_name = "DURATION", value_parser = in_limit(DURATION))]
    pub duration: Option<Duration>,

    /// Flows to send in rotation, each from its own source port
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = in_limit(FLOWS))]
    pub flows: u16,

    /// Whether datagrams leave as super-packets: up to 64 and 65,000 bytes in one send
    /// (UDP_SEGMENT), which the kernel or the device cuts
    #[arg(long, value_name = "MODE", default_value = "off")]
    pub segment: Switch,

    /// TTL or hop limit: 1 to 255 [default: 1 to groups, the system's to hosts]
    #[arg(long, value_name = "N", value_parser = in_limit(TTL))]
    pub ttl: Option<u8>,

    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What the receiver takes, and when it is done.
#[derive(Args, Clone, Debug)]
#[command(after_help = RECEIVE_HELP)]
pub struct ReceiveArgs {
    /// Group to join, or own address, and port: 239.1.1.1:5001 or \[ff15::1\]:5001
    #[arg(long, value_name = "G:P", value_parser = parse_group)]
    pub group: SocketAddr,

    /// Interface to receive on
    #[arg(long, value_name = "IF", value_parser = parse_interface)]
    pub interface: String,

    /// Stop after this many different datagrams; fail when they do not arrive, or not intact
    #[arg(long, value_name = "N", value_parser = in_limit(COUNT))]
    pub expect: Option<u64>,

    /// Stop after this time
    #[arg(long = "for", value_name = "DURATION", value_parser = in_limit(DURATION))]
    pub time: Option<Duration>,

    /// Stop when nothing arrived for this time since the last datagram; the wait for the first
    /// one does not count [default: 2s with --expect, otherwise never]
    #[arg(long, value_name = "DURATION", value_parser = in_limit(DURATION))]
    pub idle: Option<Duration>,

    /// Join source-specific: only what this address sends
    #[arg(long, value_name = "ADDR")]
    pub source: Option<IpAddr>,

    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl SendArgs {
    /// Checks what the flags must fulfil together.
    ///
    /// # Errors
    /// Which do not, and what would.
    pub fn check(&self) -> Result<(), TrafficError> {
        let endpoint = Endpoint { address: self.group, interface: self.interface.clone() };
        let bytes_max = endpoint.payload_bytes_max();
        if self.size > bytes_max {
            return Err(TrafficError::TooLarge { size: self.size, to: self.group, bytes_max });
        }
        if self.segments() && self.size == 0 {
            return Err(TrafficError::EmptySegments);
        }
        Ok(())
    }

    /// Whether super-packets are asked for.
    pub fn segments(&self) -> bool {
        self.segment == Switch::On
    }
}

impl ReceiveArgs {
    /// Checks what the flags must fulfil together.
    ///
    /// # Errors
    /// Which do not, and what would.
    pub fn check(&self) -> Result<(), TrafficError> {
        let Some(from) = self.source else { return Ok(()) };
        if !self.group.ip().is_multicast() {
            return Err(TrafficError::SourceOfHost { from, to: self.group });
        }
        if from.is_ipv4() != self.group.is_ipv4() {
            return Err(TrafficError::SourceFamily { from, group: self.group });
        }
        if from.is_multicast() || from.is_unspecified() {
            return Err(TrafficError::NoSource { from });
        }
        Ok(())
    }

    /// After which silence to stop.
    pub fn idle(&self) -> Option<Duration> {
        self.idle.or(self.expect.map(|_| IDLE_AFTER_EXPECTED))
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    RATE.parse(text).and_then(|rate| NonZeroU64::new(rate).ok_or_else(|| RATE.to_string()))
}

/// Reads an address and a port as an [`Endpoint`] without its interface.
fn parse_group(text: &str) -> Result<SocketAddr, String> {
    if text.contains('@') {
        return Err("leave \"@\" out: --interface says the interface".to_owned());
    }
    let endpoint = format!("{text}@lo").parse::<Endpoint>();
    endpoint.map(|endpoint| endpoint.address).map_err(|error| match error {
        EndpointError::Scope => "leave \"%\" out: --interface says the interface".to_owned(),
        error => error.to_string().replace("@veth0", ""),
    })
}

fn parse_interface(text: &str) -> Result<String, String> {
    let endpoint = format!("127.0.0.1:1@{text}").parse::<Endpoint>();
    endpoint.map(|endpoint| endpoint.interface).map_err(|error| match error {
        EndpointError::NoInterface => "the name of an interface, such as veth0".to_owned(),
        error => error.to_string(),
    })
}

/// IPv6 takes these; what IPv4 takes less is checked with the group.
const SIZE: Limit<usize> = Limit {
    min: 0,
    max: crate::values::endpoint::IPV6_PAYLOAD_BYTES_MAX,
    because: "a UDP datagram holds no more",
};

const COUNT: Limit<u64> =
    Limit { min: 1, max: 1 << 53, because: "JSON readers keep no larger number exactly" };

const RATE: Limit<u64> =
    Limit { min: 1, max: 1_000_000_000, because: "times are kept in nanoseconds" };

const DURATION: Limit<Duration> = Limit {
    min: Duration::from_millis(1),
    max: Duration::from_secs(365 * 86_400),
    because: "shorter is over before it begins, and longer is as good as none",
};

/// As many as the receiver can distinguish.
const FLOWS: Limit<u16> = Limit {
    min: 1,
    max: crate::tools::traffic::flows::FLOWS_MAX as u16,
    because: "each is a socket, and the receiver distinguishes no more",
};

const IDLE_AFTER_EXPECTED: Duration = Duration::from_secs(2);

const SEND_HELP: &str = "\
Examples:
  ringtide traffic send --group 239.1.1.1:5001 --interface veth0 --rate 10000 --duration 10s
  ringtide traffic send --group 239.1.1.1:5001 --interface veth0 --count 10000000 --segment on
  ringtide traffic send --group [ff15::1]:5001 --interface veth0 --flows 8 --size 64 --json

The rate is exact on average: datagram n is due n / PPS seconds after the start, and what a delay
held back is caught up. A burst is at most 64 datagrams; with --segment on it is one super-packet.
A full socket buffer makes the generator wait: nothing is lost in it. Send times are read from
CLOCK_REALTIME once per burst. Runs until --count or --duration is reached, or until Ctrl-C.

Exit codes:
  0  sent, or stopped by a signal
  1  failure at run time: no such interface, no route, no permission
  2  wrong arguments; nothing was sent";

const RECEIVE_HELP: &str = "\
Examples:
  ringtide traffic receive --group 239.1.1.1:5001 --interface veth1 --expect 1000000
  ringtide traffic receive --group 232.1.1.1:5001 --interface veth1 --source 10.0.0.1 --for 10s
  ringtide traffic receive --group [ff15::1]:5001 --interface veth1 --idle 2s --json

Prints \"ready\" on standard error once it has joined. Loss is what is missing between the lowest
and the highest number of each flow. Duplicates and order are exact for 1,048,576 numbers
up to the highest; what is further behind counts as late. Of what the kernel drops, a super-packet
counts once. Latency is one-way, from CLOCK_REALTIME of the sender to that of the receiver, of
every datagram: it means something where both are the same clock, as on one machine, or are kept
in step (PTP). Datagrams below 32 bytes carry no send time, below 16 neither number nor checksum.

Exit codes:
  0  done, or stopped by a signal, and whatever was expected arrived intact
  1  failure at run time, or --expect not met: missing, duplicated or corrupt datagrams
  2  wrong arguments; nothing was received";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_without_interface() {
        assert_eq!(parse_group("239.1.1.1:5001"), Ok("239.1.1.1:5001".parse().unwrap()));
        assert_eq!(parse_group("[ff15::1]:5001"), Ok("[ff15::1]:5001".parse().unwrap()));
        for (text, hint) in [
            ("239.1.1.1:5001@veth0", "--interface"),
            ("[fe80::1%veth0]:5001", "--interface"),
            ("239.1.1.1", "as in \"239.1.1.1:5001\""),
            ("ff15::1:5001", "in brackets"),
            ("", "must be IPv4"),
        ] {
            let error = parse_group(text).unwrap_err();
            assert!(error.contains(hint) && !error.contains("@veth0"), "{text}: {error}");
        }
        assert_eq!(parse_interface("br-lan.100"), Ok("br-lan.100".to_owned()));
        for text in ["", "a/b", "sixteen-bytes-16", "a@b"] {
            assert!(parse_interface(text).is_err(), "{text}");
        }
    }
}
