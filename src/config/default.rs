//! The defaults: as values, and as the commented file that `ringtide config default` prints.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{LogSettings, Settings, TrackerConfig, WorkerCount};
use crate::logging::{LogFilter, LogFormat};
use crate::tracker::TrackerSettings;

/// The configuration file that documents every key, with all values at their defaults.
pub const DEFAULT_TEXT: &str = include_str!("default.toml");

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: WorkerCount::OnePerCore,
            cores: Vec::new(),
            report_interval: Some(Duration::from_secs(10)),
            shutdown_timeout: Duration::from_secs(2),
            log: LogSettings::default(),
            tracker: TrackerConfig::default(),
            warnings: Vec::new(),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: LogFilter::default(), format: LogFormat::Text }
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
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
            steering: true,
        }
    }
}

/// The port that BitTorrent trackers listen on by custom.
const PORT: u16 = 6969;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use crate::config::parse;
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
            let (section, name) = known.key.rsplit_once('.').unwrap_or(("", known.key));
            let comment = comment_above(section, name);
            assert!(comment.contains(&known.allowed), "{}: {comment}", known.key);
        }
    }

    #[test]
    fn the_keys_that_are_commented_out_are_valid() {
        let uncommented: String = DEFAULT_TEXT
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if is_assignment(key) => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let settings =
            parse(&uncommented, Path::new("/etc/ringtide.toml")).map_err(|e| e.to_string());
        // Mode "off" with a file is worth a warning, which is all that may differ here.
        let settings = settings.unwrap();
        assert!(settings.tracker.connection_key_file.is_some());
        assert_eq!(settings.warnings.len(), 1);
        let assignments = uncommented.lines().filter(|line| is_assignment(line)).count();
        let sections = 2;
        assert_eq!(assignments, file::known_keys().len() - sections);
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
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                if section.is_empty() && header == name {
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
