//! What outputs have in flight, and where forwards belong that have ended.

use std::collections::HashMap;
use std::sync::Arc;

use super::stats::RelayDrop;
use super::table::{OutputState, RelayTable};

/// Outputs are known by tag, which stays when the table changes while forwards are in flight.
#[derive(Default)]
pub(super) struct InFlight {
    /// Receive buffers that each output holds, by its index in `outputs`.
    held: Vec<usize>,
    /// What a tag stands for in the table: rule, output, and index in `held`.
    outputs: HashMap<u32, (usize, usize, usize)>,
    /// Outputs that left the table with forwards in flight, and what these hold. Each goes with its
    /// last one, so there are never more than forwards.
    leaving: HashMap<u32, (Arc<OutputState>, usize)>,
}

/// The output of a forward that has ended.
pub(super) enum Owner {
    /// One of the table: rule and output.
    Stays(usize, usize),
    /// One that is no longer in the table.
    Left(Arc<OutputState>),
}

impl InFlight {
    /// Replaces `earlier` by `table`.
    pub(super) fn apply_table(&mut self, earlier: &RelayTable, table: &RelayTable) {
        let Self { held: held_before, outputs: mut outputs_before, leaving } = std::mem::take(self);
        self.leaving = leaving;
        for (rule, outputs) in table.rules.iter().map(|rule| &rule.outputs).enumerate() {
            for (output, state) in outputs.iter().map(|output| &output.state).enumerate() {
                let before = outputs_before.remove(&state.tag);
                self.outputs.insert(state.tag, (rule, output, self.held.len()));
                self.held.push(before.map_or(0, |(_, _, index)| held_before[index]));
            }
        }
        for (tag, (rule, output, index)) in outputs_before {
            if held_before[index] > 0 {
                let state = Arc::clone(&earlier.rules[rule].outputs[output].state);
                self.leaving.insert(tag, (state, held_before[index]));
            }
        }
    }

    /// Rule and output of a tag, if the output may hold this many receive buffers more.
    pub(super) fn room(&self, tag: u32, buffers: usize) -> Result<(usize, usize), RelayDrop> {
        let (rule, output, index) = *self.outputs.get(&tag).ok_or(RelayDrop::OutputDown)?;
        match self.held[index] + buffers <= HELD_MAX {
            true => Ok((rule, output)),
            false => Err(RelayDrop::NoBuffer),
        }
    }

    /// An output holds this many receive buffers more.
    pub(super) fn begin(&mut self, tag: u32, buffers: usize) {
        if let Some((_, _, index)) = self.outputs.get(&tag) {
            self.held[*index] += buffers;
        }
    }

    /// A forward has ended, and its receive buffers are free again.
    pub(super) fn end(&mut self, tag: u32, buffers: usize) -> Option<Owner> {
        if let Some((rule, output, index)) = self.outputs.get(&tag).copied() {
            self.held[index] = self.held[index].saturating_sub(buffers);
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

    /// How many outputs left the table and have forwards in flight.
    #[cfg(test)]
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }
}

/// The most receive buffers, counted once for each send, that one output may hold, so that one
/// that is slow leaves the others enough.
const HELD_MAX: usize = 4096;
