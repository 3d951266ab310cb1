//! The relay as other threads see it: what is in force and where its figures are, swapped as a
//! whole with every change.

use std::sync::Arc;

use super::context::RelayWorker;
use super::inputs::KernelDrops;
use crate::relay::stats::{FlowCounters, FlowSnapshot, RelayDrop};
use crate::relay::table::{LATENCY_BUCKETS, OutputState};
use crate::relay::{Output, Rule};
use crate::telemetry::{Counter, SizesSnapshot};

/// What is in force. The figures behind it go on counting.
#[derive(Default)]
pub struct RelayView {
    /// The rules, in order.
    pub rules: Vec<RuleView>,
    /// Whether latency is measured.
    pub latency: bool,
    pub(super) workers: Vec<RelayWorker>,
    pub(super) kernel_drops: KernelDrops,
}

/// One rule.
pub struct RuleView {
    /// The rule itself.
    pub rule: Rule,
    /// Whether its input's interface is there.
    pub receiving: bool,
    /// Why nothing is received, or not all that it takes.
    pub down: Option<String>,
    pub(super) counters: Vec<Arc<FlowCounters>>,
    /// Its outputs, in order.
    pub outputs: Vec<OutputView>,
}

/// One output.
pub struct OutputView {
    /// The output itself.
    pub output: Output,
    /// Why nothing can be sent there just now.
    pub down: Option<String>,
    pub(super) states: Vec<Arc<OutputState>>,
}

impl RelayView {
    /// What belongs to no rule, all workers together.
    pub fn unmatched(&self) -> FlowSnapshot {
        sum(self.workers.iter().map(unmatched))
    }

    /// Frames that the kernel dropped because a packet socket's buffer was full.
    pub fn kernel_drops(&self) -> u64 {
        self.kernel_drops.read()
    }
}

impl RuleView {
    /// What the rule took, all workers together.
    pub fn figures(&self) -> FlowSnapshot {
        sum(self.counters.iter().map(|counters| counters.snapshot()))
    }
}

impl OutputView {
    /// What the output sent, all workers together.
    pub fn figures(&self) -> FlowSnapshot {
        sum(self.states.iter().map(|state| state.counters.snapshot()))
    }

    /// How long what it sent took, in microseconds, all workers together.
    pub fn latency_us(&self) -> SizesSnapshot<LATENCY_BUCKETS> {
        let parts = self.states.iter().map(|state| state.latency_us.snapshot());
        parts.fold(SizesSnapshot::default(), |sum, part| sum.plus(&part))
    }
}

/// What belongs to no rule on one worker. The loop counts what never reached the relay.
fn unmatched(worker: &RelayWorker) -> FlowSnapshot {
    let counted = worker.counters.snapshot();
    let lost = [
        (RelayDrop::Panic, Counter::FramesLostToPanic),
        (RelayDrop::Shutdown, Counter::FramesLostToShutdown),
    ];
    lost.into_iter().fold(worker.shared.unmatched.snapshot(), |figures, (reason, counter)| {
        figures.with_dropped(reason, counted.get(counter))
    })
}

fn sum(parts: impl Iterator<Item = FlowSnapshot>) -> FlowSnapshot {
    parts.fold(FlowSnapshot::default(), FlowSnapshot::plus)
}
