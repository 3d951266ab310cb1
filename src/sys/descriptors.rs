//! Passing descriptors to another process over a Unix socket (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt,
};

/// Sends at least one byte and up to [`DESCRIPTORS_MAX`] descriptors, in one message.
///
/// # Errors
/// What the system says; `WriteZero` when it did not take all bytes.
pub fn send_descriptors(
    to: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let vectors = [IoSlice::new(bytes)];
    let sent = sendmsg::<()>(to.as_raw_fd(), &vectors, control, MsgFlags::MSG_NOSIGNAL, None)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives what one call of [`send_descriptors`] sent, or a part of its bytes. Returns how many
/// bytes it wrote to `into`, 0 at the end, and the descriptors, which are closed on exec.
///
/// # Errors
/// What the system says; `InvalidData` when there were more descriptors than one message may have.
pub fn receive_descriptors(
    from: &UnixStream,
    into: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut vectors = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut vectors, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody
            // else knows their numbers.
            descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((message.bytes, descriptors))
}

/// The user that the process at the other end ran as when it connected or listened.
///
/// # Errors
/// What the system says.
pub fn peer_user(of: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(of, sockopt::PeerCredentials)?.uid())
}

/// The most descriptors in one message; the kernel allows 253.
pub const DESCRIPTORS_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sockets_arrive_in_order() {
        let (one, other) = UnixStream::pair().unwrap();
        let sockets: Vec<_> =
            (0..DESCRIPTORS_MAX).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        send_descriptors(&one, b"all", &borrowed).unwrap();
        send_descriptors(&one, b"none", &[]).unwrap();
        drop(one);
        let mut bytes = [0; 8];
        let (length, descriptors) = receive_descriptors(&other, &mut bytes).unwrap();
        assert_eq!((&bytes[..length], descriptors.len()), (&b"all"[..], DESCRIPTORS_MAX));
        for (descriptor, socket) in descriptors.into_iter().zip(&sockets) {
            let arrived = UdpSocket::from(descriptor).local_addr().unwrap();
            assert_eq!(arrived, socket.local_addr().unwrap());
        }
        let (length, descriptors) = receive_descriptors(&other, &mut bytes).unwrap();
        assert_eq!((&bytes[..length], descriptors.len()), (&b"none"[..], 0));
        assert_eq!(receive_descriptors(&other, &mut bytes).unwrap().0, 0);
    }

    #[test]
    fn the_other_end_is_known() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer_user(&one).unwrap(), nix::unistd::geteuid().as_raw());
    }
}
