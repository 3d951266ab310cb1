//! Descriptors that go from one process to another over a pair of Unix sockets (unix(7),
//! `SCM_RIGHTS`). Messages keep their boundaries (`SOCK_SEQPACKET`) and are bounded.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

/// One end of a connection that carries messages and descriptors.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// What it says, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
    /// What came with it, closed on exec, at most [`DESCRIPTORS_MAX`].
    pub descriptors: Vec<OwnedFd>,
    /// Whether this process had no room for descriptors that came with it (`RLIMIT_NOFILE`).
    pub lost: bool,
}

impl Channel {
    /// Makes both ends, closed on exec.
    ///
    /// # Errors
    /// When the system has no descriptors or memory left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(one), Self(other)))
    }

    /// Takes a descriptor for an end, if it is one.
    ///
    /// # Errors
    /// When it is no socket that keeps the boundaries of messages.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        match getsockopt(&descriptor, sockopt::SockType)? {
            SockType::SeqPacket => Ok(Self(descriptor)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Bounds how long [`Self::receive`] and [`Self::send`] wait.
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
    /// When it is too long, or nobody is at the other end any more.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(bytes)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for the next message; `None` when the other end is gone.
    ///
    /// # Errors
    /// When a message was cut, or nothing came in time.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                received => break received?,
            }
        };
        // Of several descriptors, some may have got in before there was no room, and nobody would
        // know them: who may send to a process without room sends one at a time.
        if received.bytes > 0 && received.flags & TRUNCATED == MsgFlags::MSG_CTRUNC {
            let length = received.bytes;
            bytes.truncate(length);
            return Ok(Some(Message { bytes, descriptors: Vec::new(), lost: true }));
        }
        let mut descriptors = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just installed these descriptors for this call, and
                // nothing else knows their numbers yet.
                descriptors.extend(raw.iter().map(|raw| unsafe { OwnedFd::from_raw_fd(*raw) }));
            }
        }
        let (length, flags) = (received.bytes, received.flags);
        if flags.intersects(TRUNCATED) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if length == 0 {
            return Ok(None);
        }
        bytes.truncate(length);
        Ok(Some(Message { bytes, descriptors, lost: false }))
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

/// The message was longer than its place, or its descriptors did not get in.
const TRUNCATED: MsgFlags = MsgFlags::MSG_TRUNC.union(MsgFlags::MSG_CTRUNC);

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// The most descriptors in one message; the kernel's own limit is 253 (`SCM_MAX_FD`).
pub const DESCRIPTORS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

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
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Channel::adopt(one.into()).is_err());
        let (one, _other) = Channel::pair().unwrap();
        assert!(Channel::adopt(one.into()).is_ok());
    }
}
