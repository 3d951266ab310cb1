//! From the seam to the messages in send slots, and back to what became of them.

use super::send_slots::{ForwardMessage, InFlightForward};
use super::{Forward, SendCompletion};
use crate::sys::address::SendOptions;
use crate::telemetry::{Counter, Counters, DropReason};

/// What of a forward goes into a slot.
pub(crate) fn message_of<'a>(forward: &Forward<'a>) -> ForwardMessage<'a> {
    let Forward { to, ipv6, slices, segment_bytes, ttl, tos, tag, .. } = *forward;
    let options = SendOptions { segment_bytes, ttl, tos };
    ForwardMessage { to, ipv6, slices, options, tag }
}

/// What to tell the handler of a forward that ended with `result`: the bytes sent, or an error
/// number below zero.
pub(crate) fn ended(forwarding: &InFlightForward, result: i32) -> SendCompletion<'_> {
    let SendOptions { segment_bytes, ttl, tos } = forwarding.options;
    SendCompletion {
        tag: forwarding.tag,
        result: usize::try_from(result).map_err(|_| -result),
        slices: &forwarding.slices,
        segment_bytes,
        ttl,
        tos,
    }
}

/// Counts how a reply ended, by the same kind of result.
pub(crate) fn count_sent(counters: &Counters, result: i32) {
    match result {
        0.. => {
            counters.count(Counter::PacketsSent);
            counters.add(Counter::BytesSent, result as u64);
        }
        _ if matches!(-result, libc::EAGAIN | libc::ENOBUFS) => {
            counters.dropped(DropReason::SocketFull);
        }
        _ => counters.dropped(DropReason::SendError),
    }
}
