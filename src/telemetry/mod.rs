//! Counters that workers write without locks and the control thread reads at any time.

mod counters;

pub use counters::{Counter, Counters, DropReason, Snapshot};
