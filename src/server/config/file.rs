//! Reading a configuration file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::checks::{check_sockets, warnings};
use super::keys::{SECTIONS, known};
use super::problem::{ConfigError, ConfigProblem};
use super::reader::Reader;
use super::settings::Settings;

/// Reads and validates a configuration file.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // The bound keeps a device or a wrong file from filling the memory.
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let reason = "it is larger than 1 MiB, which no configuration is";
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Settings { file: Some(path.to_owned()), ..parse(text, path)? }),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let place = format!("{}:{}", path.display(), line + 1);
            let message = "not UTF-8, which TOML has to be".to_owned();
            Err(invalid(path, vec![ConfigProblem { place, message }]))
        }
    }
}

/// Validates the text of a configuration file.
///
/// `path` names the file in messages, and its directory is where relative paths start; nothing
/// is read from it.
pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    let mut reader = Reader::new(text, path).map_err(|problems| invalid(path, problems))?;
    let settings = read_settings(&mut reader);
    let problems = reader.finish(known());
    if problems.is_empty() { Ok(settings) } else { Err(invalid(path, problems)) }
}

/// Reads every key. What is absent or wrong keeps its default; what is wrong is noted in the
/// reader, so that the settings count only if it found no problem.
fn read_settings(file: &mut Reader<'_>) -> Settings {
    let mut settings = Settings::default();
    let mut warned = Vec::new();
    for section in SECTIONS {
        warned.extend(section.read(file, &mut settings));
    }
    let (has_tracker, has_relay) = (file.has("tracker"), file.has("relay"));
    settings.tracker = settings.tracker.filter(|_| has_tracker || !has_relay);
    settings.relay = settings.relay.filter(|_| has_relay);
    check_room(file, &settings);
    settings.warnings = warnings(&settings);
    settings.warnings.extend(warned);
    settings
}

/// Checks that the rules have room in a loop, beside what else has its sockets there.
fn check_room(file: &mut Reader<'_>, settings: &Settings) {
    let Some(relay) = &settings.relay else { return };
    let listen = settings.tracker.as_ref().map_or(0, |tracker| tracker.listen.len());
    if let Err(message) = check_sockets(listen, &relay.rules) {
        file.problem("relay.rule", &message);
    }
}

fn invalid(path: &Path, problems: Vec<ConfigProblem>) -> ConfigError {
    ConfigError::Invalid { path: path.to_owned(), problems }
}

