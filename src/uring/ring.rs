//! The queues of a ring, and why there may be none.

use std::fmt;
use std::io;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter};

use super::faults::refused;
use super::token::Token;
use crate::io::fault_injection::{Operation, refusal};
use crate::io::{RingFeature, RingFeatures};
use crate::sys::memory::MapError;

/// Both queues of a ring and the way to submit, borrowed for the life of a loop.
pub(super) struct Queues<'r> {
    pub(super) submitter: Submitter<'r>,
    pub(super) submissions: SubmissionQueue<'r>,
    pub(super) completions: CompletionQueue<'r>,
    /// Receives whose last completion has not been reaped.
    pub(super) receives_pending: u32,
    /// Cancellations whose completion has not been reaped.
    pub(super) cancels_pending: u32,
    /// The most receives and cancellations in flight: the completion queue has room for no more.
    operations_max: u32,
    /// What the ring has.
    pub(super) features: RingFeatures,
}

impl<'r> Queues<'r> {
    /// Splits a ring that has `features` and registers its descriptor, which spares a look-up in
    /// every enter.
    pub(super) fn of(
        ring: &'r mut IoUring,
        mut features: RingFeatures,
        operations_max: u32,
    ) -> Self {
        let (mut submitter, submissions, completions) = ring.split();
        // The saving is small: where the kernel refuses, going without is fine.
        if features.has(RingFeature::RegisteredRing) && submitter.register_ring_fd().is_err() {
            features = features.without(RingFeature::RegisteredRing);
        }
        let (receives_pending, cancels_pending) = (0, 0);
        Self {
            submitter,
            submissions,
            completions,
            receives_pending,
            cancels_pending,
            operations_max,
            features,
        }
    }

    /// Whether one more receive or cancellation may be in flight.
    fn have_room(&self) -> bool {
        self.receives_pending + self.cancels_pending < self.operations_max
    }

    /// Queues a receive. False when as many operations are in flight as may be, or the kernel takes
    /// nothing just now: the caller tries again in another iteration.
    ///
    /// # Safety
    /// As [`push`].
    pub(super) unsafe fn receive(&mut self, entry: &Entry) -> bool {
        // SAFETY: the caller vouches for the entry.
        let pushed =
            self.have_room() && unsafe { push(&mut self.submissions, &self.submitter, entry) };
        self.receives_pending += u32::from(pushed);
        pushed
    }

    /// Queues a cancellation. False as for [`Self::receive`].
    pub(super) fn cancel(&mut self, entry: Entry) -> bool {
        self.have_room() && self.cancel_all(entry)
    }

    /// Queues the cancellation of everything, for which there is always room. False when the kernel
    /// takes nothing just now.
    pub(super) fn cancel_all(&mut self, entry: Entry) -> bool {
        let entry = entry.user_data(Token::Cancel.encode());
        // SAFETY: a cancellation points to no memory.
        let pushed = unsafe { push(&mut self.submissions, &self.submitter, &entry) };
        self.cancels_pending += u32::from(pushed);
        pushed
    }

    /// Submits without waiting. False when the kernel does not take everything just now.
    pub(super) fn submit(&mut self) -> io::Result<bool> {
        self.submissions.sync();
        let submitted = self.submitter.submit().map(drop);
        self.submissions.sync();
        ignore_transient(submitted)?;
        Ok(self.submissions.is_empty())
    }

    /// Submits everything and waits for `want` completions, at most for `wait`.
    pub(super) fn submit_and_wait(&mut self, want: usize, wait: Duration) -> io::Result<()> {
        self.submissions.sync();
        // The kernel must know what was reaped, or it takes that for what is being waited for.
        self.completions.sync();
        let timespec = Timespec::from(wait);
        let arguments = SubmitArgs::new().timespec(&timespec);
        let entered = match refusal(Operation::Wait) {
            None => self.submitter.submit_with_args(want, &arguments).map(drop),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        };
        self.submissions.sync();
        self.completions.sync();
        ignore_transient(entered)
    }
}

/// What a call ended with, unless it only has to be made again. ETIME: the wait is over. EINTR: a
/// signal for somebody else. EBUSY and EAGAIN: the kernel wants completions reaped, or memory
/// freed, before it takes more.
fn ignore_transient(entered: io::Result<()>) -> io::Result<()> {
    match entered {
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
        entered => entered,
    }
}

impl Drop for Queues<'_> {
    fn drop(&mut self) {
        // The registration belongs to the thread and would keep the ring alive past its loop. It
        // fails only when there is none.
        let _ = self.submitter.unregister_ring_fd();
    }
}

