//! The rules of a relay, in the simulation's own terms.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringtide::io::SocketId;
use ringtide::relay::Offload;
use ringtide::relay::stats::FlowCounters;
use ringtide::relay::table::{InputKey, OutputState, RelayTable, TableOutput, TableRule};

/// Where frames come in; the other sockets send.
pub(crate) const INPUT: SocketId = SocketId(1);

/// The rules of one relay.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(crate) generation: u64,
    pub(crate) offload: Offload,
    pub(crate) fragments_held_max: usize,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) input: SocketAddr,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) active: bool,
    pub(crate) counters: Arc<FlowCounters>,
}

#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) link: usize,
    pub(crate) to: SocketAddr,
    /// `None` while it is down.
    pub(crate) socket: Option<SocketId>,
    pub(crate) segment_max: usize,
    pub(crate) payload_max: usize,
    pub(crate) keep_ttl: bool,
    pub(crate) keep_dscp: bool,
    pub(crate) state: Arc<OutputState>,
}

impl Rules {
    pub(crate) fn active(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.active)
    }

    pub(crate) fn output(&self, tag: u32) -> Option<&Output> {
        self.active().flat_map(|rule| &rule.outputs).find(|output| output.state.tag == tag)
    }

    /// The same as the relay takes it.
    pub(crate) fn table(&self) -> RelayTable {
        let mut table = RelayTable {
            generation: self.generation,
            offload: self.offload,
            fragments_held_max: self.fragments_held_max,
            ..RelayTable::default()
        };
        for rule in self.active() {
            let key = InputKey::new(INPUT, rule.input);
            table.inputs.entry(key).or_default().push(table.rules.len());
            table.rules.push(TableRule {
                sources: rule.sources.clone().into(),
                keeps_ttl: rule.outputs.iter().any(|output| output.keep_ttl),
                keeps_dscp: rule.outputs.iter().any(|output| output.keep_dscp),
                counters: Arc::clone(&rule.counters),
                outputs: rule.outputs.iter().map(Output::in_table).collect(),
            });
        }
        table
    }
}

impl Output {
    fn in_table(&self) -> TableOutput {
        TableOutput {
            socket: self.socket,
            to: Some(self.to),
            ipv6: self.to.is_ipv6(),
            segment_max: self.segment_max,
            payload_max: self.payload_max,
            keep_ttl: self.keep_ttl,
            keep_dscp: self.keep_dscp,
            state: Arc::clone(&self.state),
        }
    }
}
