//! What connects one process with the one before and the next: the state directory, the key of
//! connection IDs, and the sockets that are taken over or handed over.

use std::path::Path;

use tracing::warn;

use super::config::{Settings, TrackerConfig};
use super::error::StartupError;
use super::persist::takeover::{Offer, take_over};
use super::persist::{StateDirectory, StateError};
use super::sandbox::FutureUser;
use crate::sys::fd_bundle::Inherited;
use crate::tracker::udp::connection_key::{key_from_file, random_key};

/// Opens the state directory, and takes over the sockets of the process that uses it, if there is
/// one and the settings ask for that. Without a tracker, the directory serves takeovers only.
pub(super) fn open_state(
    settings: &Settings,
    workers: usize,
    user: &FutureUser,
) -> Result<(Option<StateDirectory>, Option<Inherited>), StartupError> {
    let Some(path) = settings.used_state_directory() else { return Ok((None, None)) };
    if let Some(owner) = user.owner() {
        StateDirectory::hand_over(path, owner)?;
    }
    let open = || open_or_take_over(settings, path, &serves(settings, workers));
    Ok(user.act(open)??)
}

fn open_or_take_over(
    settings: &Settings,
    path: &Path,
    serves: &str,
) -> Result<(Option<StateDirectory>, Option<Inherited>), StateError> {
    match StateDirectory::open(path) {
        Err(StateError::InUse { .. }) if settings.state.takeover => {}
        opened => return Ok((Some(opened?), None)),
    }
    // A wrong key file is to be found before the other process stops.
    let key_file =
        settings.tracker.as_ref().and_then(|tracker| tracker.connection_key_file.as_ref());
    key_file.map(|file| key_from_file(file)).transpose()?;
    match take_over(&StateDirectory::handover(path), serves) {
        // The other process has ended, or does not hand over: then the directory is still in use.
        Ok(sockets) => Ok((Some(StateDirectory::open(path)?), sockets)),
        Err(source) => {
            let path = path.to_owned();
            Err(StateError::Io { path, verb: "taken over from the process that has it", source })
        }
    }
}

/// Waits for a process that takes over, where the settings allow that.
pub(super) fn offer(
    settings: &Settings,
    workers: usize,
    state: Option<&StateDirectory>,
) -> Result<Option<Offer>, StartupError> {
    let Some(state) = state.filter(|_| settings.state.takeover) else { return Ok(None) };
    let path = StateDirectory::handover(state.path());
    Offer::start(path, serves(settings, workers)).map(Some).map_err(StartupError::Handover)
}

/// What two processes must have in common for one to take the other's sockets. The relay's sockets
/// are checked one by one.
fn serves(settings: &Settings, workers: usize) -> String {
    let Some(tracker) = &settings.tracker else { return "no tracker\n".to_owned() };
    let listen: Vec<String> = tracker.listen.iter().map(ToString::to_string).collect();
    format!("workers {workers}\nlisten {}\n", listen.join(" "))
}

/// The key of connection IDs: from the file that is named, from the state directory, or random.
pub(super) fn connection_key(
    tracker: &TrackerConfig,
    state: Option<&StateDirectory>,
    user: &FutureUser,
) -> Result<[u8; 16], StartupError> {
    let Some(file) = &tracker.connection_key_file else {
        return match state {
            Some(state) => Ok(user.act(|| state.connection_key())??),
            None => Ok(random_key()?),
        };
    };
    let key = key_from_file(file)?;
    if key.too_open {
        warn!(
            "{} can be read by others; whoever has it can forge connection IDs (chmod 600)",
            file.display()
        );
    }
    Ok(key.key)
}