const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Engine, EngineChoice, RingFeature, RingFeatures};
    use crate::server::config::checks::ACCESS_FILE_UNUSED;
    use crate::server::config::{
        AccessConfig, AccessMode, ExportConfig, LISTEN_MAX, StateConfig, TrackerConfig, WorkerCount,
    };
    use crate::telemetry::log::LogFormat;
    use crate::tracker::core::{RateLimit, SourceLimitSettings, TrackerSettings};
    use proptest::prelude::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn parsed(text: &str) -> Settings {
        parse(text, Path::new("/etc/ringtide/r.toml")).map_err(|e| e.to_string()).unwrap()
    }

    fn problems(text: &str) -> Vec<ConfigProblem> {
        match parse(text, Path::new("r.toml")) {
            Err(ConfigError::Invalid { problems, .. }) => problems,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The single problem of one wrong line in `[tracker]`, the second line of the file.
    fn tracker_problem(line: &str) -> String {
        let problems = problems(&format!("[tracker]\n{line}\n"));
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        assert!(problems[0].place.starts_with("r.toml:2:"), "{line}: {problems:?}");
        problems[0].message.clone()
    }

    #[test]
    fn values_arrive_where_they_belong() {
        let settings = parsed(
            r#"
            workers = 1
            engine = "epoll"
            io_uring_without = ["defer_taskrun", "send_to"]
            cores = [2, 0x3]
            report_interval = "0s"
            shutdown_timeout = "500ms"
            log = { level = "debug", format = "json" }
            [state]
            directory = "/var/lib/ringtide"
            swarms = false
            takeover = true
            save_interval = "10m"
            [export]
            file = "torrents.csv"
            interval = "1m"
            "#,
        );
        assert_eq!(settings.workers, WorkerCount::from(1));
        assert_eq!(settings.engine, EngineChoice::Only(Engine::Epoll));
        let without = RingFeatures::NONE.with(RingFeature::DeferTaskrun);
        assert_eq!(settings.io_uring_without, without.with(RingFeature::SendTo));
        assert_eq!(settings.cores, [2, 3]);
        assert_eq!(settings.report_interval, None);
        assert_eq!(settings.shutdown_timeout, Duration::from_millis(500));
        assert_eq!(settings.log.filter.as_str(), "debug");
        assert_eq!(settings.log.format, LogFormat::Json);
        let directory = Some(PathBuf::from("/var/lib/ringtide"));
        let save_interval = Some(Duration::from_secs(600));
        let state = StateConfig { directory, swarms: false, takeover: true, save_interval };
        assert_eq!(settings.state, state);
        let file = Some(PathBuf::from("/etc/ringtide/torrents.csv"));
        assert_eq!(settings.export, ExportConfig { file, interval: Duration::from_secs(60) });
        assert_eq!(settings.warnings.len(), 2, "of saves and cores: {:?}", settings.warnings);
    }

    #[test]
    fn values_of_the_tracker_arrive_where_they_belong() {
        let settings = parsed(
            r#"
            [tracker]
            listen = ["127.0.0.1:0", "[::1]:7000"]
            announce_interval = "20s"
            announce_jitter = "0s"
            peer_timeout = "1m"
            connection_lifetime = "90s"
            connection_key_file = "/var/lib/key"
            numwant_default = 5
            numwant_max = 10
            scrape_hashes_max = 100
            memory_limit = "2GiB"
            torrents_max = 1_000
            peers_max = 2_000
            peers_per_torrent_max = 50
            answer_bad_connection_ids = true
            connects_per_source = 1
            connects_per_source_burst = 2
            announces_per_source = 3
            announces_per_source_burst = 4
            source_limit_table = 5_000
            client_statistics = true
            torrent_sizes_interval = "2m"
            access_mode = "deny"
            access_file = "lists/deny.txt"
            receive_buffer = "64KiB"
            send_buffer = "1MiB"
            steering = false
            "#,
        );
        let tracker = settings.tracker.unwrap();
        let listen: Vec<String> = tracker.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:0", "[::1]:7000"]);
        assert_eq!(tracker.connection_key_file, Some(PathBuf::from("/var/lib/key")));
        let file = PathBuf::from("/etc/ringtide/lists/deny.txt");
        assert_eq!(tracker.access, Some(AccessConfig { mode: AccessMode::Deny, file }));
        assert_eq!((tracker.receive_buffer_bytes, tracker.send_buffer_bytes), (65_536, 1 << 20));
        assert!(!tracker.steering);
        assert_eq!(tracker.memory_limit_bytes, Some(2 << 30));
        let expected = TrackerSettings {
            announce_interval_s: 20,
            announce_jitter_s: 0,
            peer_timeout_s: 60,
            connection_lifetime_s: 90,
            numwant_default: 5,
            numwant_max: 10,
            scrape_hashes_max: 100,
            torrents_max: 1_000,
            peers_max: 2_000,
            peers_per_torrent_max: 50,
            answer_bad_connection_ids: true,
            client_statistics: true,
            source_limits: SourceLimitSettings {
                connects: RateLimit { per_s: 1, burst: 2 },
                announces: RateLimit { per_s: 3, burst: 4 },
                table_sources: 5000,
            },
        };
        assert_eq!(tracker.settings, expected);
        assert_eq!(tracker.torrent_sizes_interval, Some(Duration::from_secs(120)));
        assert_eq!(settings.warnings.len(), 1, "of connects: {:?}", settings.warnings);
    }

    #[test]
    fn each_wrong_value_names_key_value_and_what_is_right() {
        for (line, parts) in [
            ("peer_timeout = \"4h\"", ["tracker.peer_timeout = \"4h\"", "1s to 3h", "14 bits"]),
            ("peer_timeout = 45", ["tracker.peer_timeout = 45", "needs its unit", "1s to 3h"]),
            ("peer_timeout = true", ["tracker.peer_timeout = true", "a duration", "1s to 3h"]),
            ("send_buffer = 1500", ["tracker.send_buffer = 1500", "B, KiB", "4KiB to 512MiB"]),
            ("send_buffer = \"4MB\"", ["tracker.send_buffer = \"4MB\"", "\"MB\"", "MiB"]),
            ("memory_limit = \"1MiB\"", ["tracker.memory_limit", "16MiB to", "divided"]),
            ("torrents_max = \"all\"", ["tracker.torrents_max", "1 to 1000000000", "\"auto\""]),
            ("numwant_max = -1", ["tracker.numwant_max = -1", "0 to 1000", "because"]),
            ("numwant_max = 0xfffff", ["tracker.numwant_max = 0xfffff", "0 to 1000", "because"]),
            ("numwant_max = \"9\"", ["tracker.numwant_max = \"9\"", "whole number", "string"]),
            ("steering = \"yes\"", ["tracker.steering = \"yes\"", "true or false", "string"]),
            ("access_mode = \"alow\"", ["tracker.access_mode", "one of", "mean \"allow\"?"]),
            ("listen = \"[::]:1\"", ["tracker.listen = \"[::]:1\"", "a list in [ ]", "string"]),
            ("listen = [\"::\"]", ["tracker.listen = \"::\"", "port", "[::]:6969"]),
            ("listen = []", ["tracker.listen", "at least one", "0.0.0.0:6969"]),
            ("connection_key_file = \"\"", ["tracker.connection_key_file", "\"\"", "name a file"]),
            ("numwant_default = 201", ["tracker.numwant_default", "numwant_max", "200"]),
            ("anounce_jitter = 1", ["unknown key \"anounce_jitter\"", "[tracker]", "announce_j"]),
        ] {
            let message = tracker_problem(line);
            for part in parts {
                assert!(message.contains(part), "{line}: {message}: {part}");
            }
        }
    }

    #[test]
    fn every_problem_is_found_in_one_go() {
        let problems = problems(
            "worker = 1\ncores = [1, 1]\n[log]\nlevel = \"inof\"\n[tracker]\npeer_timeout = 1\n\
             listen = [\"a\", \"[::]:1\", \"b\"]\n[rely]\noffload = \"auto\"\n",
        );
        let places: Vec<&str> = problems.iter().map(|problem| problem.place.as_str()).collect();
        let expected = ["1:1", "2:9", "4:9", "6:16", "7:11", "7:26", "8:2"];
        let expected = expected.map(|place| format!("r.toml:{place}"));
        assert_eq!(places, expected, "{problems:?}");
    }

    #[test]
    fn a_section_must_be_one() {
        for text in ["tracker = 1", "[[tracker]]\nlisten = []", "log = \"info\""] {
            let problems = problems(text);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].message.contains("must be a section"), "{problems:?}");
        }
    }

    #[test]
    fn mode_and_file_of_the_access_list_belong_together() {
        assert!(tracker_problem("access_mode = \"allow\"").contains("needs access_file"));
        assert!(tracker_problem("access_file = \"list\"").contains("needs access_mode"));
        let off = parsed("[tracker]\naccess_mode = \"off\"\naccess_file = \"list\"");
        assert_eq!(off.tracker.unwrap().access, None);
        assert_eq!(off.warnings, [ACCESS_FILE_UNUSED]);
        // One wrong value is one problem, not two.
        assert_eq!(problems("[tracker]\naccess_mode = \"no\"\naccess_file = \"l\"").len(), 1);
        assert_eq!(problems("[tracker]\naccess_mode = \"deny\"\naccess_file = 1").len(), 1);
    }

    #[test]
    fn the_default_numwant_follows_a_lower_maximum() {
        let tracker = parsed("[tracker]\nnumwant_max = 9").tracker.unwrap();
        assert_eq!(tracker.settings.numwant_default, 9);
    }

    #[test]
    fn caps_follow_the_memory_limit_unless_set() {
        let tracker = parsed("[tracker]\nmemory_limit = \"auto\"\npeers_max = 7").tracker.unwrap();
        assert_eq!(tracker.memory_limit_bytes, None);
        let caps = (tracker.settings.torrents_max, tracker.settings.peers_max);
        assert_eq!(caps, (TrackerSettings::NO_CAP, 7));
        let auto = parsed("[tracker]\ntorrents_max = \"auto\"").tracker.unwrap();
        assert_eq!(auto, TrackerConfig::default());
    }

    #[test]
    fn listen_addresses_have_an_upper_bound_and_no_duplicates() {
        let list: Vec<String> = (0..=LISTEN_MAX).map(|i| format!("\"127.0.0.1:{i}\"")).collect();
        assert!(tracker_problem(&format!("listen = [{}]", list.join(","))).contains("1 to 64"));
        let message = tracker_problem("listen = [\"[::1]:9\", \"[0::1]:9\"]");
        assert!(message.contains("[::1]:9 is listed twice"), "{message}");
    }

    #[test]
    fn more_workers_than_listed_cores_are_refused() {
        assert_eq!(problems("workers = 3\ncores = [0, 1]")[0].place, "r.toml:2:9");
    }

    /// Values of every type, most of them wrong for any key.
    const VALUES: &str = "-?[0-9]{1,25}|0x[0-9a-f]{1,40}|\"[0-9a-zA-Z:.]{0,9}\"|true|1e9|nan|\
                          \\[1\\]|\\{\\}";

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*|[\\[\\]a-z=\"'.0-9{}\n ,#]{0,60}") {
            let _ = parse(&text, Path::new("r.toml"));
        }

        #[test]
        fn any_value_of_any_key_is_answered(
            key in 0..known().len(),
            value in VALUES,
        ) {
            let _ = parse(&format!("{} = {value}", known()[key].key), Path::new("r.toml"));
        }
    }
}
