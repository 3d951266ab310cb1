//! The running process as the main thread holds it, and what can be changed of it.

pub mod commands;
pub(crate) mod reload;
mod save;

use std::time::{Duration, Instant};

use tracing::info;

use self::commands::{AdminOps, ApiError, ReloadOutcome};
use super::config::rule_spec::{RuleChanges, RuleSpec, read_rules};
use super::config::{Settings, render};
use super::process::Process;
use crate::telemetry::log::{LogControl, LogFilter};
use crate::tracker::core::InfoHash;
use crate::tracker::core::access_list::{AccessList, AccessMode};
use crate::tracker::core::policy::Policy;

/// Everything that runs, and what it runs by.
pub(crate) struct Running {
    /// What is in force.
    pub(crate) settings: Settings,
    /// What runs.
    pub(crate) process: Process,
    log: LogControl,
    /// Whether the log filter was set by an command.
    filter_set: bool,
    stop_at: Option<Instant>,
}

impl Running {
    pub(crate) fn new(settings: Settings, process: Process, log: LogControl) -> Self {
        Self { settings, process, log, filter_set: false, stop_at: None }
    }

    /// How long until it is to stop, if somebody asked for that.
    pub(crate) fn stops_in(&self) -> Option<Duration> {
        self.stop_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn put_list(&self, access: AccessList) {
        let settings = self.process.policy().settings.clone();
        self.process.replace_policy(Policy { settings, access });
    }

    fn mode(&self) -> Result<AccessMode, ApiError> {
        let access = self.settings.tracker.as_ref().and_then(|tracker| tracker.access.as_ref());
        access.map(|access| access.mode).ok_or_else(|| {
            ApiError::conflict(
                "there is no access list",
                "set access_mode and access_file in [tracker], then reload",
            )
        })
    }
}

impl AdminOps for Running {
    fn rules(&self) -> Result<Vec<RuleSpec>, ApiError> {
        let relay = self.settings.relay.as_ref().ok_or_else(reload::no_relay)?;
        Ok(relay.rules.iter().map(RuleSpec::from).collect())
    }

    fn replace_rules(&mut self, rules: &[RuleSpec]) -> Result<Vec<String>, ApiError> {
        let (rules, mut warnings) = read_rules(rules)?;
        let count = rules.len();
        warnings.extend(reload::put_rules(&mut self.settings, &mut self.process, rules)?);
        info!(rules = count, "rules changed");
        Ok(warnings)
    }

    fn change_rules(&mut self, changes: RuleChanges) -> Result<Vec<String>, ApiError> {
        let relay = self.settings.relay.as_ref().ok_or_else(reload::no_relay)?;
        let list = changes.apply(&relay.rules)?;
        self.replace_rules(&list)
    }

    fn change_access(&mut self, add: &[InfoHash], remove: &[InfoHash]) -> Result<usize, ApiError> {
        self.mode()?;
        let access = self.process.policy().access.changed(add, remove).map_err(|error| {
            ApiError::conflict(error.to_string(), "take others off the list first")
        })?;
        let hashes = access.len();
        self.put_list(access);
        info!(hashes, "access list changed");
        Ok(hashes)
    }

    fn reload_access(&mut self) -> Result<usize, ApiError> {
        self.mode()?;
        let hashes = self.process.reload(&self.settings).map_err(|error| {
            ApiError::invalid(error.to_string(), "the list in force stays; correct the file")
        })?;
        info!(hashes, "access list reloaded");
        Ok(hashes)
    }

    fn configuration(&self) -> (String, Option<String>) {
        let mut settings = self.settings.clone();
        settings.log.filter = self.log.filter();
        let file = self.settings.file.as_ref().map(|file| file.display().to_string());
        (render(&settings), file)
    }

    fn reload(&mut self) -> Result<ReloadOutcome, ApiError> {
        let outcome = reload::reload(&mut self.settings, &mut self.process, &self.log)?;
        if self.log.filter() == self.settings.log.filter {
            self.filter_set = false;
        }
        Ok(outcome)
    }

    fn save(&mut self) -> Result<Vec<String>, ApiError> {
        save::save(self)
    }

    fn log_level(&self) -> String {
        self.log.filter().as_str().to_owned()
    }

    fn set_log_level(&mut self, filter: &str) -> Result<(), ApiError> {
        let filter = LogFilter::parse(filter).map_err(|error| {
            ApiError::invalid(error.to_string(), "such as info or info,ringtide::tracker=debug")
        })?;
        self.log
            .set(&filter)
            .map_err(|error| ApiError::failed(error.to_string(), "the level of before stays"))?;
        self.filter_set = true;
        info!(filter = filter.as_str(), "log level changed");
        Ok(())
    }

    fn drain(&mut self, wait: Duration) {
        let view = self.process.view();
        view.draining.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(tracker) = &view.tracker {
            tracker.policy.drain();
        }
        let at = Instant::now() + wait;
        // A second request can only make it sooner.
        self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
        info!(wait = %humantime::format_duration(wait), "asked to stop");
    }
}
