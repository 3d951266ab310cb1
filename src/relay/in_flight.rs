//! What outputs have in flight, and where forwards belong that have ended.

use std::collections::HashMap;
use std::sync::Arc;

use super::stats::RelayDrop;
use super::table::{OutputState, RelayTable};

/// Outputs are known by tag, which stays when the table changes under forwards that are on their
/// way.
#[derive(Default)]
pub(super) struct InFlight {
    /// Receive buffers that each output holds, by its place in `places`.
    held: Vec<usize>,
    /// Where a tag stands in the table: rule, output, and place in `held`.
    places: HashMap<u32, (usize, usize, usize)>,
    /// Outputs that left the table with forwards on their way, and what these hold. Each goes with
    /// its last one, so there are never more than forwards.
    leaving: HashMap<u32, (Arc<OutputState>, usize)>,
}

/// To whom a forward belongs that has ended.
pub(super) enum Owner {
    /// To an output of the table: rule and output.
    Stays(usize, usize),
    /// To one that is in the table no more.
    Left(Arc<OutputState>),
}

impl InFlight {
    /// Goes by `table` from now on, and no more by `earlier`.
    pub(super) fn apply_table(&mut self, earlier: &RelayTable, table: &RelayTable) {
        let Self { held: held_before, places: mut places_before, leaving } = std::mem::take(self);
        self.leaving = leaving;
        for (rule, outputs) in table.rules.iter().map(|rule| &rule.outputs).enumerate() {
            for (output, state) in outputs.iter().map(|output| &output.state).enumerate() {
                let before = places_before.remove(&state.tag);
                self.places.insert(state.tag, (rule, output, self.held.len()));
                self.held.push(before.map_or(0, |(_, _, place)| held_before[place]));
            }
        }
        for (tag, (rule, output, place)) in places_before {
            if held_before[place] > 0 {
                let state = Arc::clone(&earlier.rules[rule].outputs[output].state);
                self.leaving.insert(tag, (state, held_before[place]));
            }
        }
    }

    /// Where an output stands in the table, when it may hold so many receive buffers more.
    pub(super) fn room(&self, tag: u32, buffers: usize) -> Result<(usize, usize), RelayDrop> {
        let (rule, output, place) = *self.places.get(&tag).ok_or(RelayDrop::OutputDown)?;
        match self.held[place] + buffers <= HELD_MAX {
            true => Ok((rule, output)),
            false => Err(RelayDrop::NoBuffer),
        }
    }

    /// An output holds so many receive buffers more.
    pub(super) fn begin(&mut self, tag: u32, buffers: usize) {
        if let Some((_, _, place)) = self.places.get(&tag) {
            self.held[*place] += buffers;
        }
    }

    /// A forward has ended, and its receive buffers are given back.
    pub(super) fn end(&mut self, tag: u32, buffers: usize) -> Option<Owner> {
        if let Some((rule, output, place)) = self.places.get(&tag).copied() {
            self.held[place] = self.held[place].saturating_sub(buffers);
            return Some(Owner::Stays(rule, output));
        }
        let (state, held) = self.leaving.get_mut(&tag)?;
        let owner = Owner::Left(Arc::clone(state));
        *held = held.saturating_sub(buffers);
        if *held == 0 {
            self.leaving.remove(&tag);
        }
        Some(owner)
    }

    /// How many outputs left the table and have forwards on their way.
    #[cfg(test)]
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }
}

/// The most receive buffers, counted once for each send, that one output may hold, so that one
/// that is slow leaves the others enough.
const HELD_MAX: usize = 4096;
