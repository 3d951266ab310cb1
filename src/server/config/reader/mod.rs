//! Reads keys from a TOML document one by one and collects everything that is wrong.
//!
//! Deriving the file's structure with serde would end at the first problem; going over the spanned
//! document itself finds them all, each with its line.

mod names;
mod text;

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use self::names::Known;
use self::names::note_unknown;
use self::text::{LineCounter, printable};
use super::problem::ConfigProblem;
use crate::values::limit::{Limit, Quantity};
use crate::values::suggest::did_you_mean;

/// A document together with the problems found so far.
pub(crate) struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    root: Spanned<DeTable<'a>>,
    /// The tables being read, of each array of tables that a key goes through, outermost first.
    scopes: Vec<Scope>,
    /// Each with its offset in the text, by which they are sorted in the end.
    problems: Vec<(usize, String)>,
    /// The offsets of values that could not be read.
    wrong: Vec<usize>,
}

/// One table of an array of tables.
struct Scope {
    index: usize,
    /// How messages call it.
    label: String,
}

/// An array of tables: `[[relay.rule]]`, or the inline tables in one of its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    pub(crate) key: &'static str,
    /// What one of them is called, as in "rule 2".
    pub(crate) noun: &'static str,
    /// Completes the sentence "must be a list of tables, as in …".
    pub(crate) written: &'static str,
}

