//! What can change while running is read again and put in force, on SIGHUP or when asked.
//!
//! That is every key whose entry in the table of keys says so, the access list and the relay's
//! rules. Everything else is made once, at the start; where the file asks for a change of it, the
//! log and the answer say so.

use tracing::{error, info, warn};

use super::commands::{ApiError, ReloadOutcome};
use crate::error::{Remedy, one_line};
use crate::relay::Rule;
use crate::server::config::{self, Settings};
use crate::server::open_tracker::load_access;
use crate::server::serve::Serving;
use crate::telemetry::log::LogControl;
use crate::tracker::core::access_list::AccessList;
use crate::tracker::core::policy::Policy;

/// Reads the configuration file again, when there is one, and the access list, and puts in force
/// what can change. `settings` become those in force.
///
/// # Errors
/// What is wrong with a file, which is also logged. Everything in force stays then.
pub(crate) fn reload(
    settings: &mut Settings,
    serving: &mut Serving,
    log: &LogControl,
) -> Result<ReloadOutcome, ApiError> {
    let wanted = settings.file.as_deref().map(config::load).transpose().map_err(|error| {
        error!("reload failed, everything in force stays: {error}");
        ApiError::invalid(error.to_string(), error.remedy().unwrap_or_default())
    })?;
    // Read before anything is put in force, so that a wrong list changes nothing either.
    let list = read_list(settings, wanted.as_ref())?;
    let mut outcome = ReloadOutcome::default();
    if let Some(mut wanted) = wanted {
        take_over_rules(settings, &mut wanted, serving, &mut outcome)?;
        take_over_log(settings, &wanted, log, &mut outcome);
        take_over(settings, &wanted, serving, list, &mut outcome);
    } else if let Some(list) = list {
        put_in_force(settings, serving, list, &mut outcome);
    } else {
        info!("nothing to reload: SIGHUP reads the access list again, and none is set");
    }
    Ok(outcome)
}

/// The access list that is to be in force; `None` while there is none and was none.
fn read_list(
    settings: &Settings,
    wanted: Option<&Settings>,
) -> Result<Option<AccessList>, ApiError> {
    // Whether there is a tracker at all was settled at the start.
    let Some(now) = &settings.tracker else { return Ok(None) };
    let tracker = wanted.map_or(Some(now), |wanted| wanted.tracker.as_ref());
    let access = tracker.and_then(|tracker| tracker.access.as_ref());
    if access.is_none() && now.access.is_none() {
        return Ok(None);
    }
    load_access(access).map(Some).map_err(|error| {
        let stays = if wanted.is_some() { "everything" } else { "the list" };
        error!("reload failed, {stays} in force stays: {error}");
        ApiError::invalid(error.to_string(), "correct the list, then reload again")
    })
}

/// Puts the file's rules in force, all of them or none. Before anything else, so that rules that
/// cannot be served leave everything as it is.
fn take_over_rules(
    settings: &mut Settings,
    wanted: &mut Settings,
    serving: &mut Serving,
    outcome: &mut ReloadOutcome,
) -> Result<(), ApiError> {
    let Some(relay) = &settings.relay else { return Ok(()) };
    // A file without the section has no rules.
    let rules = wanted.relay.as_mut().map(|relay| std::mem::take(&mut relay.rules));
    let rules = rules.unwrap_or_default();
    let (changed, count) = (relay.rules != rules, rules.len());
    let down = put_rules(settings, serving, rules).map_err(|mut problem| {
        error!("reload failed, everything in force stays: {}", problem.error);
        "everything in force stays; correct the file or the system, then reload again"
            .clone_into(&mut problem.advice);
        problem
    })?;
    if changed {
        outcome.applied.push(format!("relay.rule: {count} in force"));
    }
    outcome.warnings.extend(down);
    Ok(())
}

/// Puts rules in force, all of them or none. Returns what of them does not work yet.
///
/// # Errors
/// When there is no relay, when they are too many for a worker's loop, or when a socket for them
/// cannot be opened.
pub(crate) fn put_rules(
    settings: &mut Settings,
    serving: &mut Serving,
    rules: Vec<Rule>,
) -> Result<Vec<String>, ApiError> {
    const STAYS: &str = "the rules of before stay in force";
    let listen = settings.tracker.as_ref().map_or(0, |tracker| tracker.listen.len());
    let (Some(relay), Some(control)) = (&mut settings.relay, serving.relay_mut()) else {
        return Err(no_relay());
    };
    config::check_sockets(listen, &rules).map_err(|error| ApiError::invalid(error, STAYS))?;
    let warnings =
        control.apply(rules.clone()).map_err(|error| ApiError::failed(one_line(&error), STAYS))?;
    relay.rules = rules;
    Ok(warnings)
}

pub(crate) fn no_relay() -> ApiError {
    ApiError::conflict(
        "this process runs no relay",
        "put a [relay] section into its configuration file and start it again",
    )
}

/// Puts the log's level in force, unless the command line or the environment override the file.
fn take_over_log(
    settings: &mut Settings,
    wanted: &Settings,
    log: &LogControl,
    outcome: &mut ReloadOutcome,
) {
    let wanted = &wanted.log.filter;
    if settings.log.filter == *wanted {
        return;
    }
    if let Some(name) = log.overridden_by {
        let warning = format!("a change of log.level has no effect: {name} overrides it");
        warn!("{warning}");
        outcome.warnings.push(warning);
    } else {
        match log.set(wanted) {
            Ok(()) => {
                info!(filter = wanted.as_str(), "log level changed");
                outcome.applied.push(format!("log.level: {}", wanted.as_str()));
            }
            Err(error) => {
                error!("the log's level stays: {error}");
                outcome.warnings.push(format!("the log's level stays: {error}"));
            }
        }
    }
    settings.log.filter = wanted.clone();
}

/// Puts in force what may change while running.
fn take_over(
    settings: &mut Settings,
    wanted: &Settings,
    serving: &mut Serving,
    list: Option<AccessList>,
    outcome: &mut ReloadOutcome,
) {
    for warning in &wanted.warnings {
        warn!("{warning}");
    }
    outcome.warnings.extend(wanted.warnings.iter().cloned());
    for key in config::restart_changes(settings, wanted) {
        warn!("a change of {key} needs a restart; until then, what was set at the start holds");
        outcome.needs_restart.push(key.to_owned());
    }
    let applied = config::apply_live(settings, wanted);
    outcome.applied.extend(applied.into_iter().map(str::to_owned));
    if wanted.tracker.is_some() {
        put_in_force(settings, serving, list.unwrap_or_default(), outcome);
    }
    let rules = settings.relay.as_ref().map_or(0, |relay| relay.rules.len());
    info!(rules, "configuration reloaded");
}

/// Puts the tracker's settings in force, with this list.
fn put_in_force(
    settings: &Settings,
    serving: &Serving,
    access: AccessList,
    outcome: &mut ReloadOutcome,
) {
    let Some(tracker) = &settings.tracker else { return };
    let hashes = access.len();
    serving.replace_policy(Policy { settings: tracker.settings.clone(), access });
    if tracker.access.is_some() {
        info!(hashes, "access list reloaded");
        outcome.applied.push(format!("access list: {hashes} torrents"));
    }
}
