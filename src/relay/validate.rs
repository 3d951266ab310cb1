//! From rules as they were written to rules that can run together, with everything that is wrong.
//!
//! **Cycles.** Workers do not see what they send themselves: an output that equals an input on the
//! same interface is either a loop through the wire or a chain that never carries anything. Both
//! are refused. That settles cycles of any length: to go from one rule to the next on the same
//! interface, an output has to equal an input, and each such step is refused for itself. What
//! cannot be told from the rules is a way back that lies outside of them: two interfaces on one
//! wire, bridge or veth pair, another process, namespace or machine that relays into an input of
//! ours. Against those, only a small TTL helps, and reading the figures.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use super::rule::{Input, OUTPUTS_MAX, Output, RULES_MAX, Rule, SOURCES_MAX};
use super::stats::RelayDrop;
use crate::values::endpoint::{Endpoint, IPV4_PAYLOAD_BYTES_MAX, IPV6_PAYLOAD_BYTES_MAX};

/// A rule as it was written. What could not be read is `None`, which leaves the rest to be checked;
/// whoever read it has told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleDraft {
    /// The name; absent, it is `rule-` and the rule's position from 1.
    pub name: Option<String>,
    /// What is taken.
    pub input: Option<Input>,
    /// Where it goes.
    pub outputs: Vec<Option<Output>>,
}

impl RuleDraft {
    /// How messages call the rule at this index: by its name if that is valid, else by position.
    pub fn name_at(index: usize, name: Option<&str>) -> String {
        match name {
            Some(name) if is_name(name) => name.to_owned(),
            _ => format!("rule-{}", index + 1),
        }
    }
}

/// One thing wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The index of the rule.
    pub rule: usize,
    /// Where in the rule it is.
    pub part: RulePart,
    /// What is wrong, on one line that names the rule.
    pub message: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A part of a rule, with indices from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RulePart {
    /// The rule itself.
    Rule,
    /// Its name.
    Name,
    /// The endpoint of its input.
    Input,
    /// The list of its sources.
    Sources,
    /// One of its sources.
    Source(usize),
    /// The list of its outputs.
    Outputs,
    /// The endpoint of one of its outputs.
    Output(usize),
    /// The source address of one of its outputs.
    OutputSource(usize),
}

/// What became of the drafts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedRules {
    /// The rules, in order. They are valid only if there is no problem and every draft was whole.
    pub rules: Vec<Rule>,
    /// Everything that is wrong, rule by rule.
    pub problems: Vec<RuleProblem>,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

/// Checks rules, each by itself and all together.
///
/// Whether interfaces exist is not looked at: they come and go while the relay runs.
pub fn check_rules(drafts: Vec<RuleDraft>) -> CheckedRules {
    let mut check = Check::new(&drafts);
    check.names();
    check.inputs();
    check.outputs();
    check.payloads();
    if drafts.is_empty() {
        check.warnings.push("the relay has no rule and forwards nothing".to_owned());
    }
    let Check { names, mut problems, warnings, .. } = check;
    problems.sort_by_key(|problem| problem.rule);
    let rules = drafts
        .into_iter()
        .zip(names)
        .filter_map(|(draft, name)| {
            let outputs = draft.outputs.into_iter().flatten().collect();
            Some(Rule { name, input: draft.input?, outputs })
        })
        .collect();
    CheckedRules { rules, problems, warnings }
}

struct Check<'a> {
    drafts: &'a [RuleDraft],
    /// The name of each rule.
    names: Vec<String>,
    /// The rules that take from an endpoint. Several may, with sources that do not overlap.
    takers: HashMap<&'a Endpoint, Vec<usize>>,
    problems: Vec<RuleProblem>,
    warnings: Vec<String>,
}

