//! What every engine is made of: a worker's plan, how other threads reach it, and what stands
//! between the seam and the bytes, whichever way they come and go.

mod applied;
pub mod buffers;
pub mod clock;
mod engine;
mod event_loop;
mod failures;
pub(crate) mod fault_injection;
mod features;
mod frame;
mod loop_sockets;
pub mod mailbox;
mod receive;
mod send;
pub(crate) mod send_slots;
mod service;
pub mod socket_table;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod transmit;
mod worker_control;
mod worker_plan;

use std::time::Duration;

pub use applied::AppliedVersion;
pub use engine::{Engine, EngineChoice};
pub(crate) use event_loop::{EventLoop, run};
pub(crate) use failures::Failures;
pub use features::{RingFeature, RingFeatures};
pub(crate) use receive::{Arrival, Discard};
pub(crate) use send::is_socket_full;
pub use service::*;
pub use worker_control::WorkerControl;
pub use worker_plan::{LoopSizes, WorkerPlan};

/// How often handlers get time for housekeeping, and the longest a waiting loop sleeps.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The longest that a packet socket delivers: a super-packet of 64 KiB with its Ethernet header,
/// VLAN tags and `virtio_net_hdr`.
pub(crate) const FRAME_BYTES_MAX: usize = 65_536 + 64;
