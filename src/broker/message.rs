//! What the two processes say to each other: JSON, one message each, bounded by the channel.

use serde::{Deserialize, Serialize};

use crate::net::egress::{EgressOptions, EgressStep};
use crate::net::packet_socket::PacketStep;

/// What the serving process asks for.
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
    /// The index that it should have.
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
    /// The index that it should have.
    pub(super) index: u32,
    pub(super) options: EgressOptions,
}

/// What the broker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Reply {
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
    pub(super) fn denied(reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self::Denied { reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }
}

/// A reason is a sentence. Each character of a name that a request made up may take six bytes, and
/// the message still fits.
const REASON_CHARS_MAX: usize = 512;
