//! SIGHUP: what can change while running is read again and put in force.
//!
//! That is the access list, the relay's rules, the report interval and the log's level. Everything
//! else is made once, at the start; where the file asks for a change of it, the log says so.

use tracing::{error, info, warn};

use crate::config::{self, Settings};
use crate::error::causes;
use crate::logging::LogControl;
use crate::process::Process;

/// Reads the configuration file again, when there is one, and the access list. What is wrong is
/// logged, and what is in force stays. `settings` become those in force.
pub(crate) fn reload(settings: &mut Settings, process: &mut Process, log: &LogControl) {
    let wanted = match settings.file.as_deref().map(config::load).transpose() {
        Ok(wanted) => wanted,
        Err(error) => return error!("reload failed, everything in force stays: {error}"),
    };
    let has_list = settings.tracker.as_ref().is_some_and(|tracker| tracker.access.is_some());
    if wanted.is_none() && !has_list {
        return info!("nothing to reload: SIGHUP reads the access list again, and none is set");
    }
    if let Some(wanted) = wanted {
        take_over_log(settings, &wanted, log);
        take_over(settings, wanted, process);
    }
    if has_list {
        match process.reload(settings) {
            Ok(hashes) => info!(hashes, "access list reloaded"),
            Err(error) => error!("reload failed, the list in force stays: {error}"),
        }
    }
}

/// Puts the log's level in force, unless the command line or the environment go before the file.
fn take_over_log(settings: &mut Settings, wanted: &Settings, log: &LogControl) {
    let wanted = &wanted.log.filter;
    if settings.log.filter == *wanted {
        return;
    }
    if let Some(name) = log.overridden_by {
        warn!("a change of log.level has no effect: {name} goes before it");
    } else {
        match log.set(wanted) {
            Ok(()) => info!(filter = wanted.as_str(), "log level changed"),
            Err(error) => error!("the log's level stays: {error}"),
        }
    }
    settings.log.filter = wanted.clone();
}

/// Puts in force what may change while running.
fn take_over(settings: &mut Settings, wanted: Settings, process: &mut Process) {
    for warning in &wanted.warnings {
        warn!("{warning}");
    }
    for key in fixed_changes(settings, &wanted) {
        warn!("a change of {key} needs a restart; until then, what was set at the start holds");
    }
    settings.report_interval = wanted.report_interval;
    if let (Some(relay), Some(control)) = (&mut settings.relay, process.relay_mut()) {
        // A file without the section has no rules.
        relay.rules = wanted.relay.map(|relay| relay.rules).unwrap_or_default();
        if let Err(error) = control.apply(relay.rules.clone()) {
            let chain: Vec<_> = causes(Some(&error)).map(ToString::to_string).collect();
            error!("not all rules could be put in force: {}", chain.join(": "));
        }
    }
    let rules = settings.relay.as_ref().map_or(0, |relay| relay.rules.len());
    info!(rules, "configuration reloaded");
}

/// What differs and cannot change while running, by its keys. The engine is left out: what is in
/// force may come from the command line.
fn fixed_changes(settings: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let mut changes = vec![
        ("workers", settings.workers != wanted.workers),
        ("cores", settings.cores != wanted.cores),
        ("shutdown_timeout", settings.shutdown_timeout != wanted.shutdown_timeout),
        ("log.format", settings.log.format != wanted.log.format),
        ("[privileges]", settings.privileges != wanted.privileges),
    ];
    match (&settings.tracker, &wanted.tracker) {
        (Some(now), Some(then)) => {
            let listen = now.listen != then.listen;
            changes.push(("tracker.listen", listen));
            changes.push(("[tracker]", !listen && now != then));
        }
        (now, then) => changes.push(("[tracker]", now.is_some() != then.is_some())),
    }
    match (&settings.relay, &wanted.relay) {
        (Some(now), Some(then)) => changes.extend([
            ("relay.offload", now.offload != then.offload),
            ("relay.receive_buffer", now.receive_buffer_bytes != then.receive_buffer_bytes),
            ("relay.send_buffer", now.send_buffer_bytes != then.send_buffer_bytes),
            ("relay.frame_buffers", now.frame_buffers != then.frame_buffers),
        ]),
        (now, then) => changes.push(("[relay]", now.is_none() && then.is_some())),
    }
    changes.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn changes(now: &str, then: &str) -> Vec<&'static str> {
        let parse = |text| config::parse(text, Path::new("r.toml")).unwrap_or_default();
        fixed_changes(&parse(now), &parse(then))
    }

    #[test]
    fn what_needs_a_restart_is_named_by_its_key() {
        let rule = "[[relay.rule]]\ninput = \"239.1.1.1:1@a\"";
        assert_eq!(changes("", "report_interval = \"1s\""), [""; 0]);
        assert_eq!(changes("", "workers = 2\n[log]\nlevel = \"debug\""), ["workers"]);
        assert_eq!(changes("", "[log]\nformat = \"json\""), ["log.format"]);
        assert_eq!(changes("", "[tracker]\nlisten = [\"[::]:1\"]"), ["tracker.listen"]);
        assert_eq!(changes("", "[tracker]\nnumwant_max = 60"), ["[tracker]"]);
        assert_eq!(changes("[relay]", rule), [""; 0]);
        assert_eq!(changes("[relay]", "[relay]\noffload = \"off\""), ["relay.offload"]);
        assert_eq!(changes("", &format!("[tracker]\n{rule}")), ["[relay]"]);
        assert_eq!(changes(rule, "[tracker]"), ["[tracker]"]);
    }
}
