//! What is relayed where: rules, already validated.

use std::fmt;
use std::net::IpAddr;

use crate::values::endpoint::Endpoint;

/// One rule: everything that arrives at an input leaves by every output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique among the rules: 1 to [`NAME_BYTES_MAX`](crate::relay::validate::NAME_BYTES_MAX)
    /// letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What is taken.
    pub input: Input,
    /// Where it goes; none makes a sink that only counts. At most [`OUTPUTS_MAX`].
    pub outputs: Vec<Output>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ", self.name, self.input)?;
        if self.outputs.is_empty() {
            return f.write_str("is only counted");
        }
        f.write_str("to ")?;
        write_list(f, &self.outputs)
    }
}

/// What a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The destination of the datagrams to take, and the interface they come in on.
    pub endpoint: Endpoint,
    /// With addresses, only datagrams from these are taken, and joined source-specific.
    pub sources: Vec<IpAddr>,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        if self.sources.is_empty() {
            return Ok(());
        }
        f.write_str(" from ")?;
        write_list(f, &self.sources)
    }
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

impl fmt::Display for Output {
    /// The endpoint with what differs from the usual: `239.2.2.2:5002@veth1 (ttl 8, dscp keep)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut extras = Vec::new();
        match self.ttl {
            Ttl::Usual => {}
            Ttl::Keep => extras.push("ttl keep".to_owned()),
            Ttl::Set(ttl) => extras.push(format!("ttl {ttl}")),
        }
        match self.dscp {
            Dscp::Usual => {}
            Dscp::Keep => extras.push("dscp keep".to_owned()),
            Dscp::Set(dscp) => extras.push(format!("dscp {dscp}")),
        }
        extras.extend(self.source.map(|source| format!("source {source}")));
        match extras.is_empty() {
            true => write!(f, "{}", self.endpoint),
            false => write!(f, "{} ({})", self.endpoint, extras.join(", ")),
        }
    }
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

impl Offload {
    /// Every choice with its name in the file and on the command line.
    pub const NAMES: [(&str, Self); 2] = [("auto", Self::Auto), ("off", Self::Off)];

    /// The choice's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
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
    /// Frame buffers of 64 KiB in each worker, a power of two from 16 to 32,768; `None` sizes
    /// them from the largest fan-out.
    pub frame_buffers: Option<u16>,
    /// Whether the time from a frame's arrival to the end of its sends is measured. Off by
    /// default: a time stamp for each frame, and a system call more for each iteration.
    pub latency: bool,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            offload: Offload::Auto,
            receive_buffer_bytes: 64 << 20,
            send_buffer_bytes: 4 << 20,
            frame_buffers: None,
            latency: false,
        }
    }
}

impl RelaySettings {
    /// Frame buffers in each worker: as configured, or by the largest fan-out. A buffer is busy
    /// until the last of its sends has completed, which is within an iteration: more are of use
    /// only where a wide fan-out makes iterations long.
    pub fn frame_buffers_per_worker(&self) -> u16 {
        let fan_out = self.rules.iter().map(|rule| rule.outputs.len()).max().unwrap_or(0);
        let usual = match fan_out {
            ..=8 => 256,
            9..=32 => 512,
            _ => FRAME_BUFFERS_USUAL_MAX,
        };
        self.frame_buffers.unwrap_or(usual)
    }

    /// The most that this can become while the process runs and rules change.
    pub fn frame_buffers_per_worker_max(&self) -> u16 {
        self.frame_buffers.unwrap_or(FRAME_BUFFERS_USUAL_MAX)
    }
}

/// Frame buffers for the largest fan-out.
const FRAME_BUFFERS_USUAL_MAX: u16 = 1024;

/// The most outputs of one rule.
pub const OUTPUTS_MAX: usize = 64;

/// The most sources of one input: each is a join of its own and a comparison for each datagram.
pub const SOURCES_MAX: usize = 64;

/// The most rules.
pub const RULES_MAX: usize = 1024;

fn write_list(f: &mut fmt::Formatter<'_>, list: &[impl fmt::Display]) -> fmt::Result {
    for (index, item) in list.iter().enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_like_sentences() {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        let output = |to| Output {
            endpoint: endpoint(to),
            ttl: Ttl::Usual,
            dscp: Dscp::Usual,
            source: None,
        };
        let mut rule = Rule {
            name: "a".to_owned(),
            input: Input { endpoint: endpoint("239.1.1.1:1@x"), sources: Vec::new() },
            outputs: Vec::new(),
        };
        assert_eq!(rule.to_string(), "a: 239.1.1.1:1@x is only counted");
        rule.input.sources = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
        rule.outputs = vec![
            output("239.1.1.2:2@y"),
            Output { ttl: Ttl::Set(8), dscp: Dscp::Keep, ..output("[ff15::1]:2@y") },
            Output { source: "fd00::1".parse().ok(), ttl: Ttl::Keep, ..output("[fd00::2]:2@y") },
        ];
        assert_eq!(
            rule.to_string(),
            "a: 239.1.1.1:1@x from 10.0.0.1, 10.0.0.2 to 239.1.1.2:2@y, [ff15::1]:2@y (ttl 8, \
             dscp keep), [fd00::2]:2@y (ttl keep, source fd00::1)"
        );
    }

    #[test]
    fn offload_names_are_those_of_the_list() {
        assert!(Offload::NAMES.iter().all(|(name, offload)| offload.name() == *name));
    }
}
