//! What can be changed of a running process. All of it happens on the thread `main`.

pub(crate) mod reload;
mod save;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::info;

use super::api::commands::{AdminOps, ApiError, ReloadOutcome};
use super::config::rule_spec::{RuleChanges, RuleSpec, read_rules};
use super::config::{Settings, render};
use super::serve::Serving;
use crate::telemetry::log::{LogControl, LogFilter};
use crate::tracker::core::InfoHash;
use crate::tracker::core::policy::InForce;

/// Changes the running process, and keeps its settings up to date with the changes.
pub(crate) struct Administrator {
    /// The current settings.
    pub(crate) settings: Settings,
    /// What runs.
    pub(crate) serving: Serving,
    log: LogControl,
    /// Whether the log filter was set by a command.
    filter_set: bool,
    stop_at: Option<Instant>,
}

impl Administrator {
    pub(crate) fn new(settings: Settings, serving: Serving, log: LogControl) -> Self {
        Self { settings, serving, log, filter_set: false, stop_at: None }
    }

    /// How long until it is to stop, if somebody asked for that.
    pub(crate) fn stops_in(&self) -> Option<Duration> {
        self.stop_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The current policy, if an access list is configured.
    fn guarded_policy(&self) -> Result<Arc<InForce>, ApiError> {
        let tracker = self.settings.tracker.as_ref();
        let is_guarded = tracker.is_some_and(|tracker| tracker.access.is_some());
        self.serving.policy().filter(|_| is_guarded).ok_or_else(|| {
            ApiError::conflict(
                "there is no access list",
                "set access_mode and access_file in [tracker], then reload",
            )
        })
    }
}

impl AdminOps for Administrator {
    fn rules(&self) -> Result<Vec<RuleSpec>, ApiError> {
        let relay = self.settings.relay.as_ref().ok_or_else(reload::no_relay)?;
        Ok(relay.rules.iter().map(RuleSpec::from).collect())
    }

    fn replace_rules(&mut self, rules: &[RuleSpec]) -> Result<Vec<String>, ApiError> {
        let (rules, mut warnings) = read_rules(rules)?;
        let count = rules.len();
        warnings.extend(reload::put_rules(&mut self.settings, &mut self.serving, rules)?);
        info!(rules = count, "rules changed");
        Ok(warnings)
    }

    fn change_rules(&mut self, changes: RuleChanges) -> Result<Vec<String>, ApiError> {
        let relay = self.settings.relay.as_ref().ok_or_else(reload::no_relay)?;
        let list = changes.apply(&relay.rules)?;
        self.replace_rules(&list)
    }

    fn change_access(&mut self, add: &[InfoHash], remove: &[InfoHash]) -> Result<usize, ApiError> {
        let access = self.guarded_policy()?.access.changed(add, remove).map_err(|error| {
            ApiError::conflict(error.to_string(), "take others off the list first")
        })?;
        let hashes = access.len();
        self.serving.replace_access(access);
        info!(hashes, "access list changed");
        Ok(hashes)
    }

    fn reload_access(&mut self) -> Result<usize, ApiError> {
        self.guarded_policy()?;
        let hashes = self.serving.reload(&self.settings).map_err(|error| {
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
        let outcome = reload::reload(&mut self.settings, &mut self.serving, &self.log)?;
        if self.log.filter() == self.settings.log.filter {
            self.filter_set = false;
        }
        Ok(outcome)
    }

    fn save(&mut self) -> Result<Vec<String>, ApiError> {
        let filter = self.log.filter();
        save::save(
            &self.settings,
            self.serving.policy().as_deref(),
            self.filter_set.then_some(&filter),
        )
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
        let view = self.serving.view();
        view.draining.store(true, Ordering::Relaxed);
        if let Some(tracker) = &view.tracker {
            tracker.policy.drain();
        }
        let at = Instant::now() + wait;
        // A second request can only make it sooner.
        self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
        info!(wait = %humantime::format_duration(wait), "asked to stop");
    }
}
