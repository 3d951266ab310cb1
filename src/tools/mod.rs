//! Tools that measure: they use sockets from [`crate::net`] on plain threads, and neither the
//! ring nor the workers, so that they judge those from outside.

pub mod traffic;
