//! Tools that measure.
//!
//! [`traffic`] judges the relay from outside: sockets from [`crate::sys`] on plain threads, and
//! neither loop nor workers. [`load_test`] must be faster than any tracker, and runs on the
//! project's own workers.

pub mod figures;
pub mod load_test;
pub mod traffic;
