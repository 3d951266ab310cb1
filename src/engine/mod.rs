//! What every engine is made of: a worker's plan, how other threads reach it, and what stands
//! between the seam and the bytes, whichever way they come and go.

mod arrival;
mod choice;
mod control;
mod failures;
pub(crate) mod faults;
mod features;
mod plan;
mod sends;
#[cfg(test)]
pub(crate) mod testing;
mod turns;

use std::time::Duration;

pub(crate) use arrival::{Arrival, Discard};
pub use choice::{Engine, EngineChoice};
pub use control::WorkerControl;
pub(crate) use failures::Failures;
pub use features::{RingFeature, RingFeatures};
pub use plan::{LoopSizes, WorkerPlan};
pub(crate) use sends::{count_sent, ended, message_of};
pub(crate) use turns::{Turns, run};

/// How often handlers get time for housekeeping, and the longest a waiting loop sleeps.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The longest that a packet socket delivers: a super-packet of 64 KiB with its Ethernet header,
/// VLAN tags and `virtio_net_hdr`.
pub(crate) const FRAME_BYTES_MAX: usize = 65_536 + 64;
