//! Relay rules as JSON, with the names and values of the configuration file.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::rule_values::{parse_dscp, parse_endpoint, parse_source, parse_ttl};
use crate::error::Remedy;
use crate::relay::validate::{RuleDraft, check_rules};
use crate::relay::{Dscp, Input, Output, RULES_MAX, Rule, Ttl};

/// A rule as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Its name; without one, the first of `rule-1`, `rule-2` and so on that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it takes: `239.1.1.1:5001@veth0`.
    pub input: String,
    /// Whose datagrams it takes; none listed takes all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// Where it sends.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
}

/// An output as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// The destination and the interface to leave by: `239.2.2.2:5002@veth1`.
    pub to: String,
    /// TTL or hop limit, or "keep".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<NumberOrWord>,
    /// Code point, or "keep".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<NumberOrWord>,
    /// The address to send from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A number, or a word in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NumberOrWord {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

/// Changes of the list of rules, all of which are made or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleChanges {
    /// Names of rules that go.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Rules that take the place of those of the same name.
    #[serde(default)]
    pub replace: Vec<RuleSpec>,
    /// Rules that are new, at the end.
    #[serde(default)]
    pub add: Vec<RuleSpec>,
}

/// Why rules, or changes of them, are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleSpecError {
    /// More than there may be.
    #[error("allowed are up to {RULES_MAX} rules, not {0}")]
    TooMany(usize),
    /// No rule has the name of the one to remove or to replace.
    #[error("there is no rule \"{0}\"")]
    NoSuchRule(String),
    /// A rule to add has the name of one that exists.
    #[error("there is a rule \"{0}\" already")]
    NameTaken(String),
    /// A rule that replaces another has no name.
    #[error("a rule that replaces another needs its name")]
    NameMissing,
    /// What is wrong with the rules, one sentence each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl Remedy for RuleSpecError {
    fn remedy(&self) -> Option<String> {
        let advice = match self {
            Self::TooMany(_) | Self::Invalid(_) => "nothing was changed; correct all of it",
            Self::NoSuchRule(_) | Self::NameTaken(_) | Self::NameMissing => {
                "`ringtide ctl rules list` shows those there are"
            }
        };
        Some(advice.to_owned())
    }
}

impl RuleChanges {
    /// The list after the changes, unchecked as a whole.
    ///
    /// # Errors
    /// More changes, or more rules after them, than there may be rules; names that are not there,
    /// or that are there already.
    pub fn apply(self, rules: &[Rule]) -> Result<Vec<RuleSpec>, RuleSpecError> {
        for part in [self.remove.len(), self.replace.len(), self.add.len()] {
            check_count(part)?;
        }
        let mut list: Vec<RuleSpec> = rules.iter().map(RuleSpec::from).collect();
        let place = |list: &[RuleSpec], name: &str| {
            let found = list.iter().position(|rule| rule.name.as_deref() == Some(name));
            found.ok_or_else(|| RuleSpecError::NoSuchRule(name.to_owned()))
        };
        for name in &self.remove {
            list.remove(place(&list, name)?);
        }
        for rule in self.replace {
            let Some(name) = rule.name.clone() else {
                return Err(RuleSpecError::NameMissing);
            };
            let at = place(&list, &name)?;
            list[at] = rule;
        }
        check_count(list.len() + self.add.len())?;
        let mut taken: HashSet<String> = list.iter().filter_map(|rule| rule.name.clone()).collect();
        // No name becomes free again here: those that were passed by need no second look.
        let mut numbered = (1..).map(|number| format!("rule-{number}"));
        for rule in self.add {
            let name = match &rule.name {
                Some(name) if taken.contains(name) => {
                    return Err(RuleSpecError::NameTaken(name.clone()));
                }
                Some(name) => Some(name.clone()),
                None => numbered.find(|name| !taken.contains(name)),
            };
            taken.extend(name.clone());
            list.push(RuleSpec { name, ..rule });
        }
        Ok(list)
    }
}

