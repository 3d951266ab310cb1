//! `ringtide relay`: relay rules from flags alone.

use std::net::IpAddr;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::shared_args::{FlagProblems, ProcessArgs, choice};
use crate::relay::validate::{RuleDraft, RulePart, check_rules};
use crate::relay::{Dscp, Input, Offload, Output, RelaySettings, Ttl};
use crate::server::config::rule_values::{parse_dscp, parse_endpoint, parse_source, parse_ttl};
use crate::server::config::{self, ConfigError, Settings};
use crate::values::endpoint::Endpoint;

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RelayArgs {
    #[command(flatten)]
    flow: InOrder,

    /// TTL or hop limit of all outputs: 1 to 255, or keep [default: 1 to groups, the system's to
    /// hosts]
    #[arg(long, value_name = "N|keep", value_parser = parse_ttl)]
    ttl: Option<Ttl>,

    /// Code point of all outputs: 0 to 63, or keep [default: 0]
    #[arg(long, value_name = "N|keep", value_parser = parse_dscp)]
    dscp: Option<Dscp>,

    /// Whether datagrams stay together: auto, or off for one receive and one send each
    /// [default: auto]
    #[arg(long, value_name = "MODE", value_parser = offload)]
    offload: Option<Offload>,

    #[command(flatten)]
    process: ProcessArgs,
}

/// The flags whose order counts.
#[derive(Args, Debug)]
struct FlowArgs {
    /// Group or host, port and interface to take from: 239.1.1.1:5001@eth0. Each begins a rule
    #[arg(long, value_name = "ENDPOINT", value_parser = parse_endpoint, required = true)]
    input: Vec<Endpoint>,

    /// Take only what this address sends; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_source)]
    source: Vec<IpAddr>,

    /// Group or host, port and interface to send to; may be repeated. None only counts
    #[arg(long, value_name = "ENDPOINT", value_parser = parse_endpoint)]
    output: Vec<Endpoint>,
}

/// [`FlowArgs`] in the order of the command line, which clap keeps as indices.
#[derive(Debug)]
struct InOrder(Vec<Flow>);

#[derive(Clone, Debug)]
enum Flow {
    Input(Endpoint),
    Source(IpAddr),
    Output(Endpoint),
}

