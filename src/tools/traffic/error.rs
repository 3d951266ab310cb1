//! Why test traffic cannot be sent or received.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::error::Remedy;
use crate::sys::egress::EgressError;
use crate::sys::udp_receiver::ReceiverError;

/// Why test traffic cannot be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// More payload than a datagram of this family holds.
    #[error("--size {size} is too large: a datagram to {to} holds at most {bytes_max} bytes")]
    TooLarge {
        /// What was asked for.
        size: usize,
        /// The destination.
        to: SocketAddr,
        /// The most that works.
        bytes_max: usize,
    },
    /// Super-packets of nothing.
    #[error("--segment on cannot cut a send into datagrams of --size 0")]
    EmptySegments,
    /// A source for a unicast address.
    #[error("--source {from} does not apply to {to}: only groups are joined per source")]
    SourceOfHost {
        /// What was asked for.
        from: IpAddr,
        /// Where to receive.
        to: SocketAddr,
    },
    /// Source and group of different families.
    #[error("--source {from} and --group {group} are not of the same family")]
    SourceFamily {
        /// What was asked for.
        from: IpAddr,
        /// Where to receive.
        group: SocketAddr,
    },
    /// A source that sends nothing.
    #[error("--source {from} cannot be the source of a datagram")]
    NoSource {
        /// What was asked for.
        from: IpAddr,
    },
    /// No such interface.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// Which one.
        interface: String,
    },
    /// The kernel's table of interfaces cannot be read.
    #[error("cannot list interfaces")]
    Interfaces(#[source] io::Error),
    /// A segment does not fit the interface's MTU, and segments are not fragmented.
    #[error(
        "--size {size} is too large for --segment on: the MTU of {interface} holds segments of \
         at most {bytes_max} bytes"
    )]
    SegmentTooLarge {
        /// What was asked for.
        size: usize,
        /// The interface to leave by.
        interface: String,
        /// The most that works.
        bytes_max: usize,
    },
    /// A sending socket cannot be opened.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The receiving socket cannot be opened.
    #[error(transparent)]
    Feed(#[from] ReceiverError),
    /// The kernel does not take super-packets for this interface.
    #[error("the kernel refuses to send super-packets to {to} by {interface}")]
    SegmentRefused {
        /// The destination.
        to: SocketAddr,
        /// The interface to leave by.
        interface: String,
        /// What it said.
        source: io::Error,
    },
    /// A send failed for good.
    #[error("cannot send to {to} by {interface}")]
    Send {
        /// The destination.
        to: SocketAddr,
        /// The interface to leave by.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A receive failed for good.
    #[error("cannot receive")]
    Receive(#[source] io::Error),
    /// Signals cannot be received, or no thread be started.
    #[error("cannot start")]
    Start(#[source] io::Error),
}

impl TrafficError {
    /// Whether the flags are wrong, so that nothing was started.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::EmptySegments
                | Self::SourceOfHost { .. }
                | Self::SourceFamily { .. }
                | Self::NoSource { .. }
        )
    }
}

impl Remedy for TrafficError {
    fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::TooLarge { bytes_max, .. } => format!("use --size {bytes_max} or less"),
            Self::EmptySegments => "use --segment off, or a --size of at least 1".to_owned(),
            Self::SourceOfHost { .. } => "leave --source out".to_owned(),
            Self::SourceFamily { .. } => {
                "give both as IPv4 addresses or both as IPv6 addresses".to_owned()
            }
            Self::NoSource { .. } => "give the sender's own address".to_owned(),
            Self::NoInterface { .. } => "`ip -brief link` lists the interfaces of this network \
                                         namespace"
                .to_owned(),
            Self::SegmentTooLarge { bytes_max, .. } => {
                format!("use --size {bytes_max} or less, or --segment off, which fragments")
            }
            Self::SegmentRefused { interface, .. } => format!(
                "use --segment off; or switch checksum offload on (`ethtool -K {interface} tx on`)"
            ),
            Self::Send { interface, .. } => {
                format!("see that the interface is up and has a route (`ip addr show {interface}`)")
            }
            Self::Egress(_)
            | Self::Feed(_)
            | Self::Interfaces(_)
            | Self::Receive(_)
            | Self::Start(_) => return None,
        };
        Some(remedy)
    }
}
