//! `[relay]` and the keys of its rules and their outputs.

use std::net::IpAddr;

use toml_edit::{Table, Value as TomlValue};

use crate::relay::validate::{RuleDraft, RulePart, RuleProblem, check_rules};
use crate::relay::{
    Dscp, Input, OUTPUTS_MAX, Offload, Output, RelaySettings, Rule, SOURCES_MAX, Ttl,
};
use crate::server::config::kinds::{
    Boolean, Choice, List, Number, NumberOrWord, OptionalText, OrWord,
};
use crate::server::config::limits;
use crate::server::config::reader::{Reader, Tables};
use crate::server::config::rule_values::{KEEP, parse_endpoint, parse_source};
use crate::server::config::table::Reload::{Live, Restart};
use crate::server::config::table::{Key, Section, Value};
use crate::values::endpoint::Endpoint;
use crate::values::limit::{self, Bytes, Limit, RingEntries};

pub(crate) static RELAY: Section<RelaySettings> = Section {
    name: "relay",
    title: "[relay]",
    doc: "The multicast relay: takes UDP datagrams off an interface, past routing, and sends them \
          on as new datagrams. It runs if this section or a rule is there; tracker and relay share \
          the workers.",
    notes: &[],
    keys: &[
        Key {
            name: "relay.offload",
            doc: "Whether datagrams stay together. \"auto\" sends consecutive datagrams of a flow \
                  in one go and keeps super-packets whole, which is many times faster; \"off\" is \
                  one receive and one send for each datagram. What arrives is the same.",
            example: "\"off\"",
            reload: Restart,
            value: &Choice::<RelaySettings, _> {
                choices: &Offload::NAMES,
                get: |relay| relay.offload,
                set: |relay, offload| relay.offload = offload,
            },
        },
        Key {
            name: "relay.receive_buffer",
            doc: "The kernel's receive buffer of each worker on each input interface. It holds \
                  what a burst brings until the worker takes it; what does not fit is lost and \
                  counted. With CAP_NET_ADMIN it is granted whatever net.core.rmem_max says.",
            example: "\"128MiB\"",
            reload: Restart,
            value: &Number::<RelaySettings, _> {
                unit: "",
                limit: &limits::SOCKET_BUFFER,
                get: |relay| Bytes(relay.receive_buffer_bytes),
                set: |relay, Bytes(bytes)| relay.receive_buffer_bytes = bytes,
            },
        },
        Key {
            name: "relay.send_buffer",
            doc: "The kernel's send buffer of each output in each worker. What does not fit is \
                  dropped and counted as \"socket_full\". The kernel may grant less: see \
                  net.core.wmem_max.",
            example: "\"8MiB\"",
            reload: Restart,
            value: &Number::<RelaySettings, _> {
                unit: "",
                limit: &limits::SOCKET_BUFFER,
                get: |relay| Bytes(relay.send_buffer_bytes),
                set: |relay, Bytes(bytes)| relay.send_buffer_bytes = bytes,
            },
        },
        Key {
            name: "relay.frame_buffers",
            doc: "How many frames each worker can hold at a time: those just received and those \
                  still being sent. 0 sizes them from the largest fan-out, also when a reload \
                  makes it wider. Too few show as drops for \"no_buffer\", too many cost memory \
                  only. A quarter of them may hold fragments of IPv6 datagrams: one of 9,000 bytes \
                  over an MTU of 1,500 needs seven.",
            example: "4096",
            reload: Restart,
            value: &Number::<RelaySettings, _> {
                unit: "buffers of 64 KiB per worker (0 or a power of two from 16)",
                limit: &Limit {
                    min: RingEntries(0),
                    max: RingEntries(32_768),
                    because: "the kernel's ring of buffers holds 32768 entries",
                },
                get: |relay| RingEntries(relay.frame_buffers.unwrap_or(0)),
                set: |relay, RingEntries(count)| relay.frame_buffers = (count > 0).then_some(count),
            },
        },
        Key {
            name: "relay.latency",
            doc: "Whether the time that datagrams spend in this host is measured for each output: \
                  from the kernel's receipt of a frame to the end of its send, the wait in the \
                  receive buffer included. It costs a time stamp for each frame and one more \
                  system call for each iteration of a worker's loop.",
            example: "true",
            reload: Restart,
            value: &Boolean::<RelaySettings> {
                get: |relay| relay.latency,
                set: |relay, on| relay.latency = on,
            },
        },
    ],
};

