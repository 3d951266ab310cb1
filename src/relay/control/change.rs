//! Other rules: everything that they need is opened first, and only then they are in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use super::inputs::Ready;
use super::outputs::OutputEntry;
use super::{OpenContext, Publish, RelayControl, RelayError, RuleEntry};
use crate::error::one_line;
use crate::relay::{Input, Output, Rule};

/// What changed rules need and is not there, open as far as it can be.
struct Prepared {
    inputs: BTreeMap<String, Ready>,
    outputs: Vec<NewOutput>,
}

/// An output that no rule had so far.
pub(super) struct NewOutput {
    /// The input of its rule.
    input: Input,
    entry: OutputEntry,
}

impl RelayControl {
    /// Puts other rules in force, all of them or none. Rules that stay the same, and outputs that
    /// do, go on without a lost packet and keep their figures. Returns what is new and waits for
    /// its interface, an address or a route.
    ///
    /// All sockets are opened before any is given up. Where a worker's loop has no room for both,
    /// some outputs are down for the moment between the two.
    ///
    /// # Errors
    /// When something that is new cannot be opened, for a reason that does not lie with its
    /// interface, or interfaces cannot be followed. Everything is as it was then.
    pub fn apply(&mut self, rules: Vec<Rule>) -> Result<Vec<String>, RelayError> {
        // An interface that has just come is to be found. What cannot be opened anew on the
        // occasion is tried again, and told, later.
        let events = self.watch.drain().map_err(RelayError::Watch)?;
        self.inputs.note(&events);
        let prepared = self.prepare(&rules);
        let Prepared { inputs, outputs } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = self.refresh(Publish::Changes);
                return Err(error);
            }
        };
        let newest = self.next_tag - outputs.len() as u32;
        let inputs_before: Vec<Input> = self.rules().map(|rule| rule.input.clone()).collect();
        self.inputs.take(inputs);
        self.take_rules(rules, outputs);
        let refreshed = self.refresh(Publish::Always);
        let mut warnings = self.why_down(newest, |input| !inputs_before.contains(input));
        if let Err(error) = refreshed {
            // Of what was there before.
            warnings.push(one_line(&error));
        }
        Ok(warnings)
    }

    /// Opens on the side what these rules need.
    fn prepare(&mut self, rules: &[Rule]) -> Result<Prepared, RelayError> {
        let present = |input: &Input| self.rules.iter().find(|entry| entry.rule.input == *input);
        let mut missing: Vec<(Input, Output)> = Vec::new();
        for rule in rules {
            let present = present(&rule.input).map_or(&[][..], |entry| &entry.outputs);
            let is_missing =
                |output: &&Output| present.iter().all(|entry| entry.output != **output);
            let outputs = rule.outputs.iter().filter(is_missing);
            missing.extend(outputs.map(|output| (rule.input.clone(), output.clone())));
        }
        let is_new = |input: &Input| present(input).is_none();
        let mut context = OpenContext {
            watch: &self.watch,
            settings: &self.settings,
            workers: &self.workers,
            factory: &mut *self.factory,
            inherited: &mut self.inherited,
        };
        let inputs = self.inputs.prepare(rules, is_new, &mut context)?;
        let mut outputs = Vec::with_capacity(missing.len());
        for (input, output) in missing {
            self.next_tag += 1;
            let mut entry = OutputEntry::new(output, self.next_tag, context.workers.len());
            entry.prepare(&mut context)?;
            outputs.push(NewOutput { input, entry });
        }
        Ok(Prepared { inputs, outputs })
    }

    /// What does not work of rules that are new and of outputs whose tag is above `tag`.
    fn why_down(&self, tag: u32, is_new: impl Fn(&Input) -> bool) -> Vec<String> {
        let mut warnings = Vec::new();
        for RuleEntry { rule, outputs, .. } in &self.rules {
            let why = is_new(&rule.input).then(|| self.inputs.why_down(&rule.input)).flatten();
            warnings.extend(why.map(|why| {
                format!("rule \"{}\" does not receive from {}: {why}", rule.name, rule.input)
            }));
            for output in outputs.iter().filter(|output| output.tag() > tag) {
                warnings.extend(output.why_down().map(|why| {
                    let endpoint = &output.output.endpoint;
                    format!("rule \"{}\" does not send to {endpoint}: {why}", rule.name)
                }));
            }
        }
        warnings
    }

    /// Uses these rules from now on. New outputs are taken from those that are `prepared`.
    pub(super) fn take_rules(&mut self, rules: Vec<Rule>, mut prepared: Vec<NewOutput>) {
        self.settings.rules.clone_from(&rules);
        self.widen_pools();
        let mut earlier = std::mem::take(&mut self.rules);
        for rule in rules {
            // No two rules have the same input, while a name may be a mere position.
            let same = |entry: &RuleEntry| entry.rule.input == rule.input;
            let mut kept = match earlier.iter().position(same) {
                Some(at) => earlier.swap_remove(at),
                None => RuleEntry {
                    rule: rule.clone(),
                    counters: self.workers.iter().map(|_| Arc::default()).collect(),
                    outputs: Vec::new(),
                },
            };
            let mut outputs = std::mem::take(&mut kept.outputs);
            for output in &rule.outputs {
                let entry = match outputs.iter().position(|entry| entry.output == *output) {
                    Some(at) => outputs.swap_remove(at),
                    None => {
                        let is_this = |new: &NewOutput| {
                            new.entry.output == *output && new.input == rule.input
                        };
                        match prepared.iter().position(is_this) {
                            Some(at) => prepared.swap_remove(at).entry,
                            None => self.new_output(output),
                        }
                    }
                };
                kept.outputs.push(entry);
            }
            outputs.iter_mut().for_each(|entry| entry.retire(&mut self.retired));
            kept.rule = rule;
            self.rules.push(kept);
        }
        for mut entry in earlier {
            info!(rule = entry.rule.name, "the rule is taken out of force");
            entry.outputs.iter_mut().for_each(|output| output.retire(&mut self.retired));
        }
    }

    fn new_output(&mut self, output: &Output) -> OutputEntry {
        self.next_tag += 1;
        OutputEntry::new(output.clone(), self.next_tag, self.workers.len())
    }
}