impl<'a> Reader<'a> {
    /// Parses the document; on failure returns every syntax error.
    pub(crate) fn new(text: &'a str, path: &'a Path) -> Result<Self, Vec<ConfigProblem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let (scopes, problems, wrong) = (Vec::new(), Vec::new(), Vec::new());
        let mut reader = Self { text, path, root, scopes, problems, wrong };
        if errors.is_empty() {
            return Ok(reader);
        }
        for error in errors {
            let offset = error.span().map_or(text.len(), |span| span.start);
            reader.problems.push((offset, format!("invalid TOML: {}", error.message())));
        }
        Err(reader.into_problems())
    }

    /// A number with its unit, within `limit`.
    pub(crate) fn quantity<T: Quantity>(
        &mut self,
        key: &'static str,
        limit: &Limit<T>,
    ) -> Option<T> {
        self.read(key, |value| quantity(value, limit))
    }

    /// A quantity, or one word in its place. Returns `None` inside for the word.
    pub(crate) fn quantity_or_word<T: Quantity>(
        &mut self,
        key: &'static str,
        limit: &Limit<T>,
        word: &str,
    ) -> Option<Option<T>> {
        self.read(key, |value| match value.as_str() {
            Some(text) if text == word => Ok(None),
            _ => quantity(value, limit)
                .map(Some)
                .map_err(|message| format!("{message}; \"{word}\" is allowed, too")),
        })
    }

    /// A list of quantities of the same kind.
    pub(crate) fn quantities<T: Quantity>(
        &mut self,
        key: &'static str,
        limit: &Limit<T>,
    ) -> Option<Vec<T>> {
        self.list(key, |value| quantity(value, limit))
    }

    /// A list of strings, each read by `parse`.
    pub(crate) fn strings<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list(key, |value| parse(string(value)?))
    }

    /// A string read by `parse`.
    pub(crate) fn string<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, |value| parse(string(value)?))
    }

    /// One of a few names.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.read(key, |value| {
            let name = string(value)?;
            let found = choices.iter().find(|(choice, _)| *choice == name);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let allowed = quoted(choices.iter().map(|(choice, _)| *choice));
                let tip = did_you_mean(name, choices.iter().map(|(choice, _)| *choice));
                format!("allowed is one of {allowed}{tip}")
            })
        })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, |value| value.as_bool().ok_or_else(|| wrong_type("true or false", value)))
    }

    /// A path, made relative to the directory of the configuration file.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        self.string(key, |path| match path {
            "" => Err("must name a file".to_owned()),
            path if path.contains('\0') => Err("a path cannot contain a NUL".to_owned()),
            path => Ok(directory.join(path)),
        })
    }

    /// A path as [`Self::path`] reads it, or one word in its place, which is `None` inside.
    pub(crate) fn path_or_word(
        &mut self,
        key: &'static str,
        word: &str,
    ) -> Option<Option<PathBuf>> {
        let is_word = self.find(key).is_some_and(|value| value.get_ref().as_str() == Some(word));
        let path = self.path(key);
        if is_word { Some(None) } else { path.map(Some) }
    }

    /// Announces a section; that it is one is a problem of its own.
    pub(crate) fn section(&mut self, key: &'static str) {
        let Some(value) = self.root.get_ref().get(key) else { return };
        if !value.get_ref().is_table() {
            let message =
                format!("{key} must be a section: write [{key}] once and its keys below it");
            self.problems.push((value.span().start, message));
        }
    }

    /// Reads each table of an array: in `read`, keys below `tables.key` are those of the one table
    /// whose index is given. Returns what `read` made of each, in order, also of those that are no
    /// tables and seem empty to it.
    pub(crate) fn each<T>(
        &mut self,
        tables: Tables,
        mut read: impl FnMut(&mut Self, usize) -> T,
    ) -> Vec<T> {
        let wrong = |span: Range<usize>, value: &DeValue<'_>| {
            let kind = value.type_str();
            let written = tables.written;
            let message = format!("must be a list of tables, as in {written}, not of type {kind}");
            (span.start, message)
        };
        let (mut places, mut not_a_list) = (Vec::new(), None);
        if let Some(value) = self.find(tables.key) {
            match value.get_ref().as_array() {
                Some(array) => places.extend(array.iter().map(|element| {
                    let is_table = element.get_ref().is_table();
                    (!is_table).then(|| wrong(element.span(), element.get_ref()))
                })),
                None => not_a_list = Some(wrong(value.span(), value.get_ref())),
            }
        }
        if let Some((offset, message)) = not_a_list {
            self.problems.push((offset, format!("{}: {message}", self.name(tables.key))));
        }
        let mut items = Vec::with_capacity(places.len());
        for (index, wrong) in places.into_iter().enumerate() {
            items.push(self.within(tables, index, wrong.is_some(), &mut read));
            if let Some((offset, message)) = wrong {
                let name = self.name(tables.key);
                self.problems.push((offset, format!("{name}: {message}")));
            }
        }
        items
    }

    /// Reads one table. Of one that is `absent`, no problem is kept.
    fn within<T>(
        &mut self,
        tables: Tables,
        index: usize,
        absent: bool,
        read: &mut impl FnMut(&mut Self, usize) -> T,
    ) -> T {
        let label = format!("{} {}", tables.noun, index + 1);
        self.scopes.push(Scope { index, label });
        let problems = self.problems.len();
        let item = read(self, index);
        if absent {
            self.problems.truncate(problems);
        }
        self.scopes.pop();
        item
    }

    /// Sets how messages call the table being read.
    pub(crate) fn label(&mut self, label: String) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.label = label;
        }
    }

    /// Records a problem with the value of `key`, or if the key is absent, with what it would be
    /// in: its table, its section or the file.
    pub(crate) fn problem(&mut self, key: &str, message: &str) {
        let indices: Vec<usize> = self.scopes.iter().map(|scope| scope.index).collect();
        let message = format!("{}: {message}", self.name(key));
        self.problem_at(key, &indices, message);
    }

    /// Records a problem with what `key` is when each array on the way is entered at its index in
    /// `indices`. The message is taken as it is.
    pub(crate) fn problem_at(&mut self, key: &str, indices: &[usize], message: String) {
        let ancestors = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let mut values = ancestors.filter_map(|key| self.locate(key, indices.iter().copied()));
        let offset = values.next().map_or(0, |value| value.span().start);
        self.problems.push((offset, message));
    }

    /// Whether the document has `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether the document has `key` and its value could be read.
    pub(crate) fn is_read(&self, key: &str) -> bool {
        self.has(key) && !self.is_wrong(key)
    }

    /// Whether the document has `key` with a value that could not be read.
    pub(crate) fn is_wrong(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| self.wrong.contains(&value.span().start))
    }

    /// Refuses keys that are not `known`, and returns all problems in the order of the file.
    pub(crate) fn finish(mut self, known: &[Known]) -> Vec<ConfigProblem> {
        note_unknown(known, self.root.get_ref(), "", &mut self.problems);
        self.into_problems()
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.find(key)?;
        let message = match parse(value.get_ref()) {
            Ok(read) => return Some(read),
            Err(message) => message,
        };
        let span = value.span();
        self.wrong.push(span.start);
        self.wrong_value(key, span, &message);
        None
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.find(key)?;
        let start = value.span().start;
        let mut wrong = Vec::new();
        let mut list = Vec::new();
        match value.get_ref().as_array() {
            Some(array) => {
                for element in array.iter() {
                    match parse(element.get_ref()) {
                        Ok(read) => list.push(read),
                        Err(message) => wrong.push((element.span(), message)),
                    }
                }
            }
            None => wrong.push((value.span(), wrong_type("a list in [ ]", value.get_ref()))),
        }
        if wrong.is_empty() {
            return Some(list);
        }
        self.wrong.push(start);
        for (span, message) in wrong {
            self.wrong_value(key, span, &message);
        }
        None
    }

    fn wrong_value(&mut self, key: &str, span: Range<usize>, message: &str) {
        let excerpt = printable(self.text.get(span.clone()).unwrap_or_default());
        self.problems.push((span.start, format!("{} = {excerpt}: {message}", self.name(key))));
    }

    /// How messages call a key: `tracker.listen`, or `rule "a", output 2: ttl`.
    fn name(&self, key: &str) -> String {
        if self.scopes.is_empty() {
            return key.to_owned();
        }
        let labels: Vec<&str> = self.scopes.iter().map(|scope| scope.label.as_str()).collect();
        let (_, name) = key.rsplit_once('.').unwrap_or(("", key));
        format!("{}: {name}", labels.join(", "))
    }

    fn find(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        self.locate(key, self.scopes.iter().map(|scope| scope.index))
    }

    fn locate(
        &self,
        key: &str,
        mut indices: impl Iterator<Item = usize>,
    ) -> Option<&Spanned<DeValue<'a>>> {
        let mut names = key.split('.');
        let mut value = self.root.get_ref().get(names.next()?)?;
        loop {
            if let Some(array) = value.get_ref().as_array()
                && let Some(index) = indices.next()
            {
                value = array.get(index)?;
            }
            match names.next() {
                Some(name) => value = value.get_ref().as_table()?.get(name)?,
                None => return Some(value),
            }
        }
    }

    fn into_problems(mut self) -> Vec<ConfigProblem> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        let path = self.path.display();
        let mut lines = LineCounter::new(self.text);
        self.problems
            .into_iter()
            .map(|(offset, message)| {
                let (line, column) = lines.advance(offset);
                ConfigProblem { place: format!("{path}:{line}:{column}"), message }
            })
            .collect()
    }
}

fn quantity<T: Quantity>(value: &DeValue<'_>, limit: &Limit<T>) -> Result<T, String> {
    let wrong_type = || Err(format!("{}; allowed is {limit}", wrong_type(T::NAME, value)));
    match value {
        DeValue::String(text) if T::QUOTED => limit.parse(text),
        DeValue::Integer(integer) if integer.radix() == 10 => limit.parse(integer.as_str()),
        DeValue::Integer(integer) => {
            match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => limit.parse(&number.to_string()),
                Err(_) => wrong_type(),
            }
        }
        _ => wrong_type(),
    }
}

fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wrong_type("a string in quotes", value))
}

/// Names as messages list them: `"a", "b"`.
pub(crate) fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn wrong_type(expected: &str, found: &DeValue<'_>) -> String {
    format!("must be {expected}, not of type {}", found.type_str())
}

#[cfg(test)]
mod tests;
