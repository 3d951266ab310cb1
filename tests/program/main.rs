//! The program from outside, where the engine makes no difference: its command line, its control
//! socket, and what strangers and a poor kernel can do to it.
#![allow(clippy::unwrap_used)]

mod cli;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod faults_kernel;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod hostile;
mod traffic;
