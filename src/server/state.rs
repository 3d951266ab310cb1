//! From settings to what a restart needs: the state directory, the key, the sockets of the process
//! before this one, and what is kept for the next.

use std::path::Path;

use tracing::warn;

use super::config::{Settings, TrackerConfig};
use super::persist::persister::PersistConfig;
use super::persist::sizes::SharedSizes;
use super::persist::takeover::{Offer, take_over};
use super::persist::{StateDirectory, StateError};
use super::process::ProcessError;
use super::sandbox::FutureUser;
use crate::sys::fd_bundle::Inherited;
use crate::tracker::udp::connection_key::{key_from_file, random_key};

/// Opens the state directory, and takes over the sockets of the process that has it, if there is
/// one and it is to be done. Without a tracker, the directory is for that alone.
pub(crate) fn open_state(
    settings: &Settings,
    workers: usize,
    user: &FutureUser,
) -> Result<(Option<StateDirectory>, Option<Inherited>), ProcessError> {
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
    // What is wrong with it is to show before the other process stops.
    let key_file =
        settings.tracker.as_ref().and_then(|tracker| tracker.connection_key_file.as_ref());
    key_file.map(|file| key_from_file(file)).transpose()?;
    match take_over(&StateDirectory::handover(path), serves) {
        // The other process has ended, or it is none that hands over: then it is still in use.
        Ok(sockets) => Ok((Some(StateDirectory::open(path)?), sockets)),
        Err(source) => {
            let path = path.to_owned();
            Err(StateError::Io { path, verb: "taken over from the process that has it", source })
        }
    }
}

/// Waits for a process to take over, where that is to be possible.
pub(crate) fn offer(
    settings: &Settings,
    workers: usize,
    state: Option<&StateDirectory>,
) -> Result<Option<Offer>, ProcessError> {
    let Some(state) = state.filter(|_| settings.state.takeover) else { return Ok(None) };
    let path = StateDirectory::handover(state.path());
    Offer::start(path, serves(settings, workers)).map(Some).map_err(ProcessError::Handover)
}

/// What two processes must have in common for one to take the other's sockets. The relay's are
/// looked at one by one.
fn serves(settings: &Settings, workers: usize) -> String {
    let Some(tracker) = &settings.tracker else { return "no tracker\n".to_owned() };
    let listen: Vec<String> = tracker.listen.iter().map(ToString::to_string).collect();
    format!("workers {workers}\nlisten {}\n", listen.join(" "))
}

/// What is saved and exported, and where.
pub(crate) fn keeps(settings: &Settings, state: Option<&StateDirectory>) -> PersistConfig {
    let has_swarms = settings.tracker.is_some();
    let saves = has_swarms && settings.state.swarms;
    let swarms = state.filter(|_| saves).map(StateDirectory::swarms);
    let export = settings.export.file.clone().filter(|_| has_swarms);
    let (save_interval, export_interval) = (settings.state.save_interval, settings.export.interval);
    let tracker = settings.tracker.as_ref();
    let sizes_interval = tracker.and_then(|tracker| tracker.torrent_sizes_interval);
    let sizes = SharedSizes::default();
    PersistConfig { swarms, save_interval, export, export_interval, sizes, sizes_interval }
}

/// The key of connection IDs: from the file that is named, from the state directory, or random.
pub(crate) fn connection_key(
    tracker: Option<&TrackerConfig>,
    state: Option<&StateDirectory>,
    user: &FutureUser,
) -> Result<[u8; 16], ProcessError> {
    let Some(file) = tracker.and_then(|tracker| tracker.connection_key_file.as_ref()) else {
        return match state.filter(|_| tracker.is_some()) {
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
