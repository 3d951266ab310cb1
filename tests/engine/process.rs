//! The `ringtide` process: signals, logs, what it says when it cannot start, what it costs idle.

mod handover;
mod logs;
mod notify;
mod privileges;
mod reload;
mod shutdown;
mod start;
mod state;
