//! What a worker is made of, whichever engine runs its loop.

use std::sync::Arc;

use super::socket_table::{SOCKETS_MAX, SocketTable};
use super::{RingFeatures, WorkerControl};
use crate::telemetry::Counters;

/// What a worker needs that outlives a restart.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    /// The worker's index, which is also its place in each socket group.
    pub index: usize,
    /// The core to pin the thread to.
    pub core: Option<usize>,
    /// The sockets it serves; [`crate::io::SocketId`] indexes them. They belong to the
    /// process and are registered with its loop: a restarted worker takes the same ones.
    pub table: Arc<SocketTable>,
    /// The counters only this worker writes.
    pub counters: Arc<Counters>,
    /// How other threads reach it.
    pub control: Arc<WorkerControl>,
    /// What of io_uring it may use.
    pub features: RingFeatures,
    /// The sizes of its pools.
    pub sizes: LoopSizes,
}

/// How large the pools of one loop are.
#[derive(Clone, Copy, Debug)]
pub struct LoopSizes {
    /// Sockets it can serve at the same time.
    pub sockets: u16,
    /// Receives and cancellations in flight at the same time; what finds no room waits for another
    /// iteration. More than `sockets`: each of them has a receive in flight for as long as it is
    /// registered, so that only cancellations wait for long.
    pub operations: u32,
    /// Entries of the submission queue.
    pub submission_entries: u32,
    /// Receive buffers for datagrams; a power of two.
    pub receive_buffers: u16,
    /// The longest datagram taken whole, in bytes of payload.
    pub receive_payload_bytes: usize,
    /// The most receive buffers for frames, mapped when the first packet socket is registered; a
    /// power of two. The table of sockets says how many are in use.
    pub frame_buffers: u16,
    /// Sends in flight at the same time.
    pub send_slots: u16,
    /// Whether the handler forwards receive buffers ([`crate::io::Transmit::forward`]).
    pub forwards: bool,
    /// Whether the handler sends several datagrams at once
    /// ([`crate::io::Transmit::send_segments`]).
    pub segments: bool,
}

impl LoopSizes {
    /// What the tracker needs: 100 hashes to scrape are 2,016 bytes.
    pub const TRACKER: Self = Self {
        sockets: SOCKETS_MAX as u16,
        operations: OPERATIONS_MAX,
        submission_entries: 1024,
        receive_buffers: 1024,
        receive_payload_bytes: 2048,
        frame_buffers: 1,
        send_slots: 1024,
        forwards: false,
        segments: false,
    };
}

/// A receive for each socket, and room to cancel some of them at a time.
const OPERATIONS_MAX: u32 = 1024;
