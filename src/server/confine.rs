//! The second stage: the process has given up what it does not need any more.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::broker::{Broker, BrokerError};
use super::config::{ControlSocket, Settings};
use super::open::Opened;
use super::sandbox::{
    BrokerState, Confinement, Files, FutureUser, PrivilegeError, Role, confine,
    has_socket_capabilities, unreadable, unwritable,
};
use crate::values::path::directory_of;

/// Everything is open, and the rights that this took are given up. Threads may start: they inherit
/// what was given up.
pub struct Confined {
    pub(super) opened: Opened,
    pub(super) confinement: Confinement,
}

impl Opened {
    /// Gives up what `settings` say and logs what remains. To be called before other threads
    /// start.
    ///
    /// # Errors
    /// As [`confine`].
    pub fn confine(
        self,
        settings: &Settings,
        user: &FutureUser,
    ) -> Result<Confined, PrivilegeError> {
        let confinement = give_up(settings, self.broker_pid, user)?;
        Ok(Confined { opened: self, confinement })
    }

    /// Goes on with all privileges that the process has.
    pub fn unconfined(self) -> Confined {
        Confined { opened: self, confinement: Confinement::of_this_thread() }
    }
}

/// Starts the broker where it is useful: with a relay, and capabilities that are about to be
/// dropped. Without it, the process opens sockets itself. To be called before other threads start.
///
/// # Errors
/// When it does not start.
pub fn start_broker(settings: &Settings) -> Result<Option<Broker>, BrokerError> {
    let privileges = &settings.privileges;
    let useful = settings.relay.is_some() && privileges.broker && privileges.drop_capabilities;
    if !useful || !has_socket_capabilities() {
        return Ok(None);
    }
    Broker::start().map(Some)
}

fn give_up(
    settings: &Settings,
    broker_pid: Option<u32>,
    user: &FutureUser,
) -> Result<Confinement, PrivilegeError> {
    let files = files(settings, user.uid());
    let confinement = confine(&settings.privileges, Role::Serve, &files)?;
    let broker = broker_pid.map_or(BrokerState::None, |_| BrokerState::Up);
    let confinement = Confinement { broker_pid, broker, ..confinement };
    info!("privileges: {confinement}");
    for path in unreadable(read_again(settings)) {
        warn!(
            "{} cannot be read any more: a reload will fail; let user {} read it, or name another \
             in privileges.user",
            path.display(),
            confinement.uid
        );
    }
    for path in unwritable(written(settings)) {
        warn!(
            "user {} cannot write to {}: what belongs there will not be saved; give the directory \
             to that user (`chown`), or name another in privileges.user",
            confinement.uid,
            path.display()
        );
    }
    Ok(confinement)
}

/// What stays within reach of the user with the number `user`.
fn files(settings: &Settings, user: u32) -> Files {
    let own = ["/proc/self", "/proc/sys/kernel", "/proc/sys/net", "/sys/devices/system/cpu"];
    let own = own.into_iter().map(PathBuf::from);
    // Backtraces name functions from the program's own file.
    let program = std::env::current_exe().ok();
    // A file that is replaced by another of its name is found through its directory.
    let directories = read_again(settings).map(|file| directory_of(&file));
    // `ctl config save` replaces files, which takes writing beside them.
    let is_users = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.uid() == user);
    let saved = read_again(settings).filter(is_users).map(|file| directory_of(&own_path(file)));
    let systemd = SYSTEMD_DIRECTORIES.iter().flat_map(|name| listed(name));
    let socket = control_socket(settings).map(|socket| directory_of(&socket));
    Files {
        readable: own.chain(program).chain(directories).collect(),
        writable: systemd.chain(written(settings)).chain(socket).chain(saved).collect(),
    }
}

/// Directories where something is kept between runs, or written for others.
fn written(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let state = settings.used_state_directory().map(Path::to_owned);
    let export = settings.export.file.as_deref().filter(|_| settings.tracker.is_some());
    state.into_iter().chain(export.map(directory_of))
}

/// Where the control socket would be; it is taken away in the end.
fn control_socket(settings: &Settings) -> Option<PathBuf> {
    match &settings.control.socket {
        ControlSocket::Off => None,
        ControlSocket::At(path) => Some(path.clone()),
        ControlSocket::Usual => ControlSocket::usual(),
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
    std::env::split_paths(&value).filter(|path| path.is_absolute()).map(own_path).collect()
}

fn own_path(path: PathBuf) -> PathBuf {
    // As it is now: a link is not followed anew later.
    Path::canonicalize(&path).unwrap_or(path)
}

/// The directories that systemd makes for a service.
const SYSTEMD_DIRECTORIES: [&str; 2] = ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"];
