//! From a TOML file or flags to validated [`Settings`].
//!
//! Parse, don't validate: once there are [`Settings`], every value in them is usable, and nothing
//! later has to look again. `default.toml` documents every key and is what
//! `ringtide config default` prints.

mod checks;
mod default;
mod file;
pub(crate) mod limit;
pub(crate) mod listen;
mod privileges;
mod problem;
mod reader;
pub(crate) mod relay;
pub(crate) mod suggest;
mod summary;
pub mod units;
mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use checks::{AccessError, access_config, check_cores, warnings};
pub use default::DEFAULT_TEXT;
pub(crate) use file::report_interval;
pub use file::{load, parse};
pub use problem::{ConfigError, Problem};
pub use workers::{CoreError, WorkerCount, parse_core_list};

use crate::engine::EngineChoice;
use crate::logging::{LogFilter, LogFormat};
use crate::privileges::PrivilegeSettings;
use crate::relay::RelaySettings;
use crate::tracker::TrackerSettings;
pub use crate::tracker::access_list::AccessMode;

/// Everything `ringtide` runs by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file they were loaded from, which is read again on a reload.
    pub file: Option<PathBuf>,
    /// How many workers to start.
    pub workers: WorkerCount,
    /// What drives their loops.
    pub engine: EngineChoice,
    /// The cores to pin them to, in order; empty means all cores this process may use.
    pub cores: Vec<usize>,
    /// How often a line of figures is logged; `None` is never. Whole seconds, up to a day.
    pub report_interval: Option<Duration>,
    /// How long an orderly shutdown may take before sends in flight are cancelled. At most 60 s.
    pub shutdown_timeout: Duration,
    /// What is logged and how it looks.
    pub log: LogSettings,
    /// The tracker and its sockets; `None` runs no tracker.
    pub tracker: Option<TrackerConfig>,
    /// What is given up once everything is open.
    pub privileges: PrivilegeSettings,
    /// The relay and its rules; `None` runs no relay.
    pub relay: Option<RelaySettings>,
    /// What is allowed but probably not meant, one sentence each, for the log and for
    /// `config check`.
    pub warnings: Vec<String>,
}

/// The directory that a file is in.
pub(crate) fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What is logged and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Which events are logged.
    pub filter: LogFilter,
    /// Text or JSON lines.
    pub format: LogFormat,
}

/// The tracker's settings with those of its sockets and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerConfig {
    /// What the protocol code runs by.
    pub settings: TrackerSettings,
    /// The addresses every worker listens on: 1 to [`LISTEN_MAX`], all different. Port 0 lets
    /// the kernel choose one, which all workers then share.
    pub listen: Vec<SocketAddr>,
    /// The file that holds the key for connection IDs; `None` draws a random one at start.
    pub connection_key_file: Option<PathBuf>,
    /// The access list; `None` serves every torrent.
    pub access: Option<AccessConfig>,
    /// `SO_RCVBUF` of each socket, in bytes.
    pub receive_buffer_bytes: usize,
    /// `SO_SNDBUF` of each socket, in bytes.
    pub send_buffer_bytes: usize,
    /// Whether the kernel steers each request to the worker that owns its torrent.
    pub steering: bool,
}

/// Which torrents are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// Whether the listed torrents are the allowed or the denied ones; never
    /// [`AccessMode::Off`].
    pub mode: AccessMode,
    /// The list: one info hash a line.
    pub file: PathBuf,
}

/// The most addresses to listen on: each is a socket and a receive in every worker's ring.
pub const LISTEN_MAX: usize = 64;
