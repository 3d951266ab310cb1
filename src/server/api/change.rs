//! Requests that the main thread answers: rules, configuration, log level, drain.

use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, Body};
use crate::error::Remedy;
use crate::server::api::commands::{AdminOps, ApiError, ReloadOutcome};
use crate::server::config::rule_spec::{RuleChanges, RuleSpec};
use crate::server::config::{self, ConfigError};
use crate::values::units;

/// The active rules.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The rules in order.
    pub rules: Vec<RuleSpec>,
    /// Settings that are allowed but probably a mistake.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The current configuration, as a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// The file that the process was started with.
    pub file: Option<String>,
    /// The value of every key.
    pub toml: String,
}

/// A configuration to check; without a text, the file that the process was started with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its text.
    pub toml: Option<String>,
}

/// A valid configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// What it would run, one line each.
    pub summary: Vec<String>,
    /// Settings that are allowed but probably a mistake.
    pub warnings: Vec<String>,
}

/// Files that were written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Their names; the previous version of each is kept as NAME.bak.
    pub written: Vec<String>,
}

/// A log filter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A level, or directives by module.
    pub filter: String,
}

/// How to stop.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// How long to report unhealthy before stopping, such as "10s".
    #[serde(default)]
    pub wait: Option<String>,
}

pub(super) async fn rules(State(api): State<Api>) -> Answer<Json<Rules>> {
    let rules = api.commands.ask(|process| process.rules()).await??;
    Ok(Json(Rules { rules, warnings: Vec::new() }))
}

pub(super) async fn replace_rules(
    State(api): State<Api>,
    Body(wanted): Body<Rules>,
) -> Answer<Json<Rules>> {
    let change = move |process: &mut dyn AdminOps| {
        let warnings = process.replace_rules(&wanted.rules)?;
        Ok::<_, ApiError>(Rules { rules: process.rules()?, warnings })
    };
    Ok(Json(api.commands.ask(change).await??))
}

pub(super) async fn change_rules(
    State(api): State<Api>,
    Body(changes): Body<RuleChanges>,
) -> Answer<Json<Rules>> {
    let change = move |process: &mut dyn AdminOps| {
        let warnings = process.change_rules(changes)?;
        Ok::<_, ApiError>(Rules { rules: process.rules()?, warnings })
    };
    Ok(Json(api.commands.ask(change).await??))
}

pub(super) async fn configuration(State(api): State<Api>) -> Answer<Json<Configuration>> {
    let (toml, file) = api.commands.ask(|process| process.configuration()).await?;
    Ok(Json(Configuration { file, toml }))
}

pub(super) async fn check_configuration(
    State(api): State<Api>,
    Body(check): Body<Check>,
) -> Answer<Json<Checked>> {
    let (_, file) = api.commands.ask(|process| process.configuration()).await?;
    let checked = match (check.toml, file) {
        (Some(text), _) => config::parse(&text, Path::new("configuration")),
        (None, Some(file)) => config::load(Path::new(&file)),
        (None, None) => {
            let error = "this process was started without a configuration file";
            return Err(ApiError::conflict(error, "send the text to check as `toml`").into());
        }
    };
    let settings = checked.map_err(|error: ConfigError| {
        ApiError::invalid(error.to_string(), error.remedy().unwrap_or_default())
    })?;
    Ok(Json(Checked { summary: settings.summary(), warnings: settings.warnings }))
}

pub(super) async fn reload(State(api): State<Api>) -> Answer<Json<ReloadOutcome>> {
    Ok(Json(api.commands.ask(|process| process.reload()).await??))
}

pub(super) async fn save(State(api): State<Api>) -> Answer<Json<Saved>> {
    let written = api.commands.ask(|process| process.save()).await??;
    Ok(Json(Saved { written }))
}

pub(super) async fn log_level(State(api): State<Api>) -> Answer<Json<LogLevel>> {
    let filter = api.commands.ask(|process| process.log_level()).await?;
    Ok(Json(LogLevel { filter }))
}

pub(super) async fn set_log_level(
    State(api): State<Api>,
    Body(wanted): Body<LogLevel>,
) -> Answer<Json<LogLevel>> {
    api.commands.ask(move |process| process.set_log_level(&wanted.filter)).await??;
    log_level(State(api)).await
}

pub(super) async fn drain(State(api): State<Api>, Body(drain): Body<Drain>) -> Answer<Json<Drain>> {
    let wait = match &drain.wait {
        None => Duration::ZERO,
        Some(text) => units::parse_duration(text)
            .map_err(|error| error.to_string())
            .and_then(|wait| match wait <= DRAIN_WAIT_MAX {
                true => Ok(wait),
                false => Err("the longest wait is 1h".to_owned()),
            })
            .map_err(|error| ApiError::invalid(error, "write it like 10s; nothing was changed"))?,
    };
    api.commands.ask(move |process| process.drain(wait)).await?;
    Ok(Json(drain))
}

const DRAIN_WAIT_MAX: Duration = Duration::from_secs(3600);
