//! Why privileges could not be dropped.

use caps::errors::CapsError;
use nix::errno::Errno;

/// Why privileges could not be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error(
        "there is no user {user}; create it (`useradd --system --no-create-home {user}`), or name \
         another in privileges.user"
    )]
    NoUser {
        /// The name from the configuration.
        user: String,
    },
    /// The process cannot become that user.
    #[error(
        "cannot become user {user}; inside a user namespace it may have no number: set \
         privileges.switch_user = false there"
    )]
    User {
        /// Its name or number.
        user: String,
        /// The kernel's error.
        source: Errno,
    },
    /// Capabilities cannot be read or dropped.
    #[error("cannot drop capabilities")]
    Capabilities(#[source] CapsError),
    /// New privileges cannot be ruled out.
    #[error("cannot set no_new_privs")]
    NoNewPrivileges(#[source] Errno),
}

impl PrivilegeError {
    /// The kernel's error number, where there is one.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::User { source, .. } | Self::NoNewPrivileges(source) => *source,
            Self::NoUser { .. } | Self::Capabilities(_) => Errno::UnknownErrno,
        }
    }
}
