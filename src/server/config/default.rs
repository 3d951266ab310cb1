//! The commented file that `ringtide config default` prints, made from the table of keys.

use super::keys::{Description, descriptions};
use super::table::{Entry, Reload};

/// The configuration file that documents every key, with all values at their defaults.
pub fn default_text() -> String {
    let sections = descriptions();
    let is_on_its_own = |section: &&Description| {
        // The tables in a list are explained with the key that holds it.
        !sections.iter().flat_map(|other| &other.entries).any(|entry| entry.name == section.name)
    };
    let mut text = comment(HEAD);
    for section in sections.iter().filter(is_on_its_own) {
        text.push('\n');
        if !section.name.is_empty() {
            text.push_str(&comment(section.doc));
            let mark = if section.by_default { "" } else { "# " };
            text.push_str(&format!("{mark}{}\n\n", section.title));
        }
        let keys = section.entries.iter().map(|entry| key_text(entry, section, &sections));
        text.push_str(&keys.collect::<Vec<_>>().join("\n"));
    }
    text
}

/// One key: what there is to know of it, and the line that sets it.
fn key_text(entry: &Entry, section: &Description, sections: &[Description]) -> String {
    let mut text = String::new();
    if let Some(note) = section.note_above(entry.name) {
        text.push_str(&comment(note));
        text.push_str("#\n");
    }
    text.push_str(&comment(entry.doc));
    let change = match entry.reload {
        Reload::Live => "A reload applies a change.",
        Reload::Restart => "A change needs a restart.",
    };
    text.push_str(&comment(&format!("{} {change}", facts(entry))));
    if let Some(tables) = sections.iter().find(|tables| tables.name == entry.name) {
        text.push_str(&comment(tables.doc));
        for entry in &tables.entries {
            let item = format!("{}: {} {}", entry.short_name(), entry.doc, facts(entry));
            text.push_str(&wrapped(&item, "# - ", "#   "));
        }
    }
    let is_list_of_tables = section.title.starts_with("[[");
    let default = entry.default.as_deref().filter(|_| !is_list_of_tables);
    let assignment = format!("{} = {}\n", entry.short_name(), default.unwrap_or(entry.example));
    let mark = if section.by_default && default.is_some() { "" } else { "# " };
    assignment.lines().for_each(|line| text.push_str(&format!("{mark}{line}\n")));
    text
}

/// Range, and the default where the line does not show it.
fn facts(entry: &Entry) -> String {
    let mut facts = format!("Value: {}.", entry.accepted());
    if !entry.absent.is_empty() {
        facts.push_str(&format!(" Default: {}.", entry.absent));
    }
    facts
}

fn comment(text: &str) -> String {
    text.split("\n\n").map(|part| wrapped(part, "# ", "# ")).collect::<Vec<_>>().join("#\n")
}

/// The words of a text in lines of up to [`WIDTH`] characters, the first with its own prefix.
fn wrapped(text: &str, first: &str, others: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from(first);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let space = if is_empty { "" } else { " " };
        if line.chars().count() + space.len() + word.chars().count() > WIDTH {
            lines.push_str(&format!("{line}\n"));
            line = format!("{others}{word}");
        } else {
            line.push_str(&format!("{space}{word}"));
        }
        is_empty = false;
    }
    format!("{lines}{line}\n")
}

const WIDTH: usize = 98;

const HEAD: &str = "ringtide's configuration: every key with its default.\n\n\
                    Durations and sizes carry their unit: \"30s\", \"2m\", \"1h30m\"; \"64KiB\", \
                    \"4MiB\". Relative paths start at this file's directory. An unknown key or a \
                    value out of its range is refused with its line. `ringtide config check FILE` \
                    says whether a file is valid and what it will run. SIGHUP or `ringtide ctl \
                    config reload` reads the file again; each key says whether that applies a \
                    change.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::RelaySettings;
    use crate::server::config::{Settings, TrackerConfig, parse};
    use std::path::Path;

    #[test]
    fn the_printed_default_is_the_default() {
        let settings = parse(&default_text(), Path::new("ringtide.toml")).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("", Path::new("ringtide.toml")).unwrap(), Settings::default());
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
    fn every_key_is_there_once_below_its_explanation() {
        let printed = default_text();
        let joined = printed.replace("\n#  ", "").replace("\n#", "");
        let text = uncommented();
        let mut values = 0;
        for section in descriptions() {
            let is_in_line = section.name == "relay.rule.outputs";
            assert!(section.name.is_empty() || is_in_line || text.contains(section.title));
            for entry in section.entries {
                let assignment = format!("{} = ", entry.short_name());
                let mut lines = text.lines();
                if is_in_line {
                    assert!(text.contains(&format!(" {assignment}")), "{}", entry.name);
                } else {
                    assert!(lines.any(|line| line.starts_with(&assignment)), "{}", entry.name);
                    values += 1;
                }
                assert!(joined.contains(&entry.accepted()), "{}: {joined}", entry.name);
                assert!(joined.contains(entry.doc), "{}", entry.name);
            }
        }
        let assignments = text.lines().filter(|line| is_assignment(line)).count();
        assert_eq!(assignments, values);
    }

    /// The file with everything active that is commented out.
    fn uncommented() -> String {
        let mut text = String::new();
        let mut in_list = false;
        for line in default_text().lines() {
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

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        for line in default_text().lines() {
            assert!(line.chars().count() <= WIDTH || !line.starts_with('#'), "{line}");
        }
        assert_eq!(wrapped("a b", "# - ", "#   "), "# - a b\n");
        let long = wrapped(&"word ".repeat(30), "# - ", "#   ");
        assert!(long.starts_with("# - word word") && long.contains("\n#   word word"), "{long}");
    }
}
