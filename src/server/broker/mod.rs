//! A second process that keeps the right to open the relay's sockets, and opens them on request.
//!
//! The process that serves gives all its rights up, and asks this one when a rule is added or an
//! interface comes back. The broker trusts nobody: a request has to be well-formed and within what
//! the operator configured, which it reads itself, from the same command line and file. Rules that
//! come later count only where the process that asks could not have written them. What it cannot
//! undo is that a packet socket sees all frames of its interface.

mod client;
mod denials;
mod health;
mod message;
mod policy;
mod rule_file;
mod server;
mod trust;

pub use self::client::{Broker, BrokerError, SocketFactory};
pub use self::health::BrokerHealth;
pub use self::server::{ServeError, serve};

/// The hidden command that starts it, with the arguments of the process that serves behind it.
pub const COMMAND: &str = "socket-broker";
