//! The table of configuration keys: every section with its place in [`Settings`].

pub(super) mod control;
mod privileges;
mod process;
pub(super) mod relay;
mod state;
mod tracker;

use std::sync::LazyLock;

use toml_edit::Table;

use super::reader::{Known, Reader};
use super::settings::Settings;
use super::table::{Entry, Reload, Section};
use crate::relay::RelaySettings;

/// A section, whatever holds its values.
pub(super) trait Part: Sync {
    /// Its name in the file; none for the keys before the first section.
    fn name(&self) -> &'static str;
    /// Reads every key, checks them together and puts the values into `settings`. Returns what is
    /// allowed but probably not meant.
    fn read(&self, file: &mut Reader<'_>, settings: &mut Settings) -> Vec<String>;
    /// The section as a file has it; `None` when the settings have none.
    fn table(&self, settings: &Settings) -> Option<Table>;
    /// The names of the keys of this class whose values differ. None differ where one of both does
    /// without the section.
    fn changes(&self, now: &Settings, then: &Settings, class: Reload) -> Vec<&'static str>;
    /// Takes over every value that can change while ringtide runs.
    fn copy_live(&self, from: &Settings, to: &mut Settings);
    /// What documents say of it.
    fn description(&self) -> Description;
}

/// What documents say of a section.
pub(super) struct Description {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) doc: &'static str,
    /// Paragraphs about several keys, each with the name of the first one.
    pub(super) notes: &'static [(&'static str, &'static str)],
    /// Whether it is there without being asked for.
    pub(super) by_default: bool,
    pub(super) entries: Vec<Entry>,
}

impl Description {
    /// The paragraph about several keys that begins at this one.
    pub(super) fn note_above(&self, key: &str) -> Option<&'static str> {
        self.notes.iter().find(|(first, _)| *first == key).map(|(_, note)| *note)
    }
}

/// A section with its place in [`Settings`].
struct Place<S: 'static> {
    section: &'static Section<S>,
    get: fn(&Settings) -> Option<S>,
    set: fn(&mut Settings, S),
    /// Checks what values must fulfil together, and returns what is probably not meant.
    check: fn(&mut Reader<'_>, &mut S) -> Vec<String>,
}

/// Every section, in the order of documents.
pub(super) static SECTIONS: [&dyn Part; 9] = [
    &Place {
        section: &process::PROCESS,
        get: |settings| Some(settings.clone()),
        set: |settings, process| *settings = process,
        check: process::check,
    },
    &Place {
        section: &process::LOG,
        get: |settings| Some(settings.log.clone()),
        set: |settings, log| settings.log = log,
        check: unchecked,
    },
    &Place {
        section: &tracker::TRACKER,
        get: |settings| settings.tracker.as_ref().map(From::from),
        set: |settings, tracker| settings.tracker = Some(tracker.into()),
        check: tracker::check,
    },
    &Place {
        section: &relay::RELAY,
        get: |settings| settings.relay.clone(),
        set: |settings, relay: RelaySettings| settings.relay = Some(relay),
        check: relay::check,
    },
    &Place {
        section: &control::CONTROL,
        get: |settings| Some(settings.control.clone()),
        set: |settings, control| settings.control = control,
        check: unchecked,
    },
    &Place {
        section: &control::HTTP,
        get: |settings| Some(settings.http),
        set: |settings, http| settings.http = http,
        check: unchecked,
    },
    &Place {
        section: &state::STATE,
        get: |settings| Some(settings.state.clone()),
        set: |settings, state| settings.state = state,
        check: unchecked,
    },
    &Place {
        section: &state::EXPORT,
        get: |settings| Some(settings.export.clone()),
        set: |settings, export| settings.export = export,
        check: unchecked,
    },
    &Place {
        section: &privileges::PRIVILEGES,
        get: |settings| Some(settings.privileges.clone()),
        set: |settings, privileges| settings.privileges = privileges,
        check: privileges::check,
    },
];

/// Every section and, after the one they belong to, the keys of tables within it.
pub(super) fn descriptions() -> Vec<Description> {
    let mut descriptions = Vec::new();
    for part in SECTIONS {
        let section = part.description();
        let has_rules = section.name == relay::RELAY.name;
        descriptions.push(section);
        if has_rules {
            descriptions.extend([described(&relay::RULE, false), described(&relay::OUTPUT, false)]);
        }
    }
    descriptions
}

/// Every section and key that a file can have.
pub(super) fn known() -> &'static [Known] {
    static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
        let sections = descriptions();
        let names: Vec<&str> = sections.iter().map(|section| section.name).collect();
        let mut known = Vec::new();
        for section in &sections {
            if !section.name.is_empty() {
                known.push(Known { key: section.name, title: Some(section.title) });
            }
            // A key that holds tables is known by their section.
            let keys = section.entries.iter().filter(|entry| !names.contains(&entry.name));
            known.extend(keys.map(|entry| Known { key: entry.name, title: None }));
        }
        known
    });
    &KNOWN
}

