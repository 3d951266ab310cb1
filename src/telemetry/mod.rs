//! Counters that workers write without locks and the control thread reads at any time.

mod bump;
mod clients;
mod counters;
pub mod log;
mod loops;
pub(crate) mod rates;

pub use clients::{ClientCounters, ClientSnapshot};
pub use counters::{Counter, Counters, DropReason, Snapshot};
pub use loops::{LoopGauges, LoopSnapshot, LoopStats, SIZE_BUCKETS, Sizes, SizesSnapshot};