/// Looked at before anything else: what comes in could be many times as long, and be compared with
/// itself.
fn check_count(rules: usize) -> Result<(), RuleSpecError> {
    if rules <= RULES_MAX {
        return Ok(());
    }
    Err(RuleSpecError::TooMany(rules))
}

/// Reads and checks all rules together. Returns them, and what is allowed but probably not meant.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_rules(specs: &[RuleSpec]) -> Result<(Vec<Rule>, Vec<String>), RuleSpecError> {
    check_count(specs.len())?;
    let mut drafts = Vec::with_capacity(specs.len());
    let mut problems = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        match spec.draft(index) {
            Ok(draft) => drafts.push(draft),
            Err(wrong) => problems.extend(wrong),
        }
    }
    if problems.is_empty() {
        let checked = check_rules(drafts);
        problems.extend(checked.problems.into_iter().map(|problem| problem.message));
        if problems.is_empty() {
            return Ok((checked.rules, checked.warnings));
        }
    }
    Err(RuleSpecError::Invalid(problems))
}

impl RuleSpec {
    /// Reads the values.
    ///
    /// # Errors
    /// What is wrong, one sentence for each value.
    pub fn draft(&self, index: usize) -> Result<RuleDraft, Vec<String>> {
        let rule = RuleDraft::name_at(index, self.name.as_deref());
        let mut problems = Vec::new();
        let mut note = |place: &str, value: &str, message: String| {
            problems.push(format!("rule \"{rule}\"{place} = {value:?}: {message}"));
        };
        let mut sources = Vec::new();
        for source in &self.source {
            match parse_source(source) {
                Ok(ip) => sources.push(ip),
                Err(message) => note(": source", source, message),
            }
        }
        let endpoint = parse_endpoint(&self.input)
            .map_err(|message| note(": input", &self.input, message))
            .ok();
        let mut outputs = Vec::new();
        for (number, output) in self.outputs.iter().enumerate() {
            let mut note = |key: &str, value: &str, message| {
                note(&format!(", output {}: {key}", number + 1), value, message);
            };
            outputs.push(output.read(&mut note));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let input = endpoint.map(|endpoint| Input { endpoint, sources });
        Ok(RuleDraft { name: self.name.clone(), input, outputs })
    }
}

impl OutputSpec {
    fn read(&self, note: &mut impl FnMut(&str, &str, String)) -> Option<Output> {
        let text = |value: &NumberOrWord| match value {
            NumberOrWord::Number(number) => number.to_string(),
            NumberOrWord::Word(word) => word.clone(),
        };
        let (ttl, dscp) = (self.ttl.as_ref().map(text), self.dscp.as_ref().map(text));
        let (ttl, dscp) = (ttl.as_deref(), dscp.as_deref());
        let mut read = Read(note);
        let endpoint = read.value("to", Some(&self.to), parse_endpoint);
        let ttl = read.value("ttl", ttl, parse_ttl);
        let dscp = read.value("dscp", dscp, parse_dscp);
        let source = read.value("source", self.source.as_deref(), parse_source);
        Some(Output {
            endpoint: endpoint??,
            ttl: ttl?.unwrap_or_default(),
            dscp: dscp?.unwrap_or_default(),
            source: source?,
        })
    }
}

/// Reads values and notes what is wrong with them.
struct Read<'a, N>(&'a mut N);

impl<N: FnMut(&str, &str, String)> Read<'_, N> {
    /// `None` when the value is wrong, `Some(None)` when it is absent.
    fn value<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some(text) = text else { return Some(None) };
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(message) => {
                (self.0)(key, text, message);
                None
            }
        }
    }
}

impl From<&Rule> for RuleSpec {
    fn from(rule: &Rule) -> Self {
        Self {
            name: Some(rule.name.clone()),
            input: rule.input.endpoint.to_string(),
            source: rule.input.sources.iter().map(ToString::to_string).collect(),
            outputs: rule.outputs.iter().map(OutputSpec::from).collect(),
        }
    }
}

