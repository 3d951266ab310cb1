//! From a TOML file or flags to validated [`Settings`].
//!
//! Parse, don't validate: once there are [`Settings`], every value in them is usable, and nothing
//! later has to look again. The table in `keys/` says everything about a key once.

mod checks;
mod control;
mod default;
mod file;
mod keys;
mod kinds;
pub(crate) mod limits;
#[cfg(test)]
mod page;
mod problem;
mod reader;
mod reload;
mod render;
pub mod rule_spec;
pub(crate) mod rule_values;
mod settings;
mod summary;
mod table;
mod workers;

pub(crate) use checks::{AccessError, access_config, check_cores, check_sockets, warnings};
pub use control::{ControlConfig, ControlSocket, SOCKET_USUAL, SOCKET_VARIABLE};
pub use default::default_text;
pub use file::{load, parse};
pub(crate) use keys::relay::rule_table;
pub(crate) use kinds::zero_is_never;
pub use problem::{ConfigError, ConfigProblem};
pub(crate) use reload::{apply_live, restart_changes};
pub use render::render;
pub use settings::{AccessConfig, ExportConfig, Settings, StateConfig, TrackerConfig};
pub use workers::{CoreError, WorkerCount, parse_core_list};

pub use crate::tracker::core::access_list::AccessMode;
pub use crate::values::listen::LISTEN_MAX;
