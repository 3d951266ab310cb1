//! What goes on beside the work: signals, and a line of progress now and then.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::error::TrafficError;
use super::summary::rates;
use crate::sys::signals::{Event, Signals};
use crate::values::units::grouped;

/// What the working thread shares with the watching one.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stop: AtomicBool,
    packets: AtomicU64,
    bytes: AtomicU64,
    trouble: AtomicU64,
}

impl Shared {
    /// Whether a signal asked to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks to stop.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Tells how far the work is.
    pub(super) fn report(&self, packets: u64, bytes: u64) {
        self.packets.store(packets, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Tells the figure that should stay 0.
    pub(super) fn tell_trouble(&self, trouble: u64) {
        self.trouble.store(trouble, Ordering::Relaxed);
    }
}

/// How the lines of progress name things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wording {
    /// What happens to datagrams: "sent" or "received".
    pub(super) done: &'static str,
    /// What should stay 0.
    pub(super) trouble: &'static str,
}

/// Runs `work` on a thread of its own until it is done; meanwhile prints progress on standard
/// error, and asks it to stop on SIGINT or SIGTERM. A second such signal ends the process.
///
/// # Errors
/// Those of `work`, and when signals or threads are unavailable.
pub(super) fn watched<R: Send>(
    wording: Wording,
    work: impl FnOnce(&Shared) -> Result<R, TrafficError> + Send,
) -> Result<R, TrafficError> {
    // Before the thread starts, which inherits the signal mask.
    let mut signals = Some(Signals::block().map_err(TrafficError::Start)?);
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let done = EventFd::from_flags(flags).map_err(|error| TrafficError::Start(error.into()))?;
    let shared = Shared::default();
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("traffic".to_owned())
            .spawn_scoped(scope, || {
                let _done = Announce(&done);
                work(&shared)
            })
            .map_err(TrafficError::Start)?;
        let mut progress = Progress::new(wording);
        while !worker.is_finished() {
            let until_line = progress.until_next();
            let stopping = wait(signals.as_mut(), &done, until_line).map_err(TrafficError::Start);
            match stopping {
                Ok(false) => progress.print_if_due(&shared),
                Ok(true) => {
                    shared.stop();
                    // Unblocked, the next signal has its default action.
                    let _ = signals.take().map(Signals::release);
                }
                Err(error) => {
                    shared.stop();
                    return Err(error);
                }
            }
        }
        progress.end();
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Waits for a signal, the end of the work or the time. Returns whether to stop.
fn wait(signals: Option<&mut Signals>, done: &EventFd, time: Duration) -> io::Result<bool> {
    let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
    let mut descriptors = vec![PollFd::new(done.as_fd(), PollFlags::POLLIN)];
    if let Some(signals) = signals.as_deref() {
        descriptors.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut descriptors, PollTimeout::from(millis)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    drop(descriptors);
    let Some(signals) = signals else { return Ok(false) };
    Ok(signals.wait(Some(Duration::ZERO), &[])? == Event::Stop)
}

/// Tells the waiting thread that the work ended, however it did.
struct Announce<'a>(&'a EventFd);

impl Drop for Announce<'_> {
    fn drop(&mut self) {
        // The counter of an event descriptor that is written once does not overflow.
        let _ = self.0.write(1);
    }
}

/// Prints the state of things: each second over the last line on a terminal, else line by line.
struct Progress {
    wording: Wording,
    terminal: bool,
    started: Instant,
    last: Instant,
    packets: u64,
    bytes: u64,
    /// Whether the cursor stands behind a line of ours.
    open: bool,
}

impl Progress {
    fn new(wording: Wording) -> Self {
        let now = Instant::now();
        let terminal = io::stderr().is_terminal();
        Self { wording, terminal, started: now, last: now, packets: 0, bytes: 0, open: false }
    }

    fn until_next(&self) -> Duration {
        let interval = if self.terminal { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
        interval.saturating_sub(self.last.elapsed())
    }

    fn print_if_due(&mut self, shared: &Shared) {
        if !self.until_next().is_zero() {
            return;
        }
        let now = Instant::now();
        let seconds = (now - self.last).as_secs_f64();
        let packets = shared.packets.load(Ordering::Relaxed);
        let bytes = shared.bytes.load(Ordering::Relaxed);
        let (rate, mbit) = rates(packets - self.packets, bytes - self.bytes, seconds);
        let line = format!(
            "{:.0} s: {} {}, {} packets/s, {} Mbit/s, {} {}",
            (now - self.started).as_secs_f64(),
            self.wording.done,
            grouped(packets),
            grouped(rate.round() as u64),
            grouped(mbit.round() as u64),
            self.wording.trouble,
            shared.trouble.load(Ordering::Relaxed)
        );
        (self.last, self.packets, self.bytes) = (now, packets, bytes);
        self.open = self.terminal;
        // Progress that nobody can read is no reason to end the measurement.
        let _ = match self.terminal {
            true => write!(io::stderr(), "\r{line}\x1b[K"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }

    /// Leaves the cursor at the beginning of a line.
    fn end(&mut self) {
        if self.open {
            let _ = writeln!(io::stderr());
        }
    }
}

const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Prints a warning on standard error.
pub(super) fn warn(message: &str) {
    let _ = writeln!(io::stderr(), "ringtide: warning: {message}");
}
