//! Faults around a living process: the program itself in network namespaces, with traffic all the
//! time. After each fault traffic flows again without a restart, nothing leaks, and the log says
//! once what happened.
//!
//! With `-- --nocapture` each fault prints a row: `| fault | recovered in X ms |`. These tests need
//! root. Without it they fail and say so, unless RINGTIDE_SKIP_NAMESPACES=1.

mod bed;
mod clients;
mod clocks;
mod disk;
mod links;
mod output;
mod pulse;
mod routes;
mod steadfast;
mod stopped;
mod takeover;
