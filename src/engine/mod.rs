//! What every engine is made of: a worker's plan, how other threads reach it, and the figures that
//! all loops share.

mod control;
mod plan;

use std::time::Duration;

pub use control::WorkerControl;
pub use plan::{Engine, LoopSizes, WorkerPlan};

/// How often handlers get time for housekeeping, and the longest a waiting loop sleeps.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The longest that a packet socket delivers: a super-packet of 64 KiB with its Ethernet header,
/// VLAN tags and `virtio_net_hdr`.
pub(crate) const FRAME_BYTES_MAX: usize = 65_536 + 64;