impl<S: Default> Part for Place<S> {
    fn name(&self) -> &'static str {
        self.section.name
    }

    fn read(&self, file: &mut Reader<'_>, settings: &mut Settings) -> Vec<String> {
        if !self.section.name.is_empty() {
            file.section(self.section.name);
        }
        let mut values = (self.get)(settings).unwrap_or_default();
        self.section.read(file, &mut values);
        let warnings = (self.check)(file, &mut values);
        (self.set)(settings, values);
        warnings
    }

    fn table(&self, settings: &Settings) -> Option<Table> {
        (self.get)(settings).map(|values| self.section.table(&values))
    }

    fn changes(&self, now: &Settings, then: &Settings, class: Reload) -> Vec<&'static str> {
        match ((self.get)(now), (self.get)(then)) {
            (Some(now), Some(then)) => self.section.changes(&now, &then, class),
            _ => Vec::new(),
        }
    }

    fn copy_live(&self, from: &Settings, to: &mut Settings) {
        if let (Some(from), Some(mut values)) = ((self.get)(from), (self.get)(to)) {
            self.section.copy_live(&from, &mut values);
            (self.set)(to, values);
        }
    }

    fn description(&self) -> Description {
        described(self.section, (self.get)(&Settings::default()).is_some())
    }
}

fn described<S: Default>(section: &Section<S>, by_default: bool) -> Description {
    Description {
        name: section.name,
        title: section.title,
        doc: section.doc,
        notes: section.notes,
        by_default,
        entries: section.entries(),
    }
}

fn unchecked<S>(_: &mut Reader<'_>, _: &mut S) -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::server::config::table::Key;

    #[test]
    fn every_entry_is_complete() {
        let mut names = std::collections::HashSet::new();
        for section in descriptions() {
            assert!(!section.doc.is_empty() && !section.title.is_empty(), "{}", section.name);
            for (first, _) in section.notes {
                assert!(section.entries.iter().any(|entry| entry.name == *first), "{first}");
            }
            for entry in section.entries {
                let name = entry.name;
                let (home, _) = name.rsplit_once('.').unwrap_or(("", name));
                assert_eq!(home, section.name, "{name} is in another section than its name says");
                assert!(names.insert(name), "{name} is there twice");
                assert!(entry.doc.ends_with('.') && !entry.unit.is_empty(), "{name}");
                let is_explained = entry.default.is_some() == entry.absent.is_empty();
                assert!(is_explained, "{name} has a default, or says what its absence means");
                assert_ne!(entry.default.as_deref(), Some(entry.example), "{name}");
            }
        }
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let mut sections = 0;
        check(&process::PROCESS, &mut sections);
        check(&process::LOG, &mut sections);
        check(&tracker::TRACKER, &mut sections);
        check(&relay::RELAY, &mut sections);
        check(&relay::RULE, &mut sections);
        check(&relay::OUTPUT, &mut sections);
        check(&control::CONTROL, &mut sections);
        check(&control::HTTP, &mut sections);
        check(&state::STATE, &mut sections);
        check(&state::EXPORT, &mut sections);
        check(&privileges::PRIVILEGES, &mut sections);
        assert_eq!(sections, descriptions().len());
    }

    /// Checks every kind of value of a section, with its default and with its example.
    fn check<S: Default>(section: &Section<S>, sections: &mut usize) {
        *sections += 1;
        for key in section.keys {
            if let Some(default) = written(key, &S::default()) {
                assert_eq!(written(key, &read(key, &default)), Some(default), "{}", key.name);
            }
            let example = read(key, key.example);
            let text = written(key, &example);
            // A relative path is written as an absolute one, which stays.
            let again = read(key, text.as_deref().unwrap());
            assert_eq!(written(key, &again), text, "{}", key.name);
            assert_ne!(text, written(key, &S::default()), "{}: nothing was read", key.name);
            let mut copy = S::default();
            key.value.copy(&example, &mut copy);
            assert_eq!(written(key, &copy), text, "{}: it is not copied", key.name);
        }
    }

    fn read<S: Default>(key: &Key<S>, value: &str) -> S {
        let text = format!("{} = {value}", key.name);
        let mut file = Reader::new(&text, Path::new("/etc/r.toml")).unwrap_or_else(|problems| {
            panic!("{text}: {problems:?}");
        });
        let mut values = S::default();
        key.value.read(key.name, &mut file, &mut values);
        let problems = file.finish(known());
        assert!(problems.is_empty(), "{problems:?}");
        values
    }

    fn written<S>(key: &Key<S>, values: &S) -> Option<String> {
        key.value.write(values).map(|value| value.to_string())
    }
}
