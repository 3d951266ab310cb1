//! A second process that keeps the right to open the relay's sockets, and opens them on request.
//!
//! The serving process drops all its rights, and asks this one when a rule is added or an interface
//! comes back. The broker trusts nobody: a request must be well-formed and within what the operator
//! configured, which the broker reads itself, from the same command line and file. Rules that are
//! added later count only if the serving process could not have written them. What the broker
//! cannot prevent is that a packet socket sees all frames of its interface.

mod client;
mod denials;
mod health;
mod message;
mod policy;
mod rule_file;
mod server;
mod trust;

pub use self::client::{Broker, BrokerError};
pub use self::health::BrokerHealth;
pub use self::server::{ServeError, serve};

/// The hidden command that starts it, followed by the arguments of the serving process.
pub const COMMAND: &str = "socket-broker";
