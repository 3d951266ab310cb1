//! What one relay must do with each frame, and what each of its counters must say.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringtide::io::Now;
use ringtide::relay::stats::{FlowCounters, FlowSnapshot, RelayDrop};
use ringtide::relay::table::{OutputState, SharedTable};

use super::coverage::{Coverage, Seen};
use super::frames::{Head, Payload, Truth};
use super::reassembly::Reassembly;
use super::rules::{Output, Rule, Rules};

/// A datagram that an output must send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) payload: Payload,
    pub(crate) ttl: Option<u8>,
    pub(crate) tos: Option<u8>,
}

/// What an output must send, and what its counters must say.
#[derive(Default)]
pub(crate) struct Tally {
    /// In the order in which it must leave.
    pub(crate) line: VecDeque<Due>,
    pub(crate) sums: Sums,
    pub(crate) refuses_segments: bool,
}

#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) sends: u64,
    drops: [u64; RelayDrop::ALL.len()],
}

pub(crate) struct Model {
    pub(crate) rules: Rules,
    /// Of all outputs that there ever were, by tag.
    outputs: BTreeMap<u32, (Arc<OutputState>, Tally)>,
    /// Of all rules that there ever were.
    taken: Vec<(Arc<FlowCounters>, Sums)>,
    unmatched: Sums,
    /// Inputs of rules that took a super-packet which no output could take together.
    cut: HashSet<SocketAddr>,
    pub(crate) reassembly: Reassembly,
    pub(crate) seen: Coverage,
}

impl Sums {
    fn dropped(&mut self, reason: RelayDrop, count: u64) {
        self.drops[reason as usize] += count;
    }

    fn passed<'a>(&mut self, payloads: impl IntoIterator<Item = &'a Payload>) {
        for payload in payloads {
            self.packets += 1;
            self.bytes += payload.len() as u64;
        }
    }

    pub(crate) fn dropped_for(&self, reason: RelayDrop) -> u64 {
        self.drops[reason as usize]
    }

    fn compare(&self, there: &FlowSnapshot, what: &str) {
        let told = (there.packets, there.bytes, there.sends);
        assert_eq!(told, (self.packets, self.bytes, self.sends), "{what}: packets, bytes, sends");
        for reason in RelayDrop::ALL {
            let (told, right) = (there.dropped(reason), self.drops[reason as usize]);
            assert_eq!(told, right, "{what}: dropped as {}", reason.name());
        }
    }
}

impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        let mut model = Self {
            rules: Rules::default(),
            outputs: BTreeMap::new(),
            taken: Vec::new(),
            unmatched: Sums::default(),
            cut: HashSet::new(),
            reassembly: Reassembly::default(),
            seen: Coverage::default(),
        };
        model.apply_rules(rules);
        model
    }

    pub(crate) fn apply_rules(&mut self, rules: Rules) {
        for rule in rules.active() {
            if !self.taken.iter().any(|(counters, _)| Arc::ptr_eq(counters, &rule.counters)) {
                self.taken.push((Arc::clone(&rule.counters), Sums::default()));
            }
            for output in &rule.outputs {
                let state = &output.state;
                let tally = || (Arc::clone(state), Tally::default());
                self.outputs.entry(state.tag).or_insert_with(tally);
            }
        }
        if rules.fragments_held_max == 0 {
            let abandoned = self.reassembly.abandon();
            self.unmatched.dropped(RelayDrop::Fragment, abandoned);
        }
        self.reassembly.held_max = rules.fragments_held_max;
        self.cut.clear();
        self.rules = rules;
    }

    /// A frame reaches the relay.
    pub(crate) fn arrive(&mut self, now: Now, truth: &Truth) {
        match truth {
            Truth::Refused(reason) => self.unmatched.dropped(*reason, 1),
            Truth::Datagrams(head, payloads) => self.pass(*head, payloads, 1),
            Truth::Fragment(head, piece) => {
                self.seen.note(Seen::Fragmented);
                let unwanted = self.matching(*head).err();
                let outcome = self.reassembly.add(now, *head, piece, unwanted);
                let refused = piece.offset == 0 && unwanted.is_some();
                self.seen.note_if(refused, Seen::FragmentsRefused);
                let crowded: u64 = outcome.drops.iter().map(|drop| drop.1).sum();
                self.seen.note_if(!refused && crowded > 1, Seen::FragmentsCrowdedOut);
                for (reason, count) in outcome.drops {
                    self.unmatched.dropped(reason, count);
                }
                if let Some((payload, pieces)) = outcome.whole {
                    self.seen.note_if(unwanted.is_none(), Seen::Reassembled);
                    self.pass(*head, &[payload], pieces);
                }
            }
        }
    }

    /// Whether these are the first datagrams since the rules changed that came together and are too
    /// long for all outputs to leave together.
    pub(crate) fn is_first_cut(&mut self, truth: &Truth) -> bool {
        let Truth::Datagrams(head, payloads) = truth else { return false };
        let Ok(rule) = self.matching(*head) else { return false };
        let widest = rule.outputs.iter().map(|output| output.segment_max).max();
        let cut = payloads.len() > 1 && widest.is_some_and(|widest| payloads[0].len() > widest);
        cut && self.cut.insert(head.destination)
    }

    pub(crate) fn tick(&mut self, now: Now) {
        let expired = self.reassembly.expire(now);
        self.seen.note_if(expired > 0, Seen::FragmentsTimedOut);
        self.unmatched.dropped(RelayDrop::Fragment, expired);
    }

    /// The relay is taken down.
    pub(crate) fn end(&mut self) {
        let abandoned = self.reassembly.abandon();
        self.unmatched.dropped(RelayDrop::Fragment, abandoned);
    }

    fn matching(&self, head: Head) -> Result<&Rule, RelayDrop> {
        let mut rules = self.rules.active().filter(|rule| rule.input == head.destination);
        let rule = rules.next().ok_or(RelayDrop::NoRule)?;
        let listed = rule.sources.is_empty() || rule.sources.contains(&head.source.ip());
        if listed { Ok(rule) } else { Err(RelayDrop::Source) }
    }

    /// Datagrams that are whole, and came in so many frames.
    fn pass(&mut self, head: Head, payloads: &[Payload], frames: u64) {
        let rule = match self.matching(head) {
            Ok(rule) => rule.clone(),
            // By frames, however many datagrams.
            Err(reason) => return self.unmatched.dropped(reason, frames),
        };
        let taken = self.taken.iter_mut().find(|taken| Arc::ptr_eq(&taken.0, &rule.counters));
        taken.unwrap().1.passed(payloads);
        self.seen.note_if(rule.outputs.is_empty(), Seen::OnlyCounted);
        self.seen.note_if(rule.outputs.len() > 1, Seen::FannedOut);
        for output in &rule.outputs {
            let crossed = output.to.is_ipv6() != head.source.is_ipv6();
            self.seen.note_if(crossed, Seen::CrossedFamilies);
            self.seen.note_if(output.keep_ttl, Seen::TtlKept);
            self.seen.note_if(output.keep_dscp, Seen::DscpKept);
            let due = |payload: &Payload| Due {
                payload: Rc::clone(payload),
                ttl: output.keep_ttl.then_some(head.ttl),
                // Congestion marks are the link's own (RFC 3168).
                tos: output.keep_dscp.then_some(head.tos & 0xfc),
            };
            let dues = self.sendable(output, payloads.iter().map(due).collect());
            self.tally(output.state.tag).line.extend(dues);
        }
    }

    /// What is left to send of `dues`; the others are dropped before they are sent.
    fn sendable(&mut self, output: &Output, mut dues: Vec<Due>) -> Vec<Due> {
        let sums = &mut self.outputs.get_mut(&output.state.tag).unwrap().1.sums;
        if output.socket.is_none() {
            sums.dropped(RelayDrop::OutputDown, dues.len() as u64);
            return Vec::new();
        }
        let before = dues.len();
        dues.retain(|due| due.payload.len() <= output.payload_max);
        sums.dropped(RelayDrop::Oversized, (before - dues.len()) as u64);
        dues
    }

    pub(crate) fn tally(&mut self, tag: u32) -> &mut Tally {
        &mut self.outputs.get_mut(&tag).unwrap().1
    }

    /// A send found no slot.
    pub(crate) fn refused(&mut self, tag: u32, datagrams: usize) {
        self.tally(tag).sums.dropped(RelayDrop::NoBuffer, datagrams as u64);
    }

    /// A send ended. What must be sent again stands at the head of the output's line.
    pub(crate) fn ended(
        &mut self,
        tag: u32,
        dues: &[Due],
        segmented: bool,
        retried: bool,
        error: Option<i32>,
    ) {
        let output = self.rules.output(tag).cloned();
        self.seen.note_if(output.is_none(), Seen::EndedWithoutOutput);
        let Some(error) = error else {
            let sums = &mut self.tally(tag).sums;
            sums.passed(dues.iter().map(|due| &due.payload));
            sums.sends += 1;
            return;
        };
        // Nothing is sent again by an output that is no longer in the table.
        let Some(output) = output else {
            return self.tally(tag).sums.dropped(reason_for(error), dues.len() as u64);
        };
        let cannot_cut = segmented && [libc::EINVAL, libc::EIO, libc::EMSGSIZE].contains(&error);
        if cannot_cut {
            self.seen.note(Seen::SegmentsRefused);
            self.tally(tag).refuses_segments = true;
        }
        let news = error == libc::ECONNREFUSED;
        self.seen.note_if(news && !retried, Seen::Refused);
        self.seen.note_if(news && retried, Seen::RefusedTwice);
        if !cannot_cut && (retried || !news) {
            return self.tally(tag).sums.dropped(reason_for(error), dues.len() as u64);
        }
        let again = self.sendable(&output, dues.to_vec());
        let line = &mut self.tally(tag).line;
        again.into_iter().rev().for_each(|due| line.push_front(due));
    }

    /// How many datagrams all outputs have yet to send.
    pub(crate) fn in_line(&self) -> usize {
        self.outputs.values().map(|(_, tally)| tally.line.len()).sum()
    }

    /// Every counter says what it must.
    pub(crate) fn check(&self, shared: &SharedTable) {
        self.unmatched.compare(&shared.unmatched.snapshot(), "what no rule took");
        for (counters, sums) in &self.taken {
            sums.compare(&counters.snapshot(), "a rule");
        }
        for (tag, (state, tally)) in &self.outputs {
            tally.sums.compare(&state.counters.snapshot(), &format!("output {tag}"));
        }
    }

    /// How much all outputs on a link sent there.
    pub(crate) fn sent(&self) -> u64 {
        self.outputs.values().map(|(_, tally)| tally.sums.packets).sum()
    }

    /// Drops of all kinds, everywhere.
    pub(crate) fn dropped(&self, reason: RelayDrop) -> u64 {
        let outputs = self.outputs.values().map(|(_, tally)| tally.sums.dropped_for(reason));
        self.unmatched.dropped_for(reason) + outputs.sum::<u64>()
    }
}

fn reason_for(error: i32) -> RelayDrop {
    match error {
        libc::EAGAIN | libc::ENOBUFS => RelayDrop::SocketFull,
        libc::EMSGSIZE => RelayDrop::Oversized,
        libc::ENETDOWN | libc::ENETUNREACH | libc::ENODEV | libc::ENXIO => RelayDrop::OutputDown,
        _ => RelayDrop::SendError,
    }
}