/// A rule as far as it could be read.
#[derive(Default)]
pub(crate) struct RuleKeys {
    name: Option<String>,
    endpoint: Option<Endpoint>,
    sources: Vec<IpAddr>,
    outputs: Vec<Option<Output>>,
}

pub(crate) static RULE: Section<RuleKeys> = Section {
    name: "relay.rule",
    title: "[[relay.rule]]",
    doc: "A rule: everything that arrives at the input leaves by every output. Repeat the header \
          for each rule, up to 1024. A reload reads the rules again, and those that stay lose \
          nothing. An output may not be the input of a rule: datagrams would go in circles. \
          Nothing can detect circles that lead through other machines; against those only a small \
          ttl helps. Each output, each interface that rules take from and each address in \
          `tracker.listen` is a socket in every worker: up to 960, all rules together.",
    notes: &[],
    keys: &[
        Key {
            name: "relay.rule.name",
            doc: "What logs and figures call the rule. No two rules have the same name.",
            example: "\"feed-a\"",
            reload: Live,
            value: &OptionalText::<RuleKeys, _> {
                unit: "1 to 64 letters, digits, \"-\", \"_\" or \".\"",
                absent: "rule-1, rule-2 and so on, by position",
                parse: |name| Ok(name.to_owned()),
                get: |rule| rule.name.clone(),
                set: |rule, name| rule.name = name,
            },
        },
        Key {
            name: "relay.rule.input",
            doc: "What to take: a group or a host, a port and an interface; IPv6 in brackets, as \
                  in \"[ff15::1]:5001@veth0\". The interface need not exist yet. Two rules with \
                  the same input need source lists that do not overlap.",
            example: "\"239.1.1.1:5001@veth0\"",
            reload: Live,
            value: &OptionalText::<RuleKeys, _> {
                unit: "an address, a port and an interface",
                absent: "none; every rule needs one",
                parse: parse_endpoint,
                get: |rule| rule.endpoint.clone(),
                set: |rule, endpoint| rule.endpoint = endpoint,
            },
        },
        Key {
            name: "relay.rule.source",
            doc: "Take, and join for, only what these addresses send (source-specific multicast).",
            example: "[\"10.0.0.1\"]",
            reload: Live,
            value: &List::<RuleKeys, _> {
                unit: "addresses",
                allowed: || format!("up to {SOURCES_MAX} of them"),
                because: "",
                absent: "none listed, which takes what any address sends",
                parse: parse_source,
                check: |_| Ok(()),
                get: |rule| rule.sources.clone(),
                set: |rule, sources| rule.sources = sources,
            },
        },
        Key {
            name: "relay.rule.outputs",
            doc: "Where to send; IPv4 and IPv6 can be mixed. Without any, the rule only counts.",
            example: "[\n    { to = \"239.2.2.2:5002@veth1\", ttl = 8, dscp = 34, source = \
                      \"10.0.1.1\" },\n    { to = \"[ff15::2]:5002@veth1\", ttl = \"keep\", dscp = \
                      \"keep\" },\n]",
            reload: Live,
            value: &Outputs,
        },
    ],
};

/// An output as far as it could be read.
#[derive(Default)]
pub(crate) struct OutputKeys {
    to: Option<Endpoint>,
    ttl: Ttl,
    dscp: Dscp,
    source: Option<IpAddr>,
}

