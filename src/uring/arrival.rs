//! Taking apart what a multishot receive puts into a buffer: a header, the sender's address,
//! control messages, and the payload (io_uring_prep_recvmsg_multishot(3)).

use io_uring::types::RecvMsgOut;

use crate::handler::{Buffer, Frame, Packet, ReplyPath, SocketId};
use crate::net::address::{is_outgoing, read_address, read_auxiliary, read_local};
use crate::telemetry::{Counter, Counters, DropReason};

/// The datagram in `buffer`; `None` when it was dropped and counted.
pub(super) fn unwrap_datagram<'b>(
    socket: u16,
    header: &libc::msghdr,
    buffer: &'b Buffer,
    counters: &Counters,
) -> Option<Packet<'b>> {
    counters.count(Counter::PacketsReceived);
    let Ok(message) = RecvMsgOut::parse(buffer.bytes(), header) else {
        counters.dropped(DropReason::Truncated);
        return None;
    };
    let payload = payload(buffer, header, &message);
    counters.add(Counter::BytesReceived, payload.len() as u64);
    if message.is_payload_truncated() {
        counters.dropped(DropReason::Truncated);
        return None;
    }
    let Some(source) = read_address(message.name_data()) else {
        counters.dropped(DropReason::BadSource);
        return None;
    };
    let from = read_local(message.control_data());
    let path = ReplyPath { socket: SocketId(socket), to: source, from };
    Some(Packet { path, payload, buffer })
}

/// The frame in `buffer`; `None` when the kernel's own header is cut short, which it never is.
pub(super) fn unwrap_frame<'b>(
    socket: u16,
    header: &libc::msghdr,
    buffer: &'b Buffer,
) -> Option<Frame<'b>> {
    let message = RecvMsgOut::parse(buffer.bytes(), header).ok()?;
    Some(Frame {
        socket: SocketId(socket),
        bytes: payload(buffer, header, &message),
        start: payload_start(header),
        buffer,
        auxiliary: read_auxiliary(message.control_data()),
        outgoing: is_outgoing(message.name_data()),
        truncated: message.is_payload_truncated(),
    })
}

/// The message borrows itself, not the buffer: find its payload again in the buffer.
fn payload<'b>(buffer: &'b Buffer, header: &libc::msghdr, message: &RecvMsgOut<'_>) -> &'b [u8] {
    let start = payload_start(header);
    &buffer.bytes()[start..start + message.payload_data().len()]
}

fn payload_start(header: &libc::msghdr) -> usize {
    RECEIVE_HEADER_BYTES + header.msg_namelen as usize + header.msg_controllen
}

/// `struct io_uring_recvmsg_out`, in front of everything received.
pub(super) const RECEIVE_HEADER_BYTES: usize = 16;
