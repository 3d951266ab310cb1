//! Taking apart what a multishot receive puts into a buffer: a header, the sender's address,
//! control messages, and the payload (io_uring_prep_recvmsg_multishot(3)).

use io_uring::types::RecvMsgOut;

use crate::io::Arrival;
use crate::io::{Buffer, Frame, Packet, SocketId};
use crate::telemetry::{Counter, Counters, DropReason};

/// The datagram in `buffer`; `None` when it was dropped and counted.
pub(super) fn unwrap_datagram<'b>(
    socket: u16,
    header: &libc::msghdr,
    buffer: &'b Buffer,
    counters: &Counters,
) -> Option<Packet<'b>> {
    let Ok(message) = RecvMsgOut::parse(buffer.bytes(), header) else {
        counters.count(Counter::PacketsReceived);
        counters.dropped(DropReason::Truncated);
        return None;
    };
    arrival(socket, header, &message).datagram(buffer, counters)
}

/// The frame in `buffer`; `None` when the kernel's own header is cut short, which it never is.
pub(super) fn unwrap_frame<'b>(
    socket: u16,
    header: &libc::msghdr,
    buffer: &'b Buffer,
) -> Option<Frame<'b>> {
    let message = RecvMsgOut::parse(buffer.bytes(), header).ok()?;
    Some(arrival(socket, header, &message).frame(buffer))
}

/// The message borrows itself, not the buffer: name its payload by its range in the buffer.
fn arrival<'m>(socket: u16, header: &libc::msghdr, message: &'m RecvMsgOut<'_>) -> Arrival<'m> {
    let start = RECEIVE_HEADER_BYTES + header.msg_namelen as usize + header.msg_controllen;
    Arrival {
        socket: SocketId(socket),
        name: message.name_data(),
        control: message.control_data(),
        payload: start..start + message.payload_data().len(),
        truncated: message.is_payload_truncated(),
    }
}

/// `struct io_uring_recvmsg_out`, in front of everything received.
pub(super) const RECEIVE_HEADER_BYTES: usize = 16;
