//! Building a ring, and saying why it cannot be built.

use std::fmt;
use std::io;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, Probe, SubmissionQueue, Submitter, opcode};

use super::token::Token;
use crate::net::region::MapError;

/// Builds a ring with the cheapest task-work mode that the kernel has.
///
/// From 6.1 on only the thread that builds the ring may submit to it.
pub(super) fn open(entries: u32, completion_entries: u32) -> Result<IoUring, RingError> {
    let modern = IoUring::builder()
        .setup_cqsize(completion_entries)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(entries);
    let ring = match modern {
        // EINVAL means a flag that this kernel does not know.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::builder()
            .setup_cqsize(completion_entries)
            .setup_submit_all()
            .setup_coop_taskrun()
            .build(entries),
        other => other,
    };
    let ring = ring.map_err(RingError::explain)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(RingError::explain)?;
    // Multishot recvmsg has no opcode of its own to probe for; SEND_ZC came with the same kernel.
    if !probe.is_supported(opcode::SendZc::CODE) || !ring.params().is_feature_ext_arg() {
        return Err(RingError::KernelTooOld { release: kernel_release() });
    }
    Ok(ring)
}

/// Both queues of a ring and the way to submit, borrowed for the life of a loop.
pub(super) struct Queues<'r> {
    pub(super) submitter: Submitter<'r>,
    pub(super) submissions: SubmissionQueue<'r>,
    pub(super) completions: CompletionQueue<'r>,
    /// Cancellations whose completion has not been reaped.
    pub(super) cancels_pending: u32,
    /// Whether the kernel's `send` takes an address.
    pub(super) send_to: bool,
}

impl<'r> Queues<'r> {
    /// Splits the ring and registers its descriptor, which spares a look-up in every enter.
    pub(super) fn of(ring: &'r mut IoUring) -> Self {
        // Both came with Linux 6.1.
        let send_to = ring.params().is_setup_single_issuer();
        let (mut submitter, submissions, completions) = ring.split();
        // The saving is small: where it cannot be had, going without is fine.
        let _ = submitter.register_ring_fd();
        Self { submitter, submissions, completions, cancels_pending: 0, send_to }
    }

    /// Queues a cancellation. False when the kernel takes nothing just now.
    pub(super) fn cancel(&mut self, entry: Entry) -> bool {
        let entry = entry.user_data(Token::Cancel.encode());
        // SAFETY: a cancellation points to no memory.
        let pushed = unsafe { push(&mut self.submissions, &self.submitter, &entry) };
        self.cancels_pending += u32::from(pushed);
        pushed
    }

    /// Submits everything, without waiting.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.submissions.sync();
        let submitted = self.submitter.submit();
        self.submissions.sync();
        submitted.map(drop)
    }

    /// Submits everything without waiting, when a wait follows anyway: what the kernel does not
    /// take just now is left to that.
    pub(super) fn submit_ahead(&mut self) -> io::Result<()> {
        match self.submit() {
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
            submitted => submitted,
        }
    }

    /// Submits everything and waits for `want` completions, at most for `wait`.
    pub(super) fn submit_and_wait(&mut self, want: usize, wait: Duration) -> io::Result<()> {
        self.submissions.sync();
        // The kernel must know what was reaped, or it takes that for what is being waited for.
        self.completions.sync();
        let timespec = Timespec::from(wait);
        let arguments = SubmitArgs::new().timespec(&timespec);
        let entered = self.submitter.submit_with_args(want, &arguments);
        self.submissions.sync();
        self.completions.sync();
        match entered {
            Ok(_) => Ok(()),
            // ETIME: the wait is over. EINTR: a signal for somebody else. EBUSY and EAGAIN: the
            // kernel wants completions reaped, or memory freed, before it takes more.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
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
    // SAFETY: the caller vouches for the entry.
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

fn kernel_release() -> String {
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

    #[test]
    fn a_ring_can_be_built_here() {
        let ring = open(8, 16).unwrap();
        assert_eq!(ring.params().cq_entries(), 16);
    }
}
