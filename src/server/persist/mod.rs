//! What outlives the process: the key of connection IDs and the swarms, in a directory of its own,
//! and the list of torrents for other programs.
//!
//! Everything here runs in the control thread, or in one thread of its own while workers serve.

pub mod atomic_file;
pub mod directory;
pub mod export;
pub mod persister;
pub mod sizes;
pub mod slices;
pub mod swarm_file;
pub mod swarms;
pub mod takeover;

pub use directory::{StateDirectory, StateError};
