//! What the broker may open: what the configuration says, as the broker itself reads it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::message::{OutputRequest, PacketRequest};
use crate::config::limit::{self, Bytes};
use crate::config::{self, Settings};

/// Interfaces and destinations that requests may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    inputs: BTreeSet<String>,
    outputs: BTreeSet<(String, SocketAddr)>,
    /// Interfaces on which everything goes.
    open: BTreeSet<String>,
}

impl Policy {
    pub(super) fn of(settings: &Settings) -> Self {
        let rules = || settings.relay.iter().flat_map(|relay| &relay.rules);
        let inputs = rules().map(|rule| rule.input.endpoint.interface.clone());
        let outputs = rules().flat_map(|rule| &rule.outputs).map(|output| {
            let endpoint = &output.endpoint;
            (endpoint.interface.clone(), endpoint.address)
        });
        Self {
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            open: settings.privileges.interfaces.iter().cloned().collect(),
        }
    }

    /// Why these packet sockets are not opened.
    pub(super) fn objection_to_packets(&self, request: &PacketRequest) -> Option<String> {
        let PacketRequest { interface, count, receive_buffer_bytes, .. } = request;
        if !(1..=limit::WORKERS.max).contains(count) {
            return Some(format!("{count} sockets are more than there can be workers"));
        }
        if !is_buffer(*receive_buffer_bytes) {
            return Some(format!("a buffer of {receive_buffer_bytes} bytes is out of range"));
        }
        let known = self.inputs.contains(interface) || self.open.contains(interface);
        (!known).then(|| {
            format!("no rule of the configuration file takes from {interface:?}; {REMEDY}")
        })
    }

    /// Why this output's socket is not opened.
    pub(super) fn objection_to_output(&self, request: &OutputRequest) -> Option<String> {
        let OutputRequest { interface, options, .. } = request;
        let to = options.to;
        let is_host = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
        if to.port() == 0 || to.ip().is_unspecified() {
            return Some(format!("{to} is no destination"));
        }
        if options.dscp > DSCP_MAX || options.ttl == Some(0) {
            return Some("a TTL or code point is out of range".to_owned());
        }
        if options.source.is_some_and(|source| !is_host(source)) {
            return Some("a source is no host's address".to_owned());
        }
        if !is_buffer(options.send_buffer_bytes) {
            return Some(format!(
                "a buffer of {} bytes is out of range",
                options.send_buffer_bytes
            ));
        }
        let configured = self.outputs.contains(&(interface.clone(), to));
        let known = configured || self.open.contains(interface);
        (!known).then(|| {
            format!("no rule of the configuration file sends to {to} by {interface:?}; {REMEDY}")
        })
    }
}

/// The policy of the file as it is now, if it can be read and is valid.
pub(super) fn reread(settings: &Settings) -> Option<Policy> {
    let file = settings.file.as_deref()?;
    Some(Policy::of(&config::load(file).ok()?))
}

fn is_buffer(bytes: usize) -> bool {
    (limit::SOCKET_BUFFER.min..=limit::SOCKET_BUFFER.max).contains(&Bytes(bytes))
}

const REMEDY: &str = "add the rule there, or the interface to privileges.interfaces, and restart \
                      for the latter";
const DSCP_MAX: u8 = 63;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::net::egress::EgressOptions;

    fn policy() -> Policy {
        let text = "[privileges]\ninterfaces = [\"c\"]\n[[relay.rule]]\n\
                    input = \"239.1.1.1:1@a\"\noutputs = [{ to = \"239.2.2.2:2@b\" }]\n";
        Policy::of(&config::parse(text, Path::new("r.toml")).unwrap())
    }

    fn packets(interface: &str, count: usize, receive_buffer_bytes: usize) -> bool {
        let interface = interface.to_owned();
        let request = PacketRequest { interface, index: 1, count, receive_buffer_bytes };
        policy().objection_to_packets(&request).is_none()
    }

    fn output(interface: &str, change: impl Fn(&mut EgressOptions)) -> bool {
        let to = "239.2.2.2:2".parse().unwrap();
        let mut options =
            EgressOptions { to, source: None, ttl: None, dscp: 0, send_buffer_bytes: 65_536 };
        change(&mut options);
        let request = OutputRequest { interface: interface.to_owned(), index: 1, options };
        policy().objection_to_output(&request).is_none()
    }

    #[test]
    fn only_configured_inputs_are_opened() {
        assert!(packets("a", 2, 65_536) && packets("c", 2, 65_536));
        assert!(!packets("b", 2, 65_536) && !packets("lo", 2, 65_536) && !packets("", 1, 65_536));
        assert!(!packets("a", 0, 65_536) && !packets("a", 100_000, 65_536));
        assert!(!packets("a", 2, 0) && !packets("a", 2, usize::MAX));
    }

    #[test]
    fn only_configured_outputs_are_opened() {
        assert!(output("b", |_| {}));
        for other in ["239.2.2.2:3", "239.2.2.3:2", "10.0.0.1:2"] {
            let to: SocketAddr = other.parse().unwrap();
            assert!(!output("b", |options| options.to = to), "{other}");
            assert!(output("c", |options| options.to = to), "{other}");
        }
        assert!(!output("a", |_| {}));
    }

    #[test]
    fn values_out_of_range_are_refused_everywhere() {
        assert!(!output("c", |options| options.to.set_port(0)));
        assert!(!output("c", |options| options.dscp = 64));
        assert!(!output("c", |options| options.ttl = Some(0)));
        assert!(!output("c", |options| options.send_buffer_bytes = usize::MAX));
        assert!(!output("c", |options| options.source = "239.1.1.1".parse().ok()));
        assert!(!output("c", |options| options.to = "0.0.0.0:5".parse().unwrap()));
    }
}