/// Puts an entry into the submission queue, submitting what is there when it is full. `false`
/// when the kernel takes nothing just now.
///
/// # Safety
/// What the entry points to stays valid and in place until its completion.
pub(super) unsafe fn push(
    submissions: &mut SubmissionQueue<'_>,
    submitter: &Submitter<'_>,
    entry: &Entry,
) -> bool {
    let refused = refused(entry);
    let entry = refused.as_ref().unwrap_or(entry);
    // SAFETY: the caller vouches for the entry; one that stands in for it points nowhere.
    if unsafe { submissions.push(entry) }.is_ok() {
        return true;
    }
    submissions.sync();
    if submitter.submit().is_err() {
        return false;
    }
    submissions.sync();
    // SAFETY: as above.
    unsafe { submissions.push(entry) }.is_ok()
}

/// Why no ring could be built, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Multishot receives need Linux 6.0.
    #[error(
        "this kernel ({release}) is too old for ringtide's io_uring loop; it needs 6.0 or later"
    )]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// The operator switched off what the engine cannot do without.
    #[error("{} is switched off by io_uring_without, and no io_uring loop does without it",
        feature.name())]
    NeededFeatureOff {
        /// The feature.
        feature: RingFeature,
    },
    /// `kernel.io_uring_disabled` is 1 or 2.
    #[error(
        "io_uring is switched off here (kernel.io_uring_disabled = {level}); \
         allow it with `sysctl -w kernel.io_uring_disabled=0`{}",
        if *level == 1 { ", or put this user into the group kernel.io_uring_group" } else { "" }
    )]
    Disabled {
        /// The sysctl's value.
        level: u8,
    },
    /// A container runtime or a service manager filters the system call.
    #[error(
        "io_uring is forbidden here, most likely by a seccomp filter of the container runtime \
         or the service manager; allow io_uring_setup, io_uring_enter and io_uring_register \
         (for Docker or Podman: --security-opt seccomp=PROFILE with these calls added)"
    )]
    Forbidden,
    /// The kernel was built without io_uring.
    #[error(
        "this kernel ({release}) has no io_uring: it was built without CONFIG_IO_URING, or a \
         seccomp filter hides it"
    )]
    Missing {
        /// `uname -r`.
        release: String,
    },
    /// Not enough lockable memory.
    #[error(
        "not enough memory for the ring; raise the locked-memory limit \
         (`ulimit -l`, or LimitMEMLOCK= in a systemd unit), now {limit}"
    )]
    Memory {
        /// The present limit.
        limit: MemoryLimit,
    },
    /// Too many open files.
    #[error("too many open files to build a ring; raise the limit (`ulimit -n`)")]
    TooManyFiles,
    /// Not enough memory for the buffers.
    #[error(transparent)]
    Buffers(#[from] MapError),
    /// Anything else.
    #[error("the io_uring loop could not be built")]
    Other(#[source] io::Error),
}

impl RingError {
    /// Finds the likely cause behind what the kernel said.
    pub(super) fn explain(error: io::Error) -> Self {
        Self::from_signs(error, disabled_level(), kernel_release())
    }

    fn from_signs(error: io::Error, disabled_level: u8, release: String) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM) if disabled_level > 0 => Self::Disabled { level: disabled_level },
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::ENOSYS) => Self::Missing { release },
            Some(libc::EINVAL) => Self::KernelTooOld { release },
            Some(libc::ENOMEM) => Self::Memory { limit: MemoryLimit::current() },
            Some(libc::EMFILE | libc::ENFILE) => Self::TooManyFiles,
            _ => Self::Other(error),
        }
    }
}

/// A locked-memory limit, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit(u64);

impl MemoryLimit {
    fn current() -> Self {
        use nix::sys::resource::{Resource, getrlimit};
        Self(getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft))
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            libc::RLIM_INFINITY => f.write_str("unlimited"),
            bytes => write!(f, "{} KiB", bytes / 1024),
        }
    }
}

fn disabled_level() -> u8 {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

pub(super) fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".into(), |name| name.release().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32, disabled: u8) -> String {
        RingError::from_signs(io::Error::from_raw_os_error(errno), disabled, "5.4.0".into())
            .to_string()
    }

    #[test]
    fn every_sign_names_its_remedy() {
        for (errno, disabled, remedy) in [
            (libc::EPERM, 2, "sysctl -w kernel.io_uring_disabled=0"),
            (libc::EPERM, 1, "kernel.io_uring_group"),
            (libc::EPERM, 0, "seccomp"),
            (libc::ENOSYS, 0, "CONFIG_IO_URING"),
            (libc::EINVAL, 0, "5.4.0"),
            (libc::ENOMEM, 0, "ulimit -l"),
            (libc::EMFILE, 0, "ulimit -n"),
        ] {
            let text = explained(errno, disabled);
            assert!(text.contains(remedy), "{errno} {disabled}: {text}");
        }
    }
}