impl From<&Output> for OutputSpec {
    fn from(output: &Output) -> Self {
        let keep = || Some(NumberOrWord::Word("keep".to_owned()));
        let number = |number: u8| Some(NumberOrWord::Number(number.into()));
        Self {
            to: output.endpoint.to_string(),
            ttl: match output.ttl {
                Ttl::Usual => None,
                Ttl::Keep => keep(),
                Ttl::Set(ttl) => number(ttl),
            },
            dscp: match output.dscp {
                Dscp::Usual => None,
                Dscp::Keep => keep(),
                Dscp::Set(dscp) => number(dscp),
            },
            source: output.source.map(|source| source.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> RuleSpec {
        serde_json::from_str(json).unwrap()
    }

    const FULL: &str = r#"{"name":"a","input":"239.1.1.1:1@x","source":["10.0.0.1"],"outputs":[
        {"to":"239.2.2.2:2@y","ttl":8,"dscp":"keep","source":"10.0.0.2"},{"to":"10.0.0.9:9@y"}]}"#;

    fn rule(json: &str) -> Rule {
        let checked = crate::relay::validate::check_rules(vec![spec(json).draft(0).unwrap()]);
        assert_eq!(checked.problems, []);
        checked.rules.into_iter().next().unwrap()
    }

    #[test]
    fn a_rule_is_read_and_written_as_in_the_file() {
        let rule = rule(FULL);
        assert_eq!(
            rule.to_string(),
            "a: 239.1.1.1:1@x from 10.0.0.1 to 239.2.2.2:2@y (ttl 8, dscp keep, source 10.0.0.2), \
             10.0.0.9:9@y"
        );
        assert_eq!(RuleSpec::from(&rule), spec(FULL));
    }

    #[test]
    fn everything_wrong_is_told_with_its_place() {
        let wrong = spec(
            r#"{"name":"w","input":"239.1.1.1:1","source":["x"],"outputs":[
            {"to":"239.2.2.2@y","ttl":0,"dscp":"kep","source":"y"}]}"#,
        );
        let problems = wrong.draft(0).unwrap_err();
        let parts = ["source = \"x\"", "input = ", "1: to = ", "1: ttl = \"0\"", "dscp", "1: sour"];
        assert_eq!(problems.len(), parts.len(), "{problems:?}");
        for (problem, part) in problems.iter().zip(parts) {
            assert!(problem.starts_with("rule \"w\"") && problem.contains(part), "{problem}");
        }
        assert!(serde_json::from_str::<RuleSpec>(r#"{"input":"a","outptus":[]}"#).is_err());
    }

    #[test]
    fn changes_are_made_in_order_and_names_must_fit() {
        let rules = [rule(FULL)];
        let names = |changes: RuleChanges| {
            let list = changes.apply(&rules).map_err(|error| error.to_string());
            list.map(|list| list.into_iter().filter_map(|rule| rule.name).collect::<Vec<_>>())
        };
        let new = |name: Option<&str>| RuleSpec {
            name: name.map(str::to_owned),
            ..spec(r#"{"input":"239.1.1.9:9@x"}"#)
        };
        let add = |add: Vec<RuleSpec>| RuleChanges { add, ..RuleChanges::default() };
        assert_eq!(names(add(vec![new(None), new(None)])).unwrap(), ["a", "rule-1", "rule-2"]);
        assert!(names(add(vec![new(Some("a"))])).unwrap_err().contains("already"));
        let remove = |name: &str| vec![name.to_owned()];
        let changes = RuleChanges { remove: remove("a"), ..add(vec![new(Some("a"))]) };
        assert_eq!(names(changes).unwrap(), ["a"]);
        let changes = RuleChanges { remove: remove("b"), ..RuleChanges::default() };
        assert!(names(changes).unwrap_err().contains("no rule \"b\""));
        for (name, problem) in [(None, "needs its name"), (Some("b"), "no rule \"b\"")] {
            let changes = RuleChanges { replace: vec![new(name)], ..RuleChanges::default() };
            assert!(names(changes).unwrap_err().contains(problem));
        }
    }
}
