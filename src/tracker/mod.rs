//! The tracker: swarms in memory, what announces and scrapes do to them, and the protocols that
//! carry them.

pub mod core;
pub mod store;
pub mod udp;
