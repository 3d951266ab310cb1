//! What of a file that is read again can take effect, and what needs a restart.

use super::keys::SECTIONS;
use super::settings::Settings;
use super::table::Reload;

/// Takes over every value that can change while ringtide runs, within the sections that both have.
/// Returns the keys of those that differed. Rules are not among them.
pub(crate) fn apply_live(now: &mut Settings, then: &Settings) -> Vec<&'static str> {
    let changes = SECTIONS.iter().flat_map(|section| section.changes(now, then, Reload::Live));
    let changes = changes.collect();
    for section in SECTIONS {
        section.copy_live(then, now);
    }
    changes
}

/// What differs and cannot change while ringtide runs, by its keys, but for what the command line
/// gave. A section stands for its keys where only one of both has it.
pub(crate) fn restart_changes(now: &Settings, then: &Settings) -> Vec<&'static str> {
    let changes = SECTIONS.iter().flat_map(|section| section.changes(now, then, Reload::Restart));
    let mut changes: Vec<_> = changes.filter(|key| !now.overridden.contains(key)).collect();
    if now.tracker.is_some() != then.tracker.is_some() {
        changes.push("[tracker]");
    }
    // Without the section in the file, the relay that runs has no rules.
    if now.relay.is_none() && then.relay.is_some() {
        changes.push("[relay]");
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::server::config::parse;

    fn parsed(text: &str) -> Settings {
        parse(text, Path::new("/etc/r.toml")).map_err(|error| error.to_string()).unwrap()
    }

    fn changes(now: &str, then: &str) -> Vec<&'static str> {
        restart_changes(&parsed(now), &parsed(then))
    }

    #[test]
    fn what_needs_a_restart_is_named_by_its_key() {
        let rule = "[[relay.rule]]\ninput = \"239.1.1.1:1@a\"";
        assert_eq!(changes("", "report_interval = \"1s\""), [""; 0]);
        assert_eq!(changes("", "workers = 2\n[log]\nlevel = \"debug\""), ["workers"]);
        assert_eq!(changes("", "engine = \"epoll\""), ["engine"]);
        assert_eq!(changes("", "io_uring_without = [\"send_to\"]"), ["io_uring_without"]);
        let by_hand = Settings { overridden: vec!["engine"], ..Settings::default() };
        assert_eq!(restart_changes(&by_hand, &parsed("engine = \"epoll\"")), [""; 0]);
        assert_eq!(changes("", "[log]\nformat = \"json\""), ["log.format"]);
        assert_eq!(changes("", "[tracker]\nlisten = [\"[::]:1\"]"), ["tracker.listen"]);
        assert_eq!(changes("", "[tracker]\nnumwant_max = 60"), [""; 0]);
        for (key, value) in [
            ("connection_lifetime", "\"3m\""),
            ("connection_key_file", "\"k\""),
            ("receive_buffer", "\"4MiB\""),
            ("send_buffer", "\"8MiB\""),
            ("steering", "false"),
            ("torrent_sizes_interval", "\"1m\""),
            ("memory_limit", "\"1GiB\""),
        ] {
            let file = format!("[tracker]\n{key} = {value}");
            assert_eq!(changes("", &file), [format!("tracker.{key}")]);
        }
        assert_eq!(changes("", "[control]\nsocket = \"off\""), ["control.socket"]);
        assert_eq!(changes("", "[http]\nlisten = \"127.0.0.1:1\""), ["http.listen"]);
        assert_eq!(changes("", "[state]\ndirectory = \"a\""), ["state.directory"]);
        assert_eq!(changes("", "[export]\ninterval = \"1m\""), ["export.interval"]);
        let privileges = "[privileges]\nseccomp = false\nlandlock = false";
        assert_eq!(changes("", privileges), ["privileges.seccomp", "privileges.landlock"]);
        assert_eq!(changes("[relay]", rule), [""; 0]);
        assert_eq!(changes("[relay]", "[relay]\noffload = \"off\""), ["relay.offload"]);
        assert_eq!(changes("[relay]", "[relay]\nlatency = true"), ["relay.latency"]);
        assert_eq!(changes("", &format!("[tracker]\n{rule}")), ["[relay]"]);
        assert_eq!(changes(rule, "[tracker]"), ["[tracker]"]);
    }

    #[test]
    fn what_can_change_is_taken_over_and_named() {
        let mut now = parsed("report_interval = \"5s\"\n[tracker]\nlisten = [\"[::]:1\"]");
        let then = parsed(
            "workers = 3\n[tracker]\nlisten = [\"[::]:2\"]\nnumwant_max = 60\n\
             connection_lifetime = \"3m\"\naccess_mode = \"deny\"\naccess_file = \"a\"",
        );
        let keys = ["report_interval", "tracker.numwant_max", "tracker.access_mode"];
        let applied = apply_live(&mut now, &then);
        assert_eq!(applied, [&keys[..], &["tracker.access_file"]].concat());
        let mut expected = parsed("[tracker]\nlisten = [\"[::]:1\"]");
        let tracker = expected.tracker.as_mut().unwrap();
        tracker.settings.numwant_max = 60;
        tracker.access = then.tracker.unwrap().access;
        assert!(tracker.access.is_some());
        assert_eq!(now, expected);
    }
}
