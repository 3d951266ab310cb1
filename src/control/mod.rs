//! The control thread: signals, reports, reload. It never touches the packet path.

pub mod notify;
pub mod relay;
pub mod report;
mod signals;

pub use signals::{Event, Signals};
