//! The kinds of values that keys take.
//!
//! Each has a pair of functions that find the value's place: `get` and `set`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::{Reader, quoted};
use super::table::Value;
use crate::values::limit::{Limit, Quantity, Seconds};

/// A number with its unit, within a range.
pub(super) struct Number<S, T: 'static> {
    /// What a plain number counts, or what to call a number with a unit; empty where its type says
    /// enough.
    pub(super) unit: &'static str,
    pub(super) limit: &'static Limit<T>,
    pub(super) get: fn(&S) -> T,
    pub(super) set: fn(&mut S, T),
}

/// A number within a range, or one word.
pub(super) struct NumberOrWord<S, T: 'static> {
    pub(super) unit: &'static str,
    pub(super) limit: &'static Limit<T>,
    pub(super) word: &'static str,
    /// What holds when it is absent; empty where that is the word.
    pub(super) absent: &'static str,
    pub(super) get: fn(&S) -> OrWord<T>,
    pub(super) set: fn(&mut S, OrWord<T>),
}

/// A list of numbers.
pub(super) struct Numbers<S, T: 'static> {
    pub(super) unit: &'static str,
    pub(super) limit: &'static Limit<T>,
    pub(super) get: fn(&S) -> Vec<T>,
    pub(super) set: fn(&mut S, Vec<T>),
}

/// One of a few names.
pub(super) struct Choice<S, T: 'static> {
    pub(super) choices: &'static [(&'static str, T)],
    pub(super) get: fn(&S) -> T,
    pub(super) set: fn(&mut S, T),
}

/// `true` or `false`.
pub(super) struct Boolean<S> {
    pub(super) get: fn(&S) -> bool,
    pub(super) set: fn(&mut S, bool),
}

/// A string that is always there.
pub(super) struct Text<S, T> {
    pub(super) unit: &'static str,
    pub(super) parse: fn(&str) -> Result<T, String>,
    pub(super) get: fn(&S) -> T,
    pub(super) set: fn(&mut S, T),
}

/// A string that may be absent.
pub(super) struct OptionalText<S, T> {
    pub(super) unit: &'static str,
    pub(super) absent: &'static str,
    pub(super) parse: fn(&str) -> Result<T, String>,
    pub(super) get: fn(&S) -> Option<T>,
    pub(super) set: fn(&mut S, Option<T>),
}

/// The path of a file or a directory, relative to the directory of the configuration file.
pub(super) struct File<S> {
    pub(super) absent: &'static str,
    pub(super) get: fn(&S) -> Option<PathBuf>,
    pub(super) set: fn(&mut S, Option<PathBuf>),
}

/// A path, or one word.
pub(super) struct FileOrWord<S> {
    pub(super) word: &'static str,
    pub(super) absent: &'static str,
    pub(super) get: fn(&S) -> OrWord<PathBuf>,
    pub(super) set: fn(&mut S, OrWord<PathBuf>),
}

/// A list of strings.
pub(super) struct List<S, T> {
    pub(super) unit: &'static str,
    pub(super) allowed: fn() -> String,
    pub(super) because: &'static str,
    /// What an empty list means that is not written; empty where it is.
    pub(super) absent: &'static str,
    pub(super) parse: fn(&str) -> Result<T, String>,
    /// Checks the list as a whole.
    pub(super) check: fn(&[T]) -> Result<(), String>,
    pub(super) get: fn(&S) -> Vec<T>,
    pub(super) set: fn(&mut S, Vec<T>),
}

/// What a key says that takes a value or a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrWord<T> {
    /// Nothing.
    Absent,
    /// The word.
    Word,
    /// A value.
    Value(T),
}

impl<T> OrWord<T> {
    /// The value, if it is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Absent | Self::Word => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for OrWord<T> {
    /// Without a value it is the word.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Word, Self::Value)
    }
}

impl<S, T: Quantity + Sync> Value<S> for Number<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(value) = file.quantity(key, self.limit) {
            (self.set)(target, value);
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        Some(quantity((self.get)(source)))
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        unit_of::<T>(self.unit)
    }

    fn allowed(&self) -> String {
        self.limit.to_string()
    }

    fn because(&self) -> &'static str {
        self.limit.because
    }
}

impl<S, T: Quantity + Sync> Value<S> for NumberOrWord<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(value) = file.quantity_or_word(key, self.limit, self.word) {
            (self.set)(target, value.into());
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        match (self.get)(source) {
            OrWord::Absent => None,
            OrWord::Word => Some(self.word.into()),
            OrWord::Value(value) => Some(quantity(value)),
        }
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        unit_of::<T>(self.unit)
    }

    fn allowed(&self) -> String {
        format!("{}, or \"{}\"", self.limit, self.word)
    }

    fn because(&self) -> &'static str {
        self.limit.because
    }

    fn absent(&self) -> &'static str {
        self.absent
    }
}

