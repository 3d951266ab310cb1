//! Giving up what a running process does not need: its user, its capabilities, the way to new
//! ones, system calls and files.
//!
//! A thread inherits all of it from the one that starts it, so it is done before other threads
//! start. Each step stands by itself, and each can be switched off: what one lets through, the
//! next may stop. io_uring is a case in point: operations of a ring are no system calls and pass
//! the filter, so that capabilities and files are taken away, too.

mod capabilities;
mod files;
mod settings;
mod status;
mod system_calls;
mod user;

use std::io;
use std::path::PathBuf;

use caps::errors::CapsError;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{AccessFlags, access};
use tracing::warn;

pub use self::capabilities::{SOCKET_CAPABILITIES, has_socket_capabilities};
pub use self::files::Files;
pub use self::settings::PrivilegeSettings;
pub use self::status::{BrokerState, Confinement, Landlock};
pub use self::system_calls::{Allowed, allowed_names};
pub use self::user::FutureUser;
use self::user::User;

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error(
        "there is no user {user}; make it (`useradd --system --no-create-home {user}`), or name \
         another in privileges.user"
    )]
    NoUser {
        /// The name from the configuration.
        user: String,
    },
    /// The system does not let the process become that user.
    #[error(
        "cannot become user {user}; inside a user namespace it may have no number: set \
         privileges.switch_user = false there"
    )]
    User {
        /// Its name or number.
        user: String,
        /// What the kernel said.
        source: Errno,
    },
    /// Capabilities stay.
    #[error("cannot drop capabilities")]
    Capabilities(#[source] CapsError),
    /// New privileges stay possible.
    #[error("cannot set no_new_privs")]
    NoNewPrivileges(#[source] Errno),
}

/// What a process still does when it has given up the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serve: no capability at all.
    Serve,
    /// Open sockets for the process that serves: [`SOCKET_CAPABILITIES`].
    Broker,
}

/// Gives up what `settings` name, for this thread and all that it starts. Reads user names, so
/// the files that this takes have to be readable before.
///
/// # Errors
/// When the user or the capabilities cannot be given up. A kernel without seccomp or Landlock is
/// a warning.
pub fn confine(
    settings: &PrivilegeSettings,
    role: Role,
    files: &Files,
) -> Result<Confinement, PrivilegeError> {
    let before = capabilities::permitted()?;
    let keep = match role {
        _ if !settings.drop_capabilities => before,
        Role::Serve => capabilities::none(),
        Role::Broker => capabilities::sockets(&before),
    };
    if settings.drop_capabilities {
        capabilities::bound(&keep)?;
    }
    if settings.switch_user && nix::unistd::geteuid().is_root() {
        become_user(settings, &keep)?;
    }
    capabilities::set(&keep)?;
    if settings.no_new_privileges {
        prctl::set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)?;
    }
    let landlock = if settings.landlock {
        files::restrict(files, settings.no_new_privileges)
    } else {
        Landlock::Off
    };
    let allowed = match role {
        Role::Serve => Allowed::Serve,
        Role::Broker => Allowed::Broker,
    };
    if settings.seccomp
        && let Err(error) = system_calls::restrict(allowed)
    {
        warn!("system calls are not filtered: {error}");
    }
    Ok(Confinement { landlock, ..Confinement::of_this_thread() })
}

/// Becomes the configured user. Where nobody asked for one by name, failing is a warning: user
/// namespaces often have no other user than root.
fn become_user(
    settings: &PrivilegeSettings,
    keep: &caps::CapsHashSet,
) -> Result<(), PrivilegeError> {
    let user = User::find(settings.user.as_deref())?;
    match user.switch(!keep.is_empty()) {
        Err(error) if settings.user.is_none() => {
            warn!("still root: {error}: {}", io::Error::from(user::errno_of(&error)));
            Ok(())
        }
        switched => switched,
    }
}

/// Which of these directories this process may not write to.
pub fn unwritable(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let denied = |path: &PathBuf| access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_err();
    directories.into_iter().filter(denied).collect()
}

/// Which of `paths` this process may not read. They are not opened: a pipe would wait.
pub fn unreadable(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let denied = |path: &PathBuf| access(path, AccessFlags::R_OK) == Err(Errno::EACCES);
    paths.into_iter().filter(denied).collect()
}