impl<'a> Check<'a> {
    fn new(drafts: &'a [RuleDraft]) -> Self {
        let name =
            |(index, draft): (usize, &RuleDraft)| RuleDraft::name_at(index, draft.name.as_deref());
        let names = drafts.iter().enumerate().map(name).collect();
        let mut takers: HashMap<_, Vec<_>> = HashMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            if let Some(input) = &draft.input {
                takers.entry(&input.endpoint).or_default().push(index);
            }
        }
        Self { drafts, names, takers, problems: Vec::new(), warnings: Vec::new() }
    }

    fn names(&mut self) {
        let mut taken: HashMap<String, usize> = HashMap::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            let part = if draft.name.is_some() { RulePart::Name } else { RulePart::Rule };
            if draft.name.as_deref().is_some_and(|name| !is_name(name)) {
                self.problem(index, part, NAME_RULE);
            }
            match taken.entry(self.names[index].clone()) {
                Entry::Vacant(entry) => _ = entry.insert(index),
                Entry::Occupied(entry) => {
                    let first = entry.get() + 1;
                    let message = format!("rule {first} of the list has the same name");
                    self.problem(index, part, &message);
                }
            }
        }
        if self.drafts.len() > RULES_MAX {
            let count = self.drafts.len();
            let message = format!("allowed are up to {RULES_MAX} rules, not {count}");
            self.problem(RULES_MAX, RulePart::Rule, &message);
        }
    }

    fn inputs(&mut self) {
        let mut seen: HashMap<&Endpoint, Taken> = HashMap::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            let Some(input) = &draft.input else { continue };
            if let Err(reason) = check_destination(&input.endpoint) {
                self.problem(index, RulePart::Input, reason);
            }
            self.sources(index, input);
            match seen.entry(&input.endpoint).or_default().add(index, &input.sources) {
                None => {}
                Some((first, None)) => {
                    let message = format!(
                        "rule \"{}\" has the same input {}; give that rule more outputs instead",
                        self.names[first], input.endpoint
                    );
                    self.problem(index, RulePart::Input, &message);
                }
                Some((first, Some(position))) => {
                    let message = format!(
                        "rule \"{}\" takes from {} at the same input {}",
                        self.names[first], input.sources[position], input.endpoint
                    );
                    self.problem(index, RulePart::Source(position), &message);
                }
            }
        }
    }

    fn sources(&mut self, index: usize, input: &Input) {
        let mut seen = HashSet::new();
        for (position, source) in input.sources.iter().enumerate() {
            let part = RulePart::Source(position);
            if let Err(reason) = check_source(*source, &input.endpoint) {
                self.problem(index, part, &format!("source {source}: {reason}"));
            }
            if !seen.insert(source) {
                self.problem(index, part, &format!("source {source} is listed twice"));
            }
        }
        if input.sources.len() > SOURCES_MAX {
            let count = input.sources.len();
            let message = format!("allowed are up to {SOURCES_MAX} sources, not {count}");
            self.problem(index, RulePart::Sources, &message);
        }
    }

    fn outputs(&mut self) {
        for (index, draft) in self.drafts.iter().enumerate() {
            let count = draft.outputs.len();
            if count > OUTPUTS_MAX {
                let message = format!("allowed are up to {OUTPUTS_MAX} outputs, not {count}");
                self.problem(index, RulePart::Outputs, &message);
            }
            let mut seen = HashMap::new();
            for (position, output) in draft.outputs.iter().enumerate() {
                let Some(output) = output else { continue };
                if let Err(reason) = check_destination(&output.endpoint) {
                    self.output_problem(index, position, reason);
                }
                if let Some(Err(reason)) =
                    output.source.map(|source| check_source(source, &output.endpoint))
                {
                    let part = RulePart::OutputSource(position);
                    self.problem(index, part, &format!("source: {reason}"));
                }
                let first = *seen.entry(&output.endpoint).or_insert(position);
                if first != position {
                    let message =
                        format!("{} is the same as output {}", output.endpoint, first + 1);
                    self.output_problem(index, position, &message);
                }
                self.cycle(index, position, output);
            }
        }
    }

    /// See the head of this module for what is found here and what cannot be.
    fn cycle(&mut self, index: usize, position: usize, output: &Output) {
        let takers = self.takers.get(&output.endpoint).map_or(&[][..], Vec::as_slice);
        let Some(fed) = takers.iter().find(|taker| self.feeds(output, **taker)) else { return };
        let message = if *fed == index {
            format!("{} is the input of this rule: datagrams would go in circles", output.endpoint)
        } else {
            format!(
                "{} is the input of rule \"{}\" in this process: datagrams would go in circles, \
                 or nowhere; send to that rule's outputs instead",
                output.endpoint, self.names[*fed]
            )
        };
        self.output_problem(index, position, &message);
    }

    /// Whether a rule takes what this output sends to its input. Without a set source, routing may
    /// choose any of its list.
    fn feeds(&self, output: &Output, taker: usize) -> bool {
        let Some(input) = &self.drafts[taker].input else { return false };
        input.sources.is_empty()
            || output.source.is_none_or(|source| input.sources.contains(&source))
    }

    /// What IPv6 carries and IPv4 cannot is rare enough to be a warning here and a counted drop
    /// later.
    fn payloads(&mut self) {
        for (draft, name) in self.drafts.iter().zip(&self.names) {
            let Some(input) = &draft.input else { continue };
            let bytes_max = input.endpoint.payload_bytes_max();
            let is_short = |output: &Output| output.endpoint.payload_bytes_max() < bytes_max;
            if draft.outputs.iter().flatten().any(is_short) {
                self.warnings.push(format!(
                    "rule \"{name}\": datagrams of {} to {IPV6_PAYLOAD_BYTES_MAX} bytes over IPv6 \
                     do not fit its IPv4 outputs, which drop them as \"{}\"",
                    IPV4_PAYLOAD_BYTES_MAX + 1,
                    RelayDrop::Oversized.name()
                ));
            }
        }
    }

    fn output_problem(&mut self, rule: usize, position: usize, text: &str) {
        self.problem(rule, RulePart::Output(position), text);
    }

    fn problem(&mut self, rule: usize, part: RulePart, text: &str) {
        let name = &self.names[rule];
        let message = match part {
            RulePart::Output(position) | RulePart::OutputSource(position) => {
                format!("rule \"{name}\", output {}: {text}", position + 1)
            }
            _ => format!("rule \"{name}\": {text}"),
        };
        self.problems.push(RuleProblem { rule, part, message });
    }
}