impl<S, T: Quantity + Sync> Value<S> for Numbers<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(values) = file.quantities(key, self.limit) {
            (self.set)(target, values);
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        Some(list((self.get)(source).into_iter().map(quantity)))
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        format!("a list of {}", self.unit)
    }

    fn allowed(&self) -> String {
        format!("{} each", self.limit)
    }

    fn because(&self) -> &'static str {
        self.limit.because
    }
}

impl<S, T: Copy + PartialEq + Sync> Value<S> for Choice<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(choice) = file.choice(key, self.choices) {
            (self.set)(target, choice);
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        let chosen = (self.get)(source);
        let named = self.choices.iter().find(|(_, choice)| *choice == chosen);
        named.map(|(name, _)| (*name).into())
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        format!("one of {}", quoted(self.choices.iter().map(|(name, _)| *name)))
    }
}

impl<S> Value<S> for Boolean<S> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(value) = file.boolean(key) {
            (self.set)(target, value);
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        Some((self.get)(source).into())
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        "true or false".to_owned()
    }
}

impl<S, T: Display> Value<S> for Text<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(value) = file.string(key, self.parse) {
            (self.set)(target, value);
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        Some((self.get)(source).to_string().into())
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        self.unit.to_owned()
    }
}

impl<S, T: Display> Value<S> for OptionalText<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(value) = file.string(key, self.parse) {
            (self.set)(target, Some(value));
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        (self.get)(source).map(|value| value.to_string().into())
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        self.unit.to_owned()
    }

    fn absent(&self) -> &'static str {
        self.absent
    }
}

impl<S> Value<S> for File<S> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(path) = file.path(key) {
            (self.set)(target, Some(path));
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        (self.get)(source).map(|file| path(&file))
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        "a path".to_owned()
    }

    fn absent(&self) -> &'static str {
        self.absent
    }
}

impl<S> Value<S> for FileOrWord<S> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        if let Some(path) = file.path_or_word(key, self.word) {
            (self.set)(target, path.into());
        }
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        match (self.get)(source) {
            OrWord::Absent => None,
            OrWord::Word => Some(self.word.into()),
            OrWord::Value(file) => Some(path(&file)),
        }
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        format!("a path, or \"{}\"", self.word)
    }

    fn absent(&self) -> &'static str {
        self.absent
    }
}

impl<S, T: Display> Value<S> for List<S, T> {
    fn read(&self, key: &'static str, file: &mut Reader<'_>, target: &mut S) {
        let Some(values) = file.strings(key, self.parse) else { return };
        if let Err(message) = (self.check)(&values) {
            file.problem(key, &message);
        }
        (self.set)(target, values);
    }

    fn write(&self, source: &S) -> Option<toml_edit::Value> {
        let values = (self.get)(source);
        let is_written = self.absent.is_empty() || !values.is_empty();
        is_written.then(|| list(values.into_iter().map(|value| value.to_string().into())))
    }

    fn copy(&self, from: &S, to: &mut S) {
        (self.set)(to, (self.get)(from));
    }

    fn unit(&self) -> String {
        format!("a list of {}", self.unit)
    }

    fn allowed(&self) -> String {
        (self.allowed)()
    }

    fn because(&self) -> &'static str {
        self.because
    }

    fn absent(&self) -> &'static str {
        self.absent
    }
}

fn quantity<T: Quantity>(value: T) -> toml_edit::Value {
    let text = value.to_text();
    match text.parse::<i64>() {
        Ok(number) if !T::QUOTED => number.into(),
        _ => text.into(),
    }
}

/// Absolute, so that it means the same wherever the text is saved.
fn path(file: &Path) -> toml_edit::Value {
    let absolute = std::path::absolute(file);
    absolute.as_deref().unwrap_or(file).to_string_lossy().into_owned().into()
}

fn list(values: impl Iterator<Item = toml_edit::Value>) -> toml_edit::Value {
    toml_edit::Value::Array(values.collect())
}

fn unit_of<T: Quantity>(unit: &str) -> String {
    match unit {
        "" => T::NAME.to_owned(),
        unit if T::QUOTED => unit.to_owned(),
        counted => format!("a number of {counted}"),
    }
}

/// An interval of which none is zero.
pub(super) fn none_or_every(interval: Option<Duration>) -> Seconds {
    Seconds(u32::try_from(interval.unwrap_or_default().as_secs()).unwrap_or(u32::MAX))
}

/// Zero is never.
pub(crate) fn zero_is_never(Seconds(seconds): Seconds) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// The unit of what the tracker counts in seconds.
pub(super) const WHOLE_SECONDS: &str = "a duration in whole seconds";
