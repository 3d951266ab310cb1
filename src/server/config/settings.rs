//! Everything that a configuration decides, with its defaults.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control::ControlConfig;
use super::workers::{CoreError, WorkerCount};
use crate::io::{EngineChoice, RingFeatures};
use crate::relay::RelaySettings;
use crate::server::sandbox::PrivilegeSettings;
use crate::telemetry::log::LogSettings;
use crate::tracker::core::TrackerSettings;
use crate::tracker::core::access_list::AccessMode;

/// Everything `ringtide` runs by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file they were loaded from, which is read again on a reload.
    pub file: Option<PathBuf>,
    /// How many workers to start.
    pub workers: WorkerCount,
    /// What drives their loops.
    pub engine: EngineChoice,
    /// What of io_uring they do without, though the kernel may have it.
    pub io_uring_without: RingFeatures,
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
    /// How a running process is asked and changed.
    pub control: ControlConfig,
    /// Where metrics, health and the dashboard are served, read-only; `None` is nowhere.
    pub http: Option<SocketAddr>,
    /// What is kept over a restart.
    pub state: StateConfig,
    /// The list of torrents for other programs.
    pub export: ExportConfig,
    /// What is allowed but probably not meant, one sentence each, for the log and for
    /// `config check`.
    pub warnings: Vec<String>,
    /// Keys of the file for which the command line gave something else, which stays.
    pub overridden: Vec<&'static str>,
}

/// What is kept over a restart, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// The directory of the key and the swarms; `None` keeps nothing.
    pub directory: Option<PathBuf>,
    /// Whether swarms are saved in the end and loaded at the start.
    pub swarms: bool,
    /// Whether a process takes the sockets of the one that runs, and hands them over.
    pub takeover: bool,
    /// How often they are saved before the end; `None` is never. Whole seconds, up to a day.
    pub save_interval: Option<Duration>,
}

impl Settings {
    /// The state directory, where it is of use: with a tracker, whose state is kept there, and for
    /// takeovers.
    pub fn used_state_directory(&self) -> Option<&Path> {
        let is_used = self.tracker.is_some() || self.state.takeover;
        self.state.directory.as_deref().filter(|_| is_used)
    }

    /// The core of each worker, in worker order; its length is the number of workers.
    ///
    /// `usable` is the affinity mask of this process. Without a list of cores, workers beyond the
    /// number of cores share them in turn.
    pub fn worker_cores(&self, usable: &[usize]) -> Result<Vec<usize>, CoreError> {
        self.workers.cores(&self.cores, usable)
    }
}

impl StateConfig {
    /// Whether swarms outlive the process.
    pub fn saves_swarms(&self) -> bool {
        self.swarms && self.directory.is_some()
    }
}

/// The list of torrents for other programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Where it goes; `None` writes none.
    pub file: Option<PathBuf>,
    /// How often it is written: 1 s to a day.
    pub interval: Duration,
}

/// The tracker's settings with those of its sockets and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerConfig {
    /// What the protocol code runs by.
    pub settings: TrackerSettings,
    /// The addresses every worker listens on: 1 to
    /// [`LISTEN_MAX`](crate::values::listen::LISTEN_MAX), all different. Port 0 lets the kernel
    /// choose one, which all workers then share.
    pub listen: Vec<SocketAddr>,
    /// The file that holds the key for connection IDs; `None` draws a random one at start.
    pub connection_key_file: Option<PathBuf>,
    /// The access list; `None` serves every torrent.
    pub access: Option<AccessConfig>,
    /// The most memory that swarms may take, in bytes; `None` is what the machine suggests.
    pub memory_limit_bytes: Option<usize>,
    /// `SO_RCVBUF` of each socket, in bytes.
    pub receive_buffer_bytes: usize,
    /// `SO_SNDBUF` of each socket, in bytes.
    pub send_buffer_bytes: usize,
    /// Whether the kernel steers each request to the worker that owns its torrent.
    pub steering: bool,
    /// How often torrents are counted by how many peers they have; `None` is never.
    pub torrent_sizes_interval: Option<Duration>,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: None,
            workers: WorkerCount::OnePerCore,
            engine: EngineChoice::Auto,
            io_uring_without: RingFeatures::NONE,
            cores: Vec::new(),
            report_interval: Some(Duration::from_secs(10)),
            shutdown_timeout: Duration::from_secs(2),
            log: LogSettings::default(),
            privileges: PrivilegeSettings::default(),
            tracker: Some(TrackerConfig::default()),
            relay: None,
            control: ControlConfig::default(),
            http: None,
            state: StateConfig::default(),
            export: ExportConfig::default(),
            warnings: Vec::new(),
            overridden: Vec::new(),
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { directory: None, swarms: true, takeover: false, save_interval: None }
    }
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { file: None, interval: Duration::from_secs(300) }
    }
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            settings: TrackerSettings::default(),
            listen: vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
            ],
            connection_key_file: None,
            access: None,
            memory_limit_bytes: None,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
            steering: true,
            torrent_sizes_interval: None,
        }
    }
}

/// The port that BitTorrent trackers listen on by custom.
const PORT: u16 = 6969;