pub(crate) static OUTPUT: Section<OutputKeys> = Section {
    name: "relay.rule.outputs",
    title: "an output of [[relay.rule]]",
    doc: "Each output is a table with these keys.",
    notes: &[],
    keys: &[
        Key {
            name: "relay.rule.outputs.to",
            doc: "The new destination and the interface to leave by, written like the input.",
            example: "\"239.2.2.2:5002@veth1\"",
            reload: Live,
            value: &OptionalText::<OutputKeys, _> {
                unit: "an address, a port and an interface",
                absent: "none; every output needs one",
                parse: parse_endpoint,
                get: |output| output.to.clone(),
                set: |output, to| output.to = to,
            },
        },
        Key {
            name: "relay.rule.outputs.ttl",
            doc: "The TTL or hop limit, or \"keep\" for that of the datagram as it came.",
            example: "8",
            reload: Live,
            value: &NumberOrWord::<OutputKeys, _> {
                unit: "hops",
                limit: &limit::TTL,
                word: KEEP,
                absent: "1 to a group, the system's to a host",
                get: |output| match output.ttl {
                    Ttl::Usual => OrWord::Absent,
                    Ttl::Keep => OrWord::Word,
                    Ttl::Set(ttl) => OrWord::Value(ttl),
                },
                set: |output, ttl| {
                    output.ttl = match ttl {
                        OrWord::Absent => Ttl::Usual,
                        OrWord::Word => Ttl::Keep,
                        OrWord::Value(ttl) => Ttl::Set(ttl),
                    };
                },
            },
        },
        Key {
            name: "relay.rule.outputs.dscp",
            doc: "The code point, or \"keep\" for that of the datagram as it came.",
            example: "34",
            reload: Live,
            value: &NumberOrWord::<OutputKeys, _> {
                unit: "",
                limit: &limit::DSCP,
                word: KEEP,
                absent: "0",
                get: |output| match output.dscp {
                    Dscp::Usual => OrWord::Absent,
                    Dscp::Keep => OrWord::Word,
                    Dscp::Set(dscp) => OrWord::Value(dscp),
                },
                set: |output, dscp| {
                    output.dscp = match dscp {
                        OrWord::Absent => Dscp::Usual,
                        OrWord::Word => Dscp::Keep,
                        OrWord::Value(dscp) => Dscp::Set(dscp),
                    };
                },
            },
        },
        Key {
            name: "relay.rule.outputs.source",
            doc: "The address to send from.",
            example: "\"10.0.1.1\"",
            reload: Live,
            value: &OptionalText::<OutputKeys, _> {
                unit: "an address",
                absent: "the system's choice",
                parse: parse_source,
                get: |output| output.source,
                set: |output, source| output.source = source,
            },
        },
    ],
};

/// The list of a rule's outputs, each a table of the keys in [`OUTPUT`].
struct Outputs;

impl Value<RuleKeys> for Outputs {
    fn read(&self, _: &'static str, file: &mut Reader<'_>, target: &mut RuleKeys) {
        target.outputs = file.each(OUTPUTS, read_output);
    }

    fn write(&self, source: &RuleKeys) -> Option<TomlValue> {
        let outputs = source.outputs.iter().flatten();
        let tables = outputs.map(|output| OUTPUT.inline_table(&OutputKeys::from(output)));
        Some(TomlValue::Array(tables.collect()))
    }

    fn copy(&self, from: &RuleKeys, to: &mut RuleKeys) {
        to.outputs.clone_from(&from.outputs);
    }

    fn unit(&self) -> String {
        format!("a list of tables, up to {OUTPUTS_MAX} of them")
    }
}

impl From<&Rule> for RuleKeys {
    fn from(rule: &Rule) -> Self {
        Self {
            name: Some(rule.name.clone()),
            endpoint: Some(rule.input.endpoint.clone()),
            sources: rule.input.sources.clone(),
            outputs: rule.outputs.iter().cloned().map(Some).collect(),
        }
    }
}

