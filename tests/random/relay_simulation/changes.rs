//! What an operator, and interfaces, change while traffic flows.

use ringtide::io::SocketId;
use ringtide::relay::Offload;

use super::super::coverage::Seen;
use super::super::rules::Rules;
use super::World;

impl World {
    /// One change of a relay's rules.
    pub(super) fn change_once(&mut self, node: usize, rules: &mut Rules) {
        let at = self.rng.usize(..rules.rules.len());
        let source = self.scenario.senders[0].source.ip();
        let rule = &mut rules.rules[at];
        match self.rng.u8(..8) {
            0 => {
                self.seen.note(if rule.active { Seen::RuleGone } else { Seen::RuleBack });
                rule.active = !rule.active;
                // A rule that comes back is a new one.
                rule.counters = Default::default();
                let (scenario, rng) = (&mut self.scenario, &mut self.rng);
                let again = |number| scenario.draw_output(rng, node, at, number == 0);
                rule.outputs = (0..rule.outputs.len()).map(again).collect();
            }
            1 => {
                if rule.outputs.pop().is_some() {
                    self.seen.note(Seen::OutputGone);
                }
            }
            2 if rule.outputs.len() < OUTPUTS_MAX => {
                self.seen.note(Seen::OutputNew);
                rule.outputs.push(self.scenario.draw_output(&mut self.rng, node, at, false));
            }
            3 => {
                let listed = if rule.sources.is_empty() { vec![source] } else { Vec::new() };
                self.seen.note_if(!listed.is_empty(), Seen::SourcesListed);
                rule.sources = listed;
            }
            4 => {
                rules.offload = match rules.offload {
                    Offload::Auto => Offload::Off,
                    Offload::Off => Offload::Auto,
                };
                self.seen.note_if(rules.offload == Offload::Off, Seen::OffloadOff);
            }
            5 => rules.fragments_held_max = [0, 3, 16][self.rng.usize(..3)],
            6 => self.narrow(rules, at),
            _ => self.flap(rules, at),
        }
    }

    /// An interface goes down or comes back, with another socket.
    fn flap(&mut self, rules: &mut Rules, at: usize) {
        let Some(output) = rules.rules[at].outputs.first_mut() else { return };
        output.socket = match output.socket {
            Some(_) => {
                self.seen.note(Seen::OutputDown);
                None
            }
            None => {
                self.seen.note(Seen::OutputUp);
                self.scenario.next_socket += 1;
                Some(SocketId(self.scenario.next_socket))
            }
        };
        self.scenario.fit(output);
    }

    /// An MTU changes; the relay learns of it with its next rules.
    fn narrow(&mut self, rules: &mut Rules, at: usize) {
        let Some(output) = rules.rules[at].outputs.last_mut() else { return };
        self.seen.note(Seen::Narrowed);
        self.scenario.links[output.link].mtu = [1280, 1400, 1500, 4000][self.rng.usize(..4)];
        if self.rng.bool() {
            self.scenario.fit(output);
        }
    }
}

/// The most outputs of one rule here.
const OUTPUTS_MAX: usize = 5;
