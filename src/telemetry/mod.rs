//! Counters that workers write without locks and the control thread reads at any time.

mod counters;
mod loops;

pub use counters::{Counter, Counters, DropReason, Snapshot};
pub use loops::{LoopFigures, LoopGauges, LoopSnapshot, SIZE_BUCKETS, SizesSnapshot};
