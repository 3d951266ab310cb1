//! Values that people write, in files and on the command line: units, ranges, endpoints and listen
//! addresses, and what to say of one that is wrong.

pub mod endpoint;
pub(crate) mod limit;
pub(crate) mod listen;
pub(crate) mod paths;
pub(crate) mod suggest;
pub mod units;
