//! The defaults: as values, and as the commented file that `ringtide config default` prints.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{ControlConfig, ExportConfig, Settings, StateConfig, TrackerConfig, WorkerCount};
use crate::io::{EngineChoice, RingFeatures};
use crate::server::sandbox::PrivilegeSettings;
use crate::telemetry::log::LogSettings;
use crate::tracker::core::TrackerSettings;

/// The configuration file that documents every key, with all values at their defaults.
pub const DEFAULT_TEXT: &str = include_str!("default.toml");

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: None,
            workers: WorkerCount::OnePerCore,
            engine: EngineChoice::Auto,
            io_uring_without: RingFeatures::NONE,
            cores: Vec::new(),
            report_interval: Some(Duration::from_secs(10)),
            shutdown_timeout: Duration::from_secs(2),
            log: LogSettings::default(),
            privileges: PrivilegeSettings::default(),
            tracker: Some(TrackerConfig::default()),
            relay: None,
            control: ControlConfig::default(),
            http: None,
            state: StateConfig::default(),
            export: ExportConfig::default(),
            warnings: Vec::new(),
            overridden: Vec::new(),
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { directory: None, swarms: true, takeover: false, save_interval: None }
    }
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { file: None, interval: Duration::from_secs(300) }
    }
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            settings: TrackerSettings::default(),
            listen: vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
            ],
            connection_key_file: None,
            access: None,
            memory_limit_bytes: None,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
            steering: true,
            torrent_sizes_interval: None,
        }
    }
}

/// The port that BitTorrent trackers listen on by custom.
const PORT: u16 = 6969;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::RelaySettings;
    use crate::server::config::file;
    use crate::server::config::parse;
    use crate::server::config::reader::Known;
    use std::path::Path;

    #[test]
    fn the_printed_default_is_the_default() {
        let settings = parse(DEFAULT_TEXT, Path::new("ringtide.toml")).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("", Path::new("ringtide.toml")).unwrap(), Settings::default());
    }

    #[test]
    fn the_printed_default_names_every_key_with_its_range() {
        for known in file::known_keys() {
            // Those of an inline table are explained with the key that holds it.
            let key = known.key.strip_prefix("relay.rule.outputs.");
            let key = key.map_or(known.key, |_| "relay.rule.outputs");
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let comment = comment_above(section, name);
            assert!(comment.contains(&known.allowed), "{}: {comment}", known.key);
        }
    }

    #[test]
    fn everything_that_is_commented_out_is_valid() {
        let settings = parse(&uncommented(), Path::new("/etc/ringtide.toml"));
        let settings = settings.map_err(|error| error.to_string()).unwrap();
        let tracker = settings.tracker.unwrap();
        assert!(tracker.connection_key_file.is_some());
        assert!(settings.state.directory.is_some() && settings.export.file.is_some());
        // Mode "off" with a file is worth a warning, which is all that may differ here.
        assert_eq!(settings.warnings.len(), 1);
        assert_eq!(
            TrackerConfig { connection_key_file: None, ..tracker },
            TrackerConfig::default()
        );
        let relay = settings.relay.unwrap();
        assert_eq!(relay.rules.len(), 1);
        assert_eq!(RelaySettings { rules: Vec::new(), ..relay }, RelaySettings::default());
    }

    #[test]
    fn every_key_is_there_once() {
        let text = uncommented();
        let mut values = 0;
        for known in file::known_keys() {
            let header = known.title.as_deref();
            let is_there = |line: &&str| match header {
                Some(title) if title.starts_with('[') => *line == title,
                Some(_) => line.starts_with("outputs = "),
                None => {
                    let (_, name) = known.key.rsplit_once('.').unwrap_or(("", known.key));
                    line.starts_with(&format!("{name} = ")) || line.contains(&format!(" {name} = "))
                }
            };
            assert!(text.lines().any(|line| is_there(&line)), "{}", known.key);
            values += usize::from(is_value(&known));
        }
        let assignments = text.lines().filter(|line| is_assignment(line)).count();
        assert_eq!(assignments, values);
    }

    /// Whether a key stands on a line of its own, which section headers and keys of inline
    /// tables do not.
    fn is_value(known: &Known) -> bool {
        let is_header = known.title.as_deref().is_some_and(|title| title.starts_with('['));
        !is_header && !known.key.starts_with("relay.rule.outputs.")
    }

    /// The file with everything in force that is commented out.
    fn uncommented() -> String {
        let mut text = String::new();
        let mut in_list = false;
        for line in DEFAULT_TEXT.lines() {
            let body = line.strip_prefix("# ").filter(|body| {
                in_list || is_assignment(body) || body.starts_with('[') && body.ends_with(']')
            });
            let body = body.unwrap_or(line);
            in_list = body.ends_with('[') || in_list && body != "]";
            text.push_str(body);
            text.push('\n');
        }
        text
    }

    fn is_assignment(line: &str) -> bool {
        line.split_once(" = ").is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
    }

    /// The comment in front of a key or a section header, its lines joined.
    fn comment_above(section: &str, name: &str) -> String {
        let mut comment = String::new();
        let mut current = "";
        for line in DEFAULT_TEXT.lines() {
            let body = line.strip_prefix("# ").unwrap_or(line);
            if section == current && body.starts_with(&format!("{name} = ")) {
                return comment;
            }
            if body.starts_with('[') && body.ends_with(']') {
                let header = body.trim_matches(['[', ']']);
                if header.rsplit_once('.').unwrap_or(("", header)) == (section, name) {
                    return comment;
                }
                current = header;
            }
            match line.strip_prefix('#') {
                Some(text) => comment.push_str(text),
                None => comment.clear(),
            }
        }
        panic!("default.toml does not name {section}.{name}");
    }
}