impl Args for InOrder {
    fn augment_args(command: Command) -> Command {
        FlowArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        FlowArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for InOrder {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let FlowArgs { input, source, output } = FlowArgs::from_arg_matches(matches)?;
        let places = |flag| matches.indices_of(flag).into_iter().flatten();
        let mut flow: Vec<(usize, Flow)> = places("input")
            .zip(input.into_iter().map(Flow::Input))
            .chain(places("source").zip(source.into_iter().map(Flow::Source)))
            .chain(places("output").zip(output.into_iter().map(Flow::Output)))
            .collect();
        flow.sort_by_key(|(place, _)| *place);
        Ok(Self(flow.into_iter().map(|(_, flow)| flow).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl RelayArgs {
    /// Each value is valid by itself; what they must fulfil together is checked here.
    pub(super) fn into_settings(self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        let mut problems = FlagProblems::new("relay");
        self.process.apply(&mut settings, &mut problems);
        let (ttl, dscp) = (self.ttl.unwrap_or_default(), self.dscp.unwrap_or_default());
        let drafts = drafts(self.flow, ttl, dscp, &mut problems);
        let checked = check_rules(drafts);
        for problem in checked.problems {
            problems.add(flag(problem.part), problem.message);
        }
        if let Err(message) = config::check_sockets(0, &checked.rules) {
            problems.add("--output", message);
        }
        settings.tracker = None;
        settings.relay = Some(RelaySettings {
            rules: checked.rules,
            offload: self.offload.unwrap_or_default(),
            ..RelaySettings::default()
        });
        settings.warnings = config::warnings(&settings);
        settings.warnings.extend(checked.warnings);
        problems.or(settings)
    }
}

/// Sorts flags into rules: each belongs to the input before it. With a single input there is no
/// doubt whatever the order.
fn drafts(flow: InOrder, ttl: Ttl, dscp: Dscp, problems: &mut FlagProblems) -> Vec<RuleDraft> {
    let InOrder(mut flow) = flow;
    let inputs = flow.iter().filter(|item| matches!(item, Flow::Input(_))).count();
    if inputs == 1 {
        flow.sort_by_key(|item| !matches!(item, Flow::Input(_)));
    }
    let mut drafts: Vec<RuleDraft> = Vec::new();
    for item in flow {
        match (item, drafts.last_mut()) {
            (Flow::Input(endpoint), _) => {
                let input = Some(Input { endpoint, sources: Vec::new() });
                drafts.push(RuleDraft { input, ..RuleDraft::default() });
            }
            (Flow::Source(ip), Some(rule)) => {
                rule.input.iter_mut().for_each(|input| input.sources.push(ip));
            }
            (Flow::Output(endpoint), Some(rule)) => {
                rule.outputs.push(Some(Output { endpoint, ttl, dscp, source: None }));
            }
            (Flow::Source(ip), None) => problems.add("--source", too_early(&ip)),
            (Flow::Output(endpoint), None) => problems.add("--output", too_early(&endpoint)),
        }
    }
    drafts
}

fn too_early(value: &impl std::fmt::Display) -> String {
    format!("{value} comes before the --input that it belongs to")
}

fn flag(part: RulePart) -> &'static str {
    match part {
        RulePart::Rule | RulePart::Name | RulePart::Input => "--input",
        RulePart::Sources | RulePart::Source(_) => "--source",
        RulePart::Outputs | RulePart::Output(_) | RulePart::OutputSource(_) => "--output",
    }
}

fn offload(text: &str) -> Result<Offload, String> {
    choice(text, &Offload::NAMES)
}

const AFTER_HELP: &str = "\
Examples:
  ringtide relay --input 239.1.1.1:5001@eth0 --output 239.2.2.2:5002@eth1
  ringtide relay --input 239.1.1.1:5001@eth0 --source 10.0.0.1 \\
                 --output 239.1.1.1:5001@eth1 --output 192.0.2.7:5001@eth2 --ttl 8 --dscp keep
  ringtide relay --input '[ff15::1]:5001@eth0' --output 239.2.2.2:5002@eth1 --offload off
  ringtide relay --input 239.1.1.1:5001@eth0         only counts what arrives

Several rules: --source and --output belong to the --input before them. Names, buffer sizes, and
TTL, DSCP and source address of each output can be set in a file: `ringtide config default`.
Interfaces that do not exist yet may appear later. All outputs and interfaces to take from together
are up to 960.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Relay {
        #[command(flatten)]
        args: RelayArgs,
    }

    /// The rules that flags make.
    fn rules(flags: &str) -> Vec<String> {
        let arguments = std::iter::once("relay").chain(flags.split_whitespace());
        let settings = Relay::try_parse_from(arguments).unwrap().args.into_settings().unwrap();
        assert_eq!(settings.tracker, None);
        settings.relay.unwrap().rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_flag_belongs_to_the_input_before_it() {
        assert_eq!(
            rules(
                "--input 239.1.1.1:1@a --output 10.0.0.1:1@x --source 10.0.0.9 \
                 --input=[ff15::1]:2@a --ttl keep --output 10.0.0.2:1@x --output=10.0.0.3:1@x \
                 --dscp 46 --input 239.1.1.3:3@a"
            ),
            [
                "rule-1: 239.1.1.1:1@a from 10.0.0.9 to 10.0.0.1:1@x (ttl keep, dscp 46)",
                "rule-2: [ff15::1]:2@a to 10.0.0.2:1@x (ttl keep, dscp 46), 10.0.0.3:1@x (ttl \
                 keep, dscp 46)",
                "rule-3: 239.1.1.3:3@a is only counted",
            ]
        );
    }

    #[test]
    fn with_one_input_the_order_does_not_matter() {
        let expected = ["rule-1: 239.1.1.1:1@a from 10.0.0.9 to 10.0.0.1:1@x, 10.0.0.2:1@x"];
        for flags in [
            "--output 10.0.0.1:1@x --source 10.0.0.9 --output 10.0.0.2:1@x --input 239.1.1.1:1@a",
            "--output 10.0.0.1:1@x --input 239.1.1.1:1@a --output 10.0.0.2:1@x --source 10.0.0.9",
        ] {
            assert_eq!(rules(flags), expected);
        }
    }
}
