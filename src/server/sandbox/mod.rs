//! Dropping what a running process does not need: its user, its capabilities, new privileges,
//! system calls and files.
//!
//! A thread inherits its restrictions from the thread that starts it, so this happens before other
//! threads start. The steps are independent and each can be switched off; what one lets through,
//! the next may stop. io_uring shows why: a ring's operations are not system calls and pass the
//! filter, so capabilities and files are dropped as well.

mod capabilities;
mod error;
mod files;
mod settings;
mod status;
mod system_calls;
mod user;

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{AccessFlags, access};
use tracing::warn;

pub use self::capabilities::{SOCKET_CAPABILITIES, has_socket_capabilities};
pub use self::error::PrivilegeError;
pub use self::files::Files;
pub use self::settings::PrivilegeSettings;
pub use self::status::{BrokerState, Confinement, Landlock};
pub use self::system_calls::{Allowed, allowed_names};
pub use self::user::FutureUser;
use self::user::User;

/// What a process is for, and with it what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves traffic: keeps no capability.
    Serve,
    /// Opens sockets for the serving process: keeps [`SOCKET_CAPABILITIES`].
    Broker,
}

/// Drops what `settings` say, for this thread and every thread that it starts. Looks up users
/// first, so the user database must still be readable.
///
/// # Errors
/// When the user or the capabilities cannot be changed. A kernel without seccomp or Landlock only
/// causes a warning.
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

/// Becomes the configured user. When none is configured, failure is only a warning: user
/// namespaces often have no user but root.
fn become_user(
    settings: &PrivilegeSettings,
    keep: &caps::CapsHashSet,
) -> Result<(), PrivilegeError> {
    let user = User::find(settings.user.as_deref())?;
    match user.switch(!keep.is_empty()) {
        Err(error) if settings.user.is_none() => {
            warn!("still root: {error}: {}", io::Error::from(error.errno()));
            Ok(())
        }
        switched => switched,
    }
}

/// Those of these directories that this process may not write to.
pub fn unwritable(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let denied = |path: &PathBuf| access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_err();
    directories.into_iter().filter(denied).collect()
}

/// Those of `paths` that this process may not read. They are not opened: a pipe would block.
pub fn unreadable(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let denied = |path: &PathBuf| access(path, AccessFlags::R_OK) == Err(Errno::EACCES);
    paths.into_iter().filter(denied).collect()
}