impl From<&Output> for OutputKeys {
    fn from(output: &Output) -> Self {
        Self {
            to: Some(output.endpoint.clone()),
            ttl: output.ttl,
            dscp: output.dscp,
            source: output.source,
        }
    }
}

/// A rule as a table below `[[relay.rule]]`.
pub(crate) fn rule_table(rule: &Rule) -> Table {
    RULE.table(&RuleKeys::from(rule))
}

/// Reads the rules and checks them together. Returns what is allowed but probably not meant.
pub(super) fn check(file: &mut Reader<'_>, relay: &mut RelaySettings) -> Vec<String> {
    if !file.has(RELAY.name) {
        return Vec::new();
    }
    let checked = check_rules(file.each(RULES, read_rule));
    for problem in checked.problems {
        note(file, problem);
    }
    relay.rules = checked.rules;
    checked.warnings
}

fn read_rule(file: &mut Reader<'_>, index: usize) -> RuleDraft {
    let mut rule = RuleKeys::default();
    for key in RULE.keys {
        key.value.read(key.name, file, &mut rule);
        if key.name == NAME {
            file.label(format!("rule \"{}\"", RuleDraft::name_at(index, rule.name.as_deref())));
        }
    }
    if !file.has(INPUT) {
        file.problem(INPUT, NO_ENDPOINT);
    }
    let RuleKeys { name, endpoint, sources, outputs } = rule;
    // With half of it unread, an input would be compared for what it is not.
    let endpoint = endpoint.filter(|_| !file.is_wrong(SOURCE));
    RuleDraft { name, input: endpoint.map(|endpoint| Input { endpoint, sources }), outputs }
}

fn read_output(file: &mut Reader<'_>, _: usize) -> Option<Output> {
    let mut output = OutputKeys::default();
    OUTPUT.read(file, &mut output);
    if !file.has(OUTPUT_TO) {
        file.problem(OUTPUT_TO, NO_ENDPOINT);
    }
    let OutputKeys { to, ttl, dscp, source } = output;
    let endpoint = to.filter(|_| !file.is_wrong(OUTPUT_SOURCE))?;
    Some(Output { endpoint, ttl, dscp, source })
}

fn note(file: &mut Reader<'_>, problem: RuleProblem) {
    let rule = problem.rule;
    let mut at = |key, indices: &[usize]| file.problem_at(key, indices, problem.message.clone());
    match problem.part {
        RulePart::Rule => at(RULE.name, &[rule]),
        RulePart::Name => at(NAME, &[rule]),
        RulePart::Input => at(INPUT, &[rule]),
        RulePart::Sources => at(SOURCE, &[rule]),
        RulePart::Source(index) => at(SOURCE, &[rule, index]),
        RulePart::Outputs => at(OUTPUT.name, &[rule]),
        RulePart::Output(index) => at(OUTPUT_TO, &[rule, index]),
        RulePart::OutputSource(index) => at(OUTPUT_SOURCE, &[rule, index]),
    }
}

const RULES: Tables =
    Tables { key: "relay.rule", noun: "rule", written: "[[relay.rule]] above the keys of each" };

const OUTPUTS: Tables = Tables {
    key: "relay.rule.outputs",
    noun: "output",
    written: "[{ to = \"239.2.2.2:5002@veth1\" }]",
};

const NAME: &str = "relay.rule.name";
const INPUT: &str = "relay.rule.input";
const SOURCE: &str = "relay.rule.source";
const OUTPUT_TO: &str = "relay.rule.outputs.to";
const OUTPUT_SOURCE: &str = "relay.rule.outputs.source";

const NO_ENDPOINT: &str = "is missing; name a group or a host, its port and the interface, as in \
                           \"239.1.1.1:5001@veth0\"";

#[cfg(test)]
mod tests;
