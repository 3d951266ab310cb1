//! The configuration file: which keys there are and where each one goes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::checks::{ACCESS_FILE_UNUSED, AccessError, access_config, check_cores, warnings};
use super::control::read_control;
use super::limits;
use super::privileges::read_privileges;
#[cfg(test)]
use super::reader::Known;
use super::reader::Reader;
use super::relay::{check_room, read_relay};
use super::{
    AccessMode, ConfigError, ConfigProblem, ExportConfig, Settings, StateConfig, TrackerConfig,
};
use crate::io::{EngineChoice, RingFeature, RingFeatures};
use crate::telemetry::log::{LogFilter, LogFormat};
use crate::tracker::core::{SourceLimitSettings, TrackerSettings};
use crate::values::limit::{Bytes, Seconds};
use crate::values::listen::{check_listen, parse_listen};

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
    let problems = reader.finish();
    if problems.is_empty() { Ok(settings) } else { Err(invalid(path, problems)) }
}

/// Every key that a file can have.
#[cfg(test)]
pub(crate) fn known_keys() -> Vec<Known> {
    let Ok(mut reader) = Reader::new("", Path::new("")) else { return Vec::new() };
    read_settings(&mut reader);
    reader.into_known()
}

/// Reads every key. What is absent or wrong keeps its default; what is wrong is noted in the
/// reader, so that the settings count only if it found no problem.
fn read_settings(file: &mut Reader<'_>) -> Settings {
    let mut settings = Settings::default();
    read_process(file, &mut settings);
    read_log(file, &mut settings);
    settings.privileges = read_privileges(file);
    // All keys are read whether their section is there or not, so that all are known.
    let (tracker, access_file_unused) = read_tracker(file);
    let (relay, relay_warnings) = read_relay(file);
    let has_relay = file.has("relay");
    settings.tracker = (file.has("tracker") || !has_relay).then_some(tracker);
    settings.relay = has_relay.then_some(relay);
    check_room(file, &settings);
    read_control(file, &mut settings);
    read_state(file, &mut settings.state);
    read_export(file, &mut settings.export);
    settings.warnings = warnings(&settings);
    if access_file_unused {
        settings.warnings.push(ACCESS_FILE_UNUSED.to_owned());
    }
    if has_relay {
        settings.warnings.extend(relay_warnings);
    }
    settings
}

/// Returns also whether there is an access file that an explicit "off" leaves unread.
fn read_tracker(file: &mut Reader<'_>) -> (TrackerConfig, bool) {
    let mut tracker = TrackerConfig::default();
    file.section("tracker");
    read_sockets(file, &mut tracker);
    read_timing(file, &mut tracker.settings);
    read_amounts(file, &mut tracker.settings);
    read_source_limits(file, &mut tracker.settings.source_limits);
    read_caps(file, &mut tracker);
    let access_file_unused = read_access(file, &mut tracker);
    (tracker, access_file_unused)
}

fn read_process(file: &mut Reader<'_>, settings: &mut Settings) {
    let workers = file.quantity("workers", &limits::WORKERS);
    set(&mut settings.workers, workers.map(Into::into));
    set(&mut settings.engine, file.choice("engine", &EngineChoice::NAMES));
    let without = file.strings("io_uring_without", str::parse::<RingFeature>);
    set(&mut settings.io_uring_without, without.map(RingFeatures::from_iter));
    set(&mut settings.cores, file.quantities("cores", &limits::CORE));
    if let Err(message) = check_cores(settings.workers, &settings.cores) {
        file.problem("cores", &message);
    }
    if let Some(Seconds(seconds)) = file.quantity("report_interval", &limits::REPORT_INTERVAL) {
        settings.report_interval = zero_is_never(seconds);
    }
    let timeout = file.quantity("shutdown_timeout", &limits::SHUTDOWN_TIMEOUT);
    set(&mut settings.shutdown_timeout, timeout);
}

fn read_log(file: &mut Reader<'_>, settings: &mut Settings) {
    file.section("log");
    let filter = file.string("log.level", |text| LogFilter::parse(text).map_err(|e| e.to_string()));
    set(&mut settings.log.filter, filter);
    set(&mut settings.log.format, file.choice("log.format", &LogFormat::NAMES));
}

fn read_state(file: &mut Reader<'_>, state: &mut StateConfig) {
    file.section("state");
    state.directory = file.path("state.directory");
    set(&mut state.swarms, file.boolean("state.swarms"));
    set(&mut state.takeover, file.boolean("state.takeover"));
    if let Some(Seconds(seconds)) = file.quantity("state.save_interval", &limits::SAVE_INTERVAL) {
        state.save_interval = zero_is_never(seconds);
    }
}

fn read_export(file: &mut Reader<'_>, export: &mut ExportConfig) {
    file.section("export");
    export.file = file.path("export.file");
    if let Some(Seconds(seconds)) = file.quantity("export.interval", &limits::EXPORT_INTERVAL) {
        export.interval = Duration::from_secs(seconds.into());
    }
}

fn read_sockets(file: &mut Reader<'_>, tracker: &mut TrackerConfig) {
    if let Some(listen) = file.strings("tracker.listen", parse_listen) {
        if let Err(message) = check_listen(&listen) {
            file.problem("tracker.listen", &message);
        }
        tracker.listen = listen;
    }
    let bytes = file.quantity("tracker.receive_buffer", &limits::SOCKET_BUFFER);
    set(&mut tracker.receive_buffer_bytes, bytes.map(|Bytes(bytes)| bytes));
    let bytes = file.quantity("tracker.send_buffer", &limits::SOCKET_BUFFER);
    set(&mut tracker.send_buffer_bytes, bytes.map(|Bytes(bytes)| bytes));
    set(&mut tracker.steering, file.boolean("tracker.steering"));
    tracker.connection_key_file = file.path("tracker.connection_key_file");
    let interval = file.quantity("tracker.torrent_sizes_interval", &limits::TORRENT_SIZES_INTERVAL);
    set(&mut tracker.torrent_sizes_interval, interval.map(|Seconds(s)| zero_is_never(s)));
}

