//! The end of another process, as a descriptor (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A process that runs or has ended. Readable once it has ended.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// The process with this ID: a child that was not waited for yet, or any other, whose ID may
    /// have passed to another one.
    ///
    /// # Errors
    /// When there is none, or no descriptors are left.
    pub fn open(process: u32) -> io::Result<Self> {
        let process = libc::pid_t::try_from(process).map_err(|_| Errno::ESRCH)?;
        // SAFETY: the call takes two integers and reads no memory.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
        let descriptor = Errno::result(opened)? as i32;
        // SAFETY: the kernel has just installed this descriptor, which is closed on exec, for this
        // call, and nothing else knows its number yet.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Sleeps until the process has ended, at most for `timeout`. Returns whether it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut descriptors, left) {
                Err(Errno::EINTR) => {}
                Ok(0) if Instant::now() < deadline => {}
                ended => return ended.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_wait_ends_with_the_process_or_with_its_time() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = PidFd::open(child.id()).unwrap();
        assert!(!process.wait(Duration::from_millis(1)));
        drop(child.stdin.take());
        assert!(process.wait(Duration::from_secs(60)));
        child.wait().unwrap();
        assert!(process.wait(Duration::ZERO), "it stays so");
        let missing = PidFd::open(u32::MAX).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ESRCH));
    }
}
