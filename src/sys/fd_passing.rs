//! Passing descriptors to another process over a Unix socket (unix(7), `SCM_RIGHTS`): as messages
//! that keep their boundaries, over a [`Channel`], or beside the bytes of a stream.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

/// One end of a connection that carries messages and descriptors (`SOCK_SEQPACKET`).
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// Its bytes, at most [`MESSAGE_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// The descriptors, closed on exec, at most [`DESCRIPTORS_MAX`].
    pub descriptors: Vec<OwnedFd>,
    /// Whether descriptors were lost because this process may not open more (`RLIMIT_NOFILE`).
    pub lost: bool,
}

impl Channel {
    /// Creates both ends, closed on exec.
    ///
    /// # Errors
    /// When the system has no descriptors or memory left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(one), Self(other)))
    }

    /// Uses a descriptor as an end of a channel.
    ///
    /// # Errors
    /// When it is not a `SOCK_SEQPACKET` socket.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        match getsockopt(&descriptor, sockopt::SockType)? {
            SockType::SeqPacket => Ok(Self(descriptor)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Limits how long [`Self::receive`] and [`Self::send`] wait.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        let time = TimeVal::new(timeout.as_secs() as i64, i64::from(timeout.subsec_micros()));
        setsockopt(&self.0, sockopt::ReceiveTimeout, &time)?;
        setsockopt(&self.0, sockopt::SendTimeout, &time)?;
        Ok(())
    }

    /// Whether [`Self::receive`] would return at once.
    pub fn has_message(&self) -> bool {
        let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Sends one message with its descriptors.
    ///
    /// # Errors
    /// When it is too long, or the other end is closed.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        send(&self.0, bytes, descriptors)?;
        Ok(())
    }

    /// Waits for the next message; `None` when the other end is closed.
    ///
    /// # Errors
    /// When a message was cut off, or nothing came in time.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let received = receive(&self.0, &mut bytes)?;
        let lost = received.flags.contains(MsgFlags::MSG_CTRUNC);
        if received.flags.contains(MsgFlags::MSG_TRUNC) || (lost && received.length == 0) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if received.length == 0 {
            return Ok(None);
        }
        bytes.truncate(received.length);
        Ok(Some(Message { bytes, descriptors: received.descriptors, lost }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

/// Sends at least one byte and up to [`DESCRIPTORS_MAX`] descriptors over a stream.
///
/// # Errors
/// The system's; `WriteZero` when it did not take all bytes.
pub fn send_descriptors(
    to: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let sent = send(to, bytes, descriptors)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives what one call of [`send_descriptors`] sent, or a part of its bytes. Returns how many
/// bytes it wrote to `into`, 0 at the end, and the descriptors, which are closed on exec.
///
/// # Errors
/// The system's; `InvalidData` when descriptors were lost because this process may not open more.
pub fn receive_descriptors(
    from: &UnixStream,
    into: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let received = receive(from, into)?;
    if received.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.length, received.descriptors))
}

/// The user that the process at the other end ran as when it connected or listened
/// (`SO_PEERCRED`).
///
/// # Errors
/// The system's.
pub fn peer_user(of: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(of, sockopt::PeerCredentials)?.uid())
}

/// One `sendmsg`; returns how many bytes it took.
fn send(to: &impl AsRawFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let vectors = [IoSlice::new(bytes)];
    Ok(sendmsg::<()>(to.as_raw_fd(), &vectors, control, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// What one `recvmsg` brought.
struct Received {
    length: usize,
    flags: MsgFlags,
    /// None when some were lost (`MSG_CTRUNC`).
    descriptors: Vec<OwnedFd>,
}

/// One `recvmsg`, repeated when a signal interrupts it.
fn receive(from: &impl AsRawFd, into: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut vectors = [IoSliceMut::new(into)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(from.as_raw_fd(), &mut vectors, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    // Of several descriptors, some may have been installed before there was no room for the rest,
    // and their numbers are not known then: send one at a time to a process that may be out of
    // descriptors.
    if !message.flags.contains(MsgFlags::MSG_CTRUNC) {
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel has just installed these descriptors for this call, and
                // nothing else knows their numbers yet.
                descriptors.extend(raw.iter().map(|raw| unsafe { OwnedFd::from_raw_fd(*raw) }));
            }
        }
    }
    Ok(Received { length: message.bytes, flags: message.flags, descriptors })
}

/// The longest message of a channel, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// The most descriptors in one message; the kernel allows 253 (`SCM_MAX_FD`).
pub const DESCRIPTORS_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

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

    #[test]
    fn messages_and_descriptors_arrive() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"hello", &[one.as_fd(), other.as_fd()]).unwrap();
        one.send(b"again", &[]).unwrap();
        let message = other.receive().unwrap().unwrap();
        assert_eq!((&message.bytes[..], message.descriptors.len()), (&b"hello"[..], 2));
        let message = other.receive().unwrap().unwrap();
        assert_eq!((&message.bytes[..], message.descriptors.len()), (&b"again"[..], 0));
    }

    #[test]
    fn the_end_is_told_from_an_error() {
        let (one, other) = Channel::pair().unwrap();
        one.set_timeout(Duration::from_millis(1)).unwrap();
        assert_eq!(one.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!one.has_message());
        drop(other);
        assert!(one.has_message());
        assert!(one.receive().unwrap().is_none());
        assert_eq!(one.send(b"hello", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_too_long_is_refused_at_both_ends() {
        let (one, other) = Channel::pair().unwrap();
        let long = vec![1; MESSAGE_BYTES_MAX + 1];
        assert_eq!(one.send(&long, &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        nix::sys::socket::send(one.as_fd().as_raw_fd(), &long, MsgFlags::empty()).unwrap();
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn only_a_socket_with_boundaries_is_an_end() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(Channel::adopt(one.into()).is_err());
        let (one, _other) = Channel::pair().unwrap();
        assert!(Channel::adopt(one.into()).is_ok());
    }
}
