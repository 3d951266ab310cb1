//! One running ringtide, from its start to an orderly end, in four stages: [`open::Opened`],
//! [`confine::Confined`], [`serve::Serving`] and [`hand_over::Ended`]. The thread `main` goes
//! through them in [`run`].

pub mod admin;
pub mod api;
pub mod broker;
pub mod config;
pub mod confine;
mod error;
pub mod hand_over;
mod listen_sockets;
pub mod memory_limit;
pub mod open;
mod open_tracker;
pub mod persist;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod serve;
pub mod service_manager;
pub mod services;
mod state;

pub use self::error::StartupError;