/// The rules that take from one endpoint, by source.
#[derive(Default)]
struct Taken {
    first: Option<usize>,
    from_any: Option<usize>,
    from: HashMap<IpAddr, usize>,
}

impl Taken {
    /// Adds a rule. Returns one that takes the same, with the position of the source that both
    /// list, if it is that.
    fn add(&mut self, rule: usize, sources: &[IpAddr]) -> Option<(usize, Option<usize>)> {
        let same = match (self.from_any, sources) {
            (Some(other), _) => Some((other, None)),
            (None, []) => self.first.map(|other| (other, None)),
            (None, _) => sources.iter().enumerate().find_map(|(position, source)| {
                self.from.get(source).map(|other| (*other, Some(position)))
            }),
        };
        self.first.get_or_insert(rule);
        if sources.is_empty() {
            self.from_any.get_or_insert(rule);
        }
        for source in sources {
            self.from.entry(*source).or_insert(rule);
        }
        same
    }
}

/// What a rule takes and sends goes to a group or to one host.
fn check_destination(endpoint: &Endpoint) -> Result<(), &'static str> {
    match endpoint.address.ip() {
        ip if ip.is_unspecified() => {
            Err("an unspecified address is no destination: name a group or a host")
        }
        IpAddr::V4(ip) if ip.is_broadcast() => {
            Err("broadcasts are not relayed: name a group or a host")
        }
        _ => Ok(()),
    }
}

/// A source is the address of one host, of the same family as the destination.
fn check_source(source: IpAddr, destination: &Endpoint) -> Result<(), &'static str> {
    match source {
        _ if source.is_unspecified() => Err("an unspecified address is no source"),
        _ if source.is_multicast() => Err("a group is no source: name a host"),
        IpAddr::V4(ip) if ip.is_broadcast() => Err("a broadcast address is no source"),
        IpAddr::V4(_) if destination.address.is_ipv6() => {
            Err("it is IPv4, but the endpoint is IPv6")
        }
        IpAddr::V6(_) if destination.address.is_ipv4() => {
            Err("it is IPv6, but the endpoint is IPv4")
        }
        _ => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// The longest name of a rule.
pub const NAME_BYTES_MAX: usize = 64;

const NAME_RULE: &str = "its name must have 1 to 64 letters (a to z, A to Z), digits, \"-\", \"_\" \
                         or \".\"";

#[cfg(test)]
mod tests;
