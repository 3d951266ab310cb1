//! Waiting for signals and descriptors with a deadline (signalfd(2), poll(2)).

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
    /// One of the other descriptors has something to read.
    News,
    /// The time was up.
    Timeout,
}

/// The process's signals, blocked in every thread and taken here one by one.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    /// The signal that asked to stop.
    stopped_by: Option<Signal>,
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
        Ok(Self { descriptor: SignalFd::with_flags(&set, flags)?, stopped_by: None })
    }

    /// Waits for the next signal, or until one of `others` is readable, at most for
    /// `timeout`; without one, for as long as it takes.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Event> {
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            // Rounded up, so that the caller's deadline has passed when this returns.
            let millis = timeout.as_micros().div_ceil(1000);
            PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
        });
        let watched = std::iter::once(self.descriptor.as_fd()).chain(others.iter().copied());
        let mut descriptors: Vec<PollFd<'_>> =
            watched.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let news = descriptors.iter().skip(1).any(|other| other.any() == Some(true));
        let Some(signal) = self.descriptor.read_signal()? else {
            return Ok(if news { Event::News } else { Event::Timeout });
        };
        if signal.ssi_signo == Signal::SIGHUP as u32 {
            return Ok(Event::Reload);
        }
        let interrupted = signal.ssi_signo == Signal::SIGINT as u32;
        self.stopped_by = Some(if interrupted { Signal::SIGINT } else { Signal::SIGTERM });
        Ok(Event::Stop)
    }

    /// Lets the next SIGINT or SIGTERM end the process at once, by its default action.
    ///
    /// A repetition of the signal that stopped the process is ignored for a moment: a terminal or
    /// timeout(1) signals the process and then its whole group. SIGHUP stays blocked, so that a
    /// late reload ends nothing.
    pub fn release(self) -> io::Result<()> {
        let (mut other, mut same) = (SigSet::empty(), SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let set = if self.stopped_by == Some(signal) { &mut same } else { &mut other };
            set.add(signal);
        }
        other.thread_unblock()?;
        // A signal to the process goes to any thread that takes it.
        std::thread::Builder::new().name("second-signal".into()).spawn(move || {
            std::thread::sleep(ECHO_WINDOW);
            while self.descriptor.read_signal().is_ok_and(|signal| signal.is_some()) {}
            same.thread_unblock()
        })?;
        Ok(())
    }
}

impl AsFd for Signals {
    /// Readable when a signal is pending, for a wait that is also for other things.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// How long a repeated signal counts as the same one.
const ECHO_WINDOW: Duration = Duration::from_millis(200);
