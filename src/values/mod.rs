//! Values that people write, in files and on the command line: units, ranges, endpoints, listen
//! addresses and info hashes, and what to say of one that is wrong.

pub mod endpoint;
pub mod info_hash;
pub(crate) mod limit;
pub(crate) mod listen;
pub mod path;
pub(crate) mod suggest;
pub mod units;

pub use info_hash::InfoHash;
