//! What the two processes say to each other: JSON, one message each, bounded by the channel.

use serde::{Deserialize, Serialize};

use crate::sys::egress::{EgressOptions, EgressStep};
use crate::sys::packet_socket::PacketStep;

/// What the serving process asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Request {
    /// Packet sockets of one interface, in a fanout group of their own.
    Packets(PacketRequest),
    /// The socket of one output.
    Output(OutputRequest),
}

/// The packet sockets of one interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PacketRequest {
    /// Its name.
    pub(crate) interface: String,
    /// The index that it should have.
    pub(crate) index: u32,
    /// One for each worker.
    pub(crate) count: usize,
    pub(crate) receive_buffer_bytes: usize,
}

/// The socket of one output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputRequest {
    /// Its interface's name.
    pub(crate) interface: String,
    /// The index that it should have.
    pub(crate) index: u32,
    pub(crate) options: EgressOptions,
}

/// What the broker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Reply {
    /// It is ready, once, at its start.
    Ready,
    /// Sockets came along; so many more follow.
    Opened { left: usize },
    /// There is no such interface, or it has another index by now.
    Missing,
    /// The kernel refused a packet socket.
    Packets { step: PacketStep, errno: i32 },
    /// The kernel refused an output's socket.
    Output { step: EgressStep, errno: i32 },
    /// It is against the rules.
    Denied { reason: String },
}

impl Reply {
    pub(crate) fn denied(reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self::Denied { reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }
}

/// A reason is a sentence. Each character of a name that a request made up may take six bytes, and
/// the message still fits.
const REASON_CHARS_MAX: usize = 512;
