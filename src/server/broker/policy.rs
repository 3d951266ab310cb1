//! What the broker may open, by the configuration as the broker itself reads it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::message::{OutputRequest, PacketRequest};
use crate::server::config::{Settings, limits};
use crate::values::limit::Bytes;

/// Interfaces and destinations that requests may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    inputs: BTreeSet<String>,
    outputs: BTreeSet<(String, SocketAddr)>,
    /// Interfaces on which every socket is permitted.
    open: BTreeSet<String>,
}

/// Why a request is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// It is never permitted.
    Senseless(String),
    /// No rule of the configuration needs it.
    Unconfigured(String),
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

    /// Uses the rules of these settings from now on. The interfaces on which everything is
    /// permitted stay those of the start.
    pub(super) fn take_rules(&mut self, settings: &Settings) {
        let open = std::mem::take(&mut self.open);
        *self = Self { open, ..Self::of(settings) };
    }

    /// Why these packet sockets may not be opened, if so.
    pub(super) fn objection_to_packets(&self, request: &PacketRequest) -> Option<Objection> {
        let PacketRequest { interface, count, receive_buffer_bytes, .. } = request;
        let senseless = |reason| Some(Objection::Senseless(reason));
        if !(1..=limits::WORKERS.max).contains(count) {
            return senseless(format!("{count} sockets are more than there can be workers"));
        }
        if !is_buffer(*receive_buffer_bytes) {
            return senseless(format!("a buffer of {receive_buffer_bytes} bytes is out of range"));
        }
        let known = self.inputs.contains(interface) || self.open.contains(interface);
        (!known).then(|| {
            Objection::Unconfigured(format!(
                "no rule of the configuration file takes from {interface:?}"
            ))
        })
    }

    /// Why this output's socket may not be opened, if so.
    pub(super) fn objection_to_output(&self, request: &OutputRequest) -> Option<Objection> {
        let OutputRequest { interface, options, .. } = request;
        let to = options.to;
        let senseless = |reason| Some(Objection::Senseless(reason));
        let is_host = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
        if to.port() == 0 || to.ip().is_unspecified() {
            return senseless(format!("{to} is no destination"));
        }
        if options.dscp > DSCP_MAX || options.ttl == Some(0) {
            return senseless("a TTL or code point is out of range".to_owned());
        }
        if options.source.is_some_and(|source| !is_host(source)) {
            return senseless("a source is no host's address".to_owned());
        }
        let bytes = options.send_buffer_bytes;
        if !is_buffer(bytes) {
            return senseless(format!("a buffer of {bytes} bytes is out of range"));
        }
        let configured = self.outputs.contains(&(interface.clone(), to));
        let known = configured || self.open.contains(interface);
        (!known).then(|| {
            Objection::Unconfigured(format!(
                "no rule of the configuration file sends to {to} by {interface:?}"
            ))
        })
    }
}

fn is_buffer(bytes: usize) -> bool {
    (limits::SOCKET_BUFFER.min..=limits::SOCKET_BUFFER.max).contains(&Bytes(bytes))
}

const DSCP_MAX: u8 = 63;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::server::config;
    use crate::sys::egress::EgressOptions;

    fn settings(interface: &str, input: &str) -> Settings {
        let text = format!(
            "[privileges]\ninterfaces = [\"{interface}\"]\n[[relay.rule]]\n\
             input = \"239.1.1.1:1@{input}\"\noutputs = [{{ to = \"239.2.2.2:2@b\" }}]\n"
        );
        config::parse(&text, Path::new("r.toml")).unwrap()
    }

    fn policy() -> Policy {
        Policy::of(&settings("c", "a"))
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
    fn rules_are_replaced_and_open_interfaces_are_not() {
        let mut policy = policy();
        policy.take_rules(&settings("e", "d"));
        assert_eq!(policy, Policy::of(&settings("c", "d")));
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
