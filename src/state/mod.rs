//! What outlives the process: the key of connection IDs and the swarms, in a directory of its own,
//! and the list of torrents for other programs.
//!
//! Everything here runs in the control thread, or in one thread of its own while workers serve.

pub mod directory;
pub mod export;
pub mod handover;
pub mod keeper;
mod parcels;
pub mod sizes;
pub mod slices;
pub mod swarms;

pub use directory::{StateDirectory, StateError};
