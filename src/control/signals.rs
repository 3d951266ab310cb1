//! Signals as events of a wait with a deadline (signalfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGINT or SIGTERM: stop in good order.
    Stop,
    /// SIGHUP: read again what can change while running.
    Reload,
    /// The time was up.
    Timeout,
}

/// The process's signals, blocked in every thread and taken here one by one.
#[derive(Debug)]
pub struct Signals {
    set: SigSet,
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals. Call it before any other thread starts: threads inherit the mask.
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { set, descriptor: SignalFd::with_flags(&set, flags)? })
    }

    /// Waits for the next signal, at most for `timeout`; without one, for as long as it takes.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Event> {
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            // Rounded up, so that the caller's deadline has passed when this returns.
            let millis = timeout.as_micros().div_ceil(1000);
            PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
        });
        let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(signal) = self.descriptor.read_signal()? else { return Ok(Event::Timeout) };
        let reload = signal.ssi_signo == Signal::SIGHUP as u32;
        Ok(if reload { Event::Reload } else { Event::Stop })
    }

    /// Gives the signals back their default action: the next SIGINT or SIGTERM ends the process
    /// at once.
    pub fn release(self) -> io::Result<()> {
        Ok(self.set.thread_unblock()?)
    }
}

impl AsFd for Signals {
    /// Readable when a signal is pending, for a wait that is also for other things.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
