//! The messages between the two processes: JSON, one message each, bounded by the channel.

use serde::{Deserialize, Serialize};

use crate::sys::egress::{EgressOptions, EgressStep};
use crate::sys::packet_socket::PacketStep;

/// A request of the serving process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Request {
    /// Packet sockets of one interface, in a fanout group of their own.
    Packets(PacketRequest),
    /// The socket of one output.
    Output(OutputRequest),
}

/// The packet sockets of one interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PacketRequest {
    /// Its name.
    pub(super) interface: String,
    /// The index that it must have.
    pub(super) index: u32,
    /// One for each worker.
    pub(super) count: usize,
    pub(super) receive_buffer_bytes: usize,
}

/// The socket of one output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputRequest {
    /// Its interface's name.
    pub(super) interface: String,
    /// The index that it must have.
    pub(super) index: u32,
    pub(super) options: EgressOptions,
}

/// The broker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Reply {
    /// Sent once, when it is ready.
    Ready,
    /// This message has sockets with it; `left` more follow.
    Opened { left: usize },
    /// There is no such interface, or it has another index now.
    Missing,
    /// The kernel refused a packet socket.
    Packets { step: PacketStep, errno: i32 },
    /// The kernel refused an output's socket.
    Output { step: EgressStep, errno: i32 },
    /// The configuration does not permit it.
    Denied { reason: String },
}

impl Reply {
    pub(super) fn denied(reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self::Denied { reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }
}

/// Long enough for a sentence, and short enough for a message when each character of a name in it
/// takes six bytes.
const REASON_CHARS_MAX: usize = 512;
