//! One running ringtide: what its main thread does from the start to an orderly end.

pub mod admin;
pub mod api;
mod bootstrap;
pub mod broker;
pub mod config;
pub mod confinement;
mod listen_sockets;
pub mod memory_limit;
pub mod persist;
pub mod process;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod service_manager;
pub mod services;
pub mod view;
