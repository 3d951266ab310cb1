//! What is relayed where: rules, already validated.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address, a port and the interface they are meant on: `239.1.1.1:5001@veth0`, or
/// `[ff15::1]:5001@veth0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A multicast group or a unicast address, and a UDP port other than 0.
    pub address: SocketAddr,
    /// The interface's name; it need not exist yet.
    pub interface: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.address, self.interface)
    }
}

/// One rule: everything that arrives at an input leaves by every output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique among the rules.
    pub name: String,
    /// What is taken.
    pub input: Input,
    /// Where it goes; none makes a sink that only counts. At most [`OUTPUTS_MAX`].
    pub outputs: Vec<Output>,
}

/// What a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The destination of the datagrams to take, and the interface they come in on.
    pub endpoint: Endpoint,
    /// With addresses, only datagrams from these are taken, and joined source-specific.
    pub sources: Vec<IpAddr>,
}

/// Where a rule sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The new destination, and the interface to leave by.
    pub endpoint: Endpoint,
    /// TTL or hop limit.
    pub ttl: Ttl,
    /// Differentiated-services code point.
    pub dscp: Dscp,
    /// The source address to send from; `None` leaves it to routing.
    pub source: Option<IpAddr>,
}

/// The TTL or hop limit of what an output sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// 1 to a group, the system's default to a host.
    #[default]
    Usual,
    /// That of the datagram that came in.
    Keep,
    /// This one, 1 to 255.
    Set(u8),
}

/// The code point of what an output sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dscp {
    /// 0, best effort.
    #[default]
    Usual,
    /// That of the datagram that came in.
    Keep,
    /// This one, 0 to 63.
    Set(u8),
}

/// Whether datagrams are kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Consecutive datagrams of a flow leave in one send, super-packets stay whole.
    #[default]
    Auto,
    /// One receive and one send per datagram.
    Off,
}

/// Everything the relay runs by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// Whether datagrams are kept together.
    pub offload: Offload,
    /// Wanted receive buffer of each packet socket, in bytes. Default 64 MiB.
    pub receive_buffer_bytes: usize,
    /// Wanted send buffer of each output's socket, in bytes. Default 4 MiB.
    pub send_buffer_bytes: usize,
    /// Frame buffers of each worker, a power of two; `None` sizes them from the largest fan-out.
    pub frame_buffers: Option<u16>,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            offload: Offload::Auto,
            receive_buffer_bytes: 64 << 20,
            send_buffer_bytes: 4 << 20,
            frame_buffers: None,
        }
    }
}

/// The most outputs of one rule.
pub const OUTPUTS_MAX: usize = 64;
