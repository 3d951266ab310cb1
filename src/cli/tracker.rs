//! `ringtide tracker`: a tracker from flags alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::shared_args::{FlagProblems, ProcessArgs, choice};
use crate::server::config::{
    self, AccessConfig, AccessError, AccessMode, ConfigError, Settings, TrackerConfig, limits,
};
use crate::values::limit::Seconds;
use crate::values::limit::in_limit;
use crate::values::listen::{check_listen, parse_listen};

#[derive(Args, Debug)]
pub(super) struct TrackerArgs {
    /// Address and port to listen on; may be repeated [default: 0.0.0.0:6969 and [::]:6969]
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,

    /// What the access list does: off, allow or deny [default: off]
    #[arg(long, value_name = "MODE", value_parser = access_mode)]
    access_mode: Option<AccessMode>,

    /// Access list: one info hash a line
    #[arg(long, value_name = "FILE")]
    access_file: Option<PathBuf>,

    /// How often clients are told to announce [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = in_limit(limits::ANNOUNCE_INTERVAL))]
    announce_interval: Option<Seconds>,

    /// After how long without an announce a peer is forgotten [default: 45m]
    #[arg(long, value_name = "DURATION", value_parser = in_limit(limits::PEER_TIMEOUT))]
    peer_timeout: Option<Seconds>,

    #[command(flatten)]
    process: ProcessArgs,
}

impl TrackerArgs {
    /// Each value is valid by itself; what they must fulfil together is checked here.
    pub(super) fn into_settings(self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        let mut problems = FlagProblems::new("tracker");
        self.process.apply(&mut settings, &mut problems);
        let mut tracker = TrackerConfig::default();
        if !self.listen.is_empty() {
            if let Err(message) = check_listen(&self.listen) {
                problems.add("--listen", message);
            }
            tracker.listen = self.listen;
        }
        match access(self.access_mode, self.access_file) {
            Ok(access) => tracker.access = access,
            Err((flag, message)) => problems.add(flag, message),
        }
        if let Some(Seconds(seconds)) = self.announce_interval {
            tracker.settings.announce_interval_s = seconds;
        }
        if let Some(Seconds(seconds)) = self.peer_timeout {
            tracker.settings.peer_timeout_s = seconds;
        }
        settings.tracker = Some(tracker);
        settings.warnings = config::warnings(&settings);
        problems.or(settings)
    }
}

fn access(
    mode: Option<AccessMode>,
    file: Option<PathBuf>,
) -> Result<Option<AccessConfig>, (&'static str, String)> {
    config::access_config(mode, file).map_err(|error| match error {
        AccessError::FileMissing(mode) => (
            "--access-mode",
            format!("{} needs --access-file, the list it applies to", mode.name()),
        ),
        AccessError::ModeMissing => (
            "--access-file",
            "needs --access-mode, allow or deny, to say what the list means".to_owned(),
        ),
    })
}

fn access_mode(text: &str) -> Result<AccessMode, String> {
    choice(text, &AccessMode::NAMES)
}
