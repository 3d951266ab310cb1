//! Why `ringtide ctl` failed.

use std::io;
use std::path::PathBuf;

use crate::error::Remedy;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// Nothing answers at the socket.
    #[error("no ringtide answers at {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This user may not use the socket.
    #[error("this user may not use the control socket {}", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The server speaks another protocol, or stopped halfway.
    #[error("cannot read the answer from {}: {reason}", path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The process refused.
    #[error("{error}")]
    Refused {
        /// Its reason.
        error: String,
        /// Its advice.
        advice: String,
    },
    /// A file that the command names cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The process was asked to stop and has not.
    #[error("ringtide (process {pid}) is still running after {waited}")]
    StillThere {
        /// Its process ID.
        pid: u32,
        /// How long the client waited.
        waited: String,
    },
    /// An argument cannot be used.
    #[error("{0}")]
    Argument(String),
    /// Standard output is closed or full.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl CtlError {
    /// Whether no process was reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Forbidden { .. })
    }

    /// Whether the arguments are wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Argument(_))
    }
}

impl Remedy for CtlError {
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start ringtide, or name its socket with --socket; its log shows the path, or why \
                 there is none"
                    .to_owned(),
            ),
            Self::Forbidden { .. } => Some(
                "run this as the user or a member of the group that the socket belongs to \
                 (control.group in the configuration)"
                    .to_owned(),
            ),
            Self::Garbled { .. } => {
                Some("use the same version of ringtide on both sides".to_owned())
            }
            Self::Refused { advice, .. } => Some(advice.clone()).filter(|text| !text.is_empty()),
            Self::StillThere { pid, .. } => {
                Some(format!("see its log for what it is doing; `kill {pid}` stops it at once"))
            }
            Self::File { .. } | Self::Argument(_) | Self::Output(_) => None,
        }
    }
}
