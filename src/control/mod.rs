//! The control thread: signals, reports, reload, and what others ask over sockets. It never touches
//! the packet path.

pub mod http;
pub mod notify;
mod operate;
pub mod relay;
pub mod report;
pub mod rules;
mod signals;
pub mod stats;
pub mod view;

pub use operate::{Desk, Errand, Errands, Operate, Problem, ProblemKind, ReloadOutcome, errands};
pub use signals::{Event, Signals};
