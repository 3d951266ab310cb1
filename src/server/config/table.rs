//! The shape of the table of configuration keys: sections, keys and the values they take.
//!
//! Everything that is known of a key stands in its entry, below `keys/`. Reading a file, writing
//! one, the text of `ringtide config default`, reloading and `docs/configuration.md` are loops over
//! the entries.

use toml_edit::{InlineTable, Item, Table};

use super::reader::Reader;

/// A section of the file, or the keys of one table in an array of tables. `S` has its values.
pub(super) struct Section<S: 'static> {
    /// How the file calls it: `tracker`, or nothing for the keys before the first section.
    pub(super) name: &'static str,
    /// How messages and documents call it: `[tracker]`.
    pub(super) title: &'static str,
    /// What its keys are for, in sentences.
    pub(super) doc: &'static str,
    /// Paragraphs about several keys, each with the name of the first one.
    pub(super) notes: &'static [(&'static str, &'static str)],
    pub(super) keys: &'static [Key<S>],
}

/// Everything about one key.
pub(super) struct Key<S: 'static> {
    /// Its full name: `tracker.listen`.
    pub(super) name: &'static str,
    /// What it does, in sentences for an operator. Unit, range and default are added to them.
    pub(super) doc: &'static str,
    /// A value as a file has it, other than the default.
    pub(super) example: &'static str,
    /// When a change of the file takes effect.
    pub(super) reload: Reload,
    /// Where the value belongs, and which values there are.
    pub(super) value: &'static dyn Value<S>,
}

/// When a change of a key in the file takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// When the file is read again.
    Live,
    /// When ringtide is started again.
    Restart,
}

/// One kind of value, tied to its place in `S`.
pub(super) trait Value<S>: Sync {
    /// Reads `key` into `target`. What is absent stays as it is; what is wrong does, too, and the
    /// reader notes it.
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S);

    /// The value as a file has it; `None` where the file would not have the key.
    fn write(&self, source: &S) -> Option<toml_edit::Value>;

    /// Takes the value over.
    fn copy(&self, from: &S, to: &mut S);

    /// The type and the unit, as in "a size" or "a list of core numbers".
    fn unit(&self) -> String;

    /// Which values are accepted, as in "10s to 2h"; empty where the unit says it all.
    fn allowed(&self) -> String {
        String::new()
    }

    /// Why others are not. Completes the sentence "allowed is …, because …".
    fn because(&self) -> &'static str {
        ""
    }

    /// What holds when the key is absent and has no default that a file could have.
    fn absent(&self) -> &'static str {
        ""
    }
}

/// A key as documents show it.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) example: &'static str,
    pub(super) reload: Reload,
    pub(super) unit: String,
    pub(super) allowed: String,
    pub(super) because: &'static str,
    /// The default as a file has it.
    pub(super) default: Option<String>,
    pub(super) absent: &'static str,
}

impl Entry {
    /// The name within the section: `listen`.
    pub(super) fn short_name(&self) -> &'static str {
        short_name(self.name)
    }

    /// Type, unit, range and the reason for it: "a number of threads, 0 to 1024, because …".
    pub(super) fn accepted(&self) -> String {
        let mut accepted = self.unit.clone();
        if !self.allowed.is_empty() {
            accepted.push_str(&format!(", {}", self.allowed));
        }
        if !self.because.is_empty() {
            accepted.push_str(&format!(", because {}", self.because));
        }
        accepted
    }
}

impl<S: Default> Section<S> {
    /// Every key, in order, with the default that `S` has.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let defaults = S::default();
        let entry = |key: &Key<S>| Entry {
            name: key.name,
            doc: key.doc,
            example: key.example,
            reload: key.reload,
            unit: key.value.unit(),
            allowed: key.value.allowed(),
            because: key.value.because(),
            default: key.value.write(&defaults).map(|value| value.to_string()),
            absent: key.value.absent(),
        };
        self.keys.iter().map(entry).collect()
    }
}

impl<S> Section<S> {
    /// Reads every key.
    pub(super) fn read(&self, file: &mut Reader<'_>, target: &mut S) {
        for key in self.keys {
            key.value.read(key.name, file, target);
        }
    }

    /// The section as a file has it.
    pub(super) fn table(&self, source: &S) -> Table {
        self.values(source).map(|(name, value)| (name, Item::Value(value))).collect()
    }

    /// The same within one line.
    pub(super) fn inline_table(&self, source: &S) -> InlineTable {
        self.values(source).collect()
    }

    fn values(&self, source: &S) -> impl Iterator<Item = (&'static str, toml_edit::Value)> {
        self.keys.iter().filter_map(|key| Some((short_name(key.name), key.value.write(source)?)))
    }

    /// The names of the keys of this class whose values differ.
    pub(super) fn changes(&self, now: &S, then: &S, class: Reload) -> Vec<&'static str> {
        let text = |key: &Key<S>, from| key.value.write(from).map(|value| value.to_string());
        let differs = |key: &&Key<S>| key.reload == class && text(key, now) != text(key, then);
        self.keys.iter().filter(differs).map(|key| key.name).collect()
    }

    /// Takes over every value that can change while ringtide runs.
    pub(super) fn copy_live(&self, from: &S, to: &mut S) {
        for key in self.keys.iter().filter(|key| key.reload == Reload::Live) {
            key.value.copy(from, to);
        }
    }
}

/// The last part of a key's name.
fn short_name(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}
