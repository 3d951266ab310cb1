//! The relay's part of the file, and what the command line shares with it.

use std::net::IpAddr;

use super::Settings;
use super::checks::check_sockets;
use super::file::set;
use super::limits;
use super::reader::{Reader, Tables};
use crate::relay::validate::{RuleDraft, RulePart, RuleProblem, check_rules};
use crate::relay::{Dscp, Input, Offload, Output, RelaySettings, Ttl};
use crate::values::endpoint::Endpoint;
use crate::values::limit::{self, Bytes, Limit, RingEntries};

const RULES: Tables = Tables {
    key: "relay.rule",
    noun: "rule",
    title: "[[relay.rule]]",
    written: "[[relay.rule]] above the keys of each",
};

const OUTPUTS: Tables = Tables {
    key: "relay.rule.outputs",
    noun: "output",
    title: "an output of [[relay.rule]]",
    written: "[{ to = \"239.2.2.2:5002@veth1\" }]",
};

/// What takes a datagram's own value in place of a number.
const KEEP: &str = "keep";

/// Reads the section and checks its rules. Returns its warnings, too.
pub(super) fn read_relay(file: &mut Reader<'_>) -> (RelaySettings, Vec<String>) {
    let mut relay = RelaySettings::default();
    file.section("relay");
    set(&mut relay.offload, file.choice("relay.offload", &Offload::NAMES));
    let bytes = file.quantity("relay.receive_buffer", &limits::SOCKET_BUFFER);
    set(&mut relay.receive_buffer_bytes, bytes.map(|Bytes(bytes)| bytes));
    let bytes = file.quantity("relay.send_buffer", &limits::SOCKET_BUFFER);
    set(&mut relay.send_buffer_bytes, bytes.map(|Bytes(bytes)| bytes));
    if let Some(RingEntries(count)) = file.quantity("relay.frame_buffers", &limits::FRAME_BUFFERS) {
        relay.frame_buffers = (count > 0).then_some(count);
    }
    set(&mut relay.latency, file.boolean("relay.latency"));
    let checked = check_rules(file.each(RULES, read_rule));
    for problem in checked.problems {
        note(file, problem);
    }
    relay.rules = checked.rules;
    (relay, checked.warnings)
}

/// Checks that the rules have room in a loop, beside what else has its sockets there.
pub(super) fn check_room(file: &mut Reader<'_>, settings: &Settings) {
    let Some(relay) = &settings.relay else { return };
    let listen = settings.tracker.as_ref().map_or(0, |tracker| tracker.listen.len());
    if let Err(message) = check_sockets(listen, &relay.rules) {
        file.problem("relay.rule", &message);
    }
}

fn read_rule(file: &mut Reader<'_>, index: usize) -> RuleDraft {
    let name = file.string("relay.rule.name", |name| Ok::<_, String>(name.to_owned()));
    file.label(format!("rule \"{}\"", RuleDraft::name_at(index, name.as_deref())));
    let endpoint = file.string("relay.rule.input", parse_endpoint);
    if !file.has("relay.rule.input") {
        file.problem("relay.rule.input", NO_ENDPOINT);
    }
    let sources = match file.strings("relay.rule.source", parse_source) {
        None if file.has("relay.rule.source") => None,
        sources => Some(sources.unwrap_or_default()),
    };
    // With half of it unread, an input would be compared for what it is not.
    let input = endpoint.zip(sources).map(|(endpoint, sources)| Input { endpoint, sources });
    RuleDraft { name, input, outputs: file.each(OUTPUTS, read_output) }
}

fn read_output(file: &mut Reader<'_>, _: usize) -> Option<Output> {
    let endpoint = file.string("relay.rule.outputs.to", parse_endpoint);
    if !file.has("relay.rule.outputs.to") {
        file.problem("relay.rule.outputs.to", NO_ENDPOINT);
    }
    let ttl = file.quantity_or_word("relay.rule.outputs.ttl", &limit::TTL, KEEP);
    let dscp = file.quantity_or_word("relay.rule.outputs.dscp", &limit::DSCP, KEEP);
    let source = file.string("relay.rule.outputs.source", parse_source);
    let unread = source.is_none() && file.has("relay.rule.outputs.source");
    endpoint.filter(|_| !unread).map(|endpoint| Output {
        endpoint,
        ttl: ttl.map_or(Ttl::Usual, ttl_from),
        dscp: dscp.map_or(Dscp::Usual, dscp_from),
        source,
    })
}

fn note(file: &mut Reader<'_>, problem: RuleProblem) {
    let rule = problem.rule;
    let mut at = |key, indices: &[usize]| file.problem_at(key, indices, problem.message.clone());
    match problem.part {
        RulePart::Rule => at("relay.rule", &[rule]),
        RulePart::Name => at("relay.rule.name", &[rule]),
        RulePart::Input => at("relay.rule.input", &[rule]),
        RulePart::Sources => at("relay.rule.source", &[rule]),
        RulePart::Source(index) => at("relay.rule.source", &[rule, index]),
        RulePart::Outputs => at("relay.rule.outputs", &[rule]),
        RulePart::Output(index) => at("relay.rule.outputs.to", &[rule, index]),
        RulePart::OutputSource(index) => at("relay.rule.outputs.source", &[rule, index]),
    }
}

/// Reads `239.1.1.1:5001@veth0`.
pub(crate) fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse::<Endpoint>().map_err(|error| error.to_string())
}

/// Reads the address of a sender, which has neither port nor interface.
pub(crate) fn parse_source(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ipv4) => Err(format!("write the IPv4 address itself: {ipv4}")),
            None => Ok(IpAddr::V6(ip)),
        },
        Ok(ipv4) => Ok(ipv4),
        Err(_) => Err(NO_SOURCE.to_owned()),
    }
}

/// Reads 1 to 255, or "keep".
pub(crate) fn parse_ttl(text: &str) -> Result<Ttl, String> {
    number_or_keep(text, &limit::TTL).map(ttl_from)
}

/// Reads 0 to 63, or "keep".
pub(crate) fn parse_dscp(text: &str) -> Result<Dscp, String> {
    number_or_keep(text, &limit::DSCP).map(dscp_from)
}

fn number_or_keep(text: &str, limit: &Limit<u8>) -> Result<Option<u8>, String> {
    match text {
        KEEP => Ok(None),
        _ => limit
            .parse(text)
            .map(Some)
            .map_err(|message| format!("{message}; \"{KEEP}\" is allowed, too")),
    }
}

fn ttl_from(number: Option<u8>) -> Ttl {
    number.map_or(Ttl::Keep, Ttl::Set)
}

fn dscp_from(number: Option<u8>) -> Dscp {
    number.map_or(Dscp::Keep, Dscp::Set)
}

const NO_ENDPOINT: &str = "is missing; name a group or a host, its port and the interface, as in \
                           \"239.1.1.1:5001@veth0\"";

const NO_SOURCE: &str = "must be an IP address without port and interface, such as \"10.0.0.1\" or \
                         \"fe80::1\"";

#[cfg(test)]
mod tests;
