//! The program where the kernel has less to give than it wants: features, rights, limits.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod features;
mod limits;
mod rights;
