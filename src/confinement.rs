//! What this process still needs when everything is open, by its settings.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::broker::{Broker, BrokerError, Opener};
use crate::config::{Settings, directory_of};
use crate::privileges::{
    Confinement, Files, PrivilegeError, Role, confine, has_socket_capabilities, unreadable,
};

/// Starts the broker where one is of use: with a relay, and capabilities that are about to be
/// dropped. To be called before other threads start.
///
/// # Errors
/// When it does not start.
pub fn opener(settings: &Settings) -> Result<Opener, BrokerError> {
    let privileges = &settings.privileges;
    let useful = settings.relay.is_some() && privileges.broker && privileges.drop_capabilities;
    if !useful || !has_socket_capabilities() {
        return Ok(Opener::default());
    }
    Broker::start().map(Opener::through)
}

/// Gives up what `settings` say and logs what is in force. To be called when everything is open
/// that needs more, and before other threads start.
///
/// # Errors
/// As [`confine`].
pub fn give_up(settings: &Settings, opener: Option<u32>) -> Result<Confinement, PrivilegeError> {
    let confinement = confine(&settings.privileges, Role::Serve, &files(settings))?;
    let confinement = Confinement { broker_pid: opener, ..confinement };
    info!("privileges: {confinement}");
    for path in unreadable(read_again(settings)) {
        warn!(
            "{} cannot be read any more: a reload will fail; let user {} read it, or name another \
             in privileges.user",
            path.display(),
            confinement.uid
        );
    }
    Ok(confinement)
}

/// What stays within reach.
fn files(settings: &Settings) -> Files {
    let own = ["/proc/self", "/proc/sys/kernel", "/proc/sys/net", "/sys/devices/system/cpu"];
    let own = own.into_iter().map(PathBuf::from);
    // Backtraces name functions from the program's own file.
    let program = std::env::current_exe().ok();
    // A file that is replaced by another of its name is found through its directory.
    let directories = read_again(settings).map(|file| directory_of(&file));
    Files {
        readable: own.chain(program).chain(directories).collect(),
        writable: SYSTEMD_DIRECTORIES.iter().flat_map(|name| listed(name)).collect(),
    }
}

/// What SIGHUP reads again.
fn read_again(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let access = settings.tracker.as_ref().and_then(|tracker| tracker.access.as_ref());
    settings.file.iter().cloned().chain(access.map(|access| access.file.clone()))
}

/// The directories that a variable of systemd lists (systemd.exec(5), `RuntimeDirectory=`).
fn listed(variable: &str) -> Vec<PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| path.is_absolute()).map(own).collect()
}

fn own(path: PathBuf) -> PathBuf {
    // As it is now: a link is not followed anew later.
    Path::canonicalize(&path).unwrap_or(path)
}

/// The directories that systemd makes for a service.
const SYSTEMD_DIRECTORIES: [&str; 2] = ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"];
