//! What error numbers of socket calls mean (errno(3), socket(7)), so that each socket's own error
//! says it in its own words.

use std::io;

/// The common causes of a refused socket call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The address is in use (`EADDRINUSE`).
    InUse,
    /// A missing right, or a firewall (`EPERM`, `EACCES`).
    Permission,
    /// No interface has the address (`EADDRNOTAVAIL`).
    NotLocal,
    /// There is no route (`ENETUNREACH`, `EHOSTUNREACH`).
    Unreachable,
    /// The interface is gone (`ENODEV`, `ENXIO`).
    NoDevice,
    /// The kernel lacks the address family or protocol (`EAFNOSUPPORT`, `EPROTONOSUPPORT`).
    Unsupported,
    /// The process or the system has no descriptors left (`EMFILE`, `ENFILE`).
    TooManyFiles,
    /// The kernel has no memory for this, or a limit was reached (`ENOMEM`, `ENOBUFS`).
    NoMemory,
    /// Anything else.
    Other,
}

impl Cause {
    /// The cause of an error.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse,
            Some(libc::EPERM | libc::EACCES) => Self::Permission,
            Some(libc::EADDRNOTAVAIL) => Self::NotLocal,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => Self::Unreachable,
            Some(libc::ENODEV | libc::ENXIO) => Self::NoDevice,
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => Self::Unsupported,
            Some(libc::EMFILE | libc::ENFILE) => Self::TooManyFiles,
            Some(libc::ENOMEM | libc::ENOBUFS) => Self::NoMemory,
            _ => Self::Other,
        }
    }
}

/// The number of an error, `EIO` for one that the system did not number.
pub(crate) fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