fn read_timing(file: &mut Reader<'_>, tracker: &mut TrackerSettings) {
    let mut seconds = |key, limit, target: &mut u32| {
        set(target, file.quantity(key, limit).map(|Seconds(seconds)| seconds));
    };
    let interval = &mut tracker.announce_interval_s;
    seconds("tracker.announce_interval", &limits::ANNOUNCE_INTERVAL, interval);
    seconds("tracker.announce_jitter", &limits::ANNOUNCE_JITTER, &mut tracker.announce_jitter_s);
    seconds("tracker.peer_timeout", &limits::PEER_TIMEOUT, &mut tracker.peer_timeout_s);
    let lifetime = &mut tracker.connection_lifetime_s;
    seconds("tracker.connection_lifetime", &limits::CONNECTION_LIFETIME, lifetime);
}

fn read_amounts(file: &mut Reader<'_>, tracker: &mut TrackerSettings) {
    set(&mut tracker.numwant_max, file.quantity("tracker.numwant_max", &limits::NUMWANT));
    match file.quantity("tracker.numwant_default", &limits::NUMWANT) {
        Some(default) if default > tracker.numwant_max => file.problem(
            "tracker.numwant_default",
            &format!("{default} is above numwant_max, which is {}", tracker.numwant_max),
        ),
        Some(default) => tracker.numwant_default = default,
        None => tracker.numwant_default = tracker.numwant_default.min(tracker.numwant_max),
    }
    let hashes = file.quantity("tracker.scrape_hashes_max", &limits::SCRAPE_HASHES_MAX);
    set(&mut tracker.scrape_hashes_max, hashes);
    let answer = file.boolean("tracker.answer_bad_connection_ids");
    set(&mut tracker.answer_bad_connection_ids, answer);
    set(&mut tracker.client_statistics, file.boolean("tracker.client_statistics"));
}

fn read_source_limits(file: &mut Reader<'_>, limits: &mut SourceLimitSettings) {
    let mut read = |key, limit, target: &mut u32| set(target, file.quantity(key, limit));
    let SourceLimitSettings { connects, announces, table_sources } = limits;
    read("tracker.connects_per_source", &limits::PER_SOURCE, &mut connects.per_s);
    read("tracker.connects_per_source_burst", &limits::PER_SOURCE_BURST, &mut connects.burst);
    read("tracker.announces_per_source", &limits::PER_SOURCE, &mut announces.per_s);
    read("tracker.announces_per_source_burst", &limits::PER_SOURCE_BURST, &mut announces.burst);
    read("tracker.source_limit_table", &limits::SOURCE_LIMIT_TABLE, table_sources);
}

fn read_caps(file: &mut Reader<'_>, tracker: &mut TrackerConfig) {
    let limit = file.quantity_or_word("tracker.memory_limit", &limits::MEMORY_LIMIT, AUTO);
    set(&mut tracker.memory_limit_bytes, limit.map(|limit| limit.map(|Bytes(bytes)| bytes)));
    let caps = &mut tracker.settings;
    let mut cap = |key, limit, target: &mut u64| {
        let cap = file.quantity_or_word(key, limit, AUTO);
        set(target, cap.map(|cap| cap.unwrap_or(TrackerSettings::NO_CAP)));
    };
    cap("tracker.torrents_max", &limits::TORRENTS_MAX, &mut caps.torrents_max);
    cap("tracker.peers_max", &limits::PEERS_MAX, &mut caps.peers_max);
    let peers = file.quantity("tracker.peers_per_torrent_max", &limits::PEERS_PER_TORRENT_MAX);
    set(&mut caps.peers_per_torrent_max, peers);
}

/// Returns whether there is an access file that an explicit "off" leaves unread.
fn read_access(file: &mut Reader<'_>, tracker: &mut TrackerConfig) -> bool {
    let mode = file.choice("tracker.access_mode", &AccessMode::NAMES);
    let list = file.path("tracker.access_file");
    let has_list = list.is_some();
    // A value that is wrong by itself has been told; whether the two fit is then unknown.
    let both_read = mode.is_some() == file.has("tracker.access_mode")
        && has_list == file.has("tracker.access_file");
    match access_config(mode, list) {
        Ok(access) => tracker.access = access,
        Err(_) if !both_read => {}
        Err(AccessError::FileMissing(mode)) => file.problem(
            "tracker.access_mode",
            &format!("\"{}\" needs access_file, the list it applies to", mode.name()),
        ),
        Err(AccessError::ModeMissing) => file.problem(
            "tracker.access_file",
            "needs access_mode, \"allow\" or \"deny\", to say what the list means",
        ),
    }
    has_list && mode == Some(AccessMode::Off)
}

/// Zero is off.
pub(crate) fn zero_is_never(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

pub(super) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn invalid(path: &Path, problems: Vec<ConfigProblem>) -> ConfigError {
    ConfigError::Invalid { path: path.to_owned(), problems }
}

/// Stands for what follows from something else.
pub(super) const AUTO: &str = "auto";
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Engine;
    use crate::server::config::{AccessConfig, LISTEN_MAX, WorkerCount};
    use crate::tracker::core::RateLimit;
    use proptest::prelude::*;
    use std::path::PathBuf;

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
            key in 0..known_keys().len(),
            value in VALUES,
        ) {
            let _ = parse(&format!("{} = {value}", known_keys()[key].key), Path::new("r.toml"));
        }
    }
}
