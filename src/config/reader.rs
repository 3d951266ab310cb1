//! Reads keys from a TOML document one by one and collects everything that is wrong.
//!
//! Deriving the file's structure with serde would end at the first problem; going over the spanned
//! document itself finds them all, each with its line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::limit::{Limit, Quantity};
use super::suggest::{did_you_mean, nearest};

/// A key that was asked for, in the form `tracker.listen`, and what it accepts.
pub(crate) struct Known {
    pub(crate) key: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with default.toml"))]
    pub(crate) allowed: String,
}

/// A document together with the keys asked for so far and the problems found so far.
pub(crate) struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    root: Spanned<DeTable<'a>>,
    known: Vec<Known>,
    /// Each with its offset in the text, by which they are sorted in the end.
    problems: Vec<(usize, String)>,
}

impl<'a> Reader<'a> {
    /// Parses the document; on failure returns every syntax error.
    pub(crate) fn new(text: &'a str, path: &'a Path) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reader = Self { text, path, root, known: Vec::new(), problems: Vec::new() };
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
        self.read(key, limit.to_string(), |value| quantity(value, limit))
    }

    /// A list of quantities of the same kind.
    pub(crate) fn quantities<T: Quantity>(
        &mut self,
        key: &'static str,
        limit: &Limit<T>,
    ) -> Option<Vec<T>> {
        self.list(key, limit.to_string(), |value| quantity(value, limit))
    }

    /// A list of strings, each read by `parse`.
    pub(crate) fn strings<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list(key, String::new(), |value| parse(string(value)?))
    }

    /// A string read by `parse`.
    pub(crate) fn string<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, String::new(), |value| parse(string(value)?))
    }

    /// One of a few names.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let names = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>();
        let allowed = names.join(", ");
        self.read(key, allowed.clone(), |value| {
            let name = string(value)?;
            let found = choices.iter().find(|(choice, _)| *choice == name);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let tip = did_you_mean(name, choices.iter().map(|(choice, _)| *choice));
                format!("allowed is one of {allowed}{tip}")
            })
        })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, "true, false".to_owned(), |value| {
            value.as_bool().ok_or_else(|| wrong_type("true or false", value))
        })
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

    /// Announces a section; that it is one is a problem of its own.
    pub(crate) fn section(&mut self, key: &'static str) {
        self.known.push(Known { key, allowed: String::new() });
        let Some(value) = self.root.get_ref().get(key) else { return };
        if !value.get_ref().is_table() {
            let message =
                format!("{key} must be a section: write [{key}] once and its keys below it");
            self.problems.push((value.span().start, message));
        }
    }

    /// Records a problem with the value of `key`, or with its section or the file if the key
    /// is absent.
    pub(crate) fn problem(&mut self, key: &'static str, message: &str) {
        let span = self.find(key).map(Spanned::span).or_else(|| {
            let (section, _) = key.split_once('.')?;
            self.root.get_ref().get(section).map(Spanned::span)
        });
        self.problems.push((span.map_or(0, |span| span.start), format!("{key}: {message}")));
    }

    /// Whether the document has `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Refuses the keys that nobody asked for, and returns all problems in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        for (name, value) in self.root.get_ref() {
            let Some(section) = self.known_key(name.get_ref()) else {
                self.problems.push((name.span().start, self.unknown("", name.get_ref())));
                continue;
            };
            for (name, _) in value.get_ref().as_table().into_iter().flatten() {
                if self.known_key(&format!("{section}.{}", name.get_ref())).is_none() {
                    self.problems.push((name.span().start, self.unknown(section, name.get_ref())));
                }
            }
        }
        self.into_problems()
    }

    /// Every key asked for.
    #[cfg(test)]
    pub(crate) fn into_known(self) -> Vec<Known> {
        self.known
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        allowed: String,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(Known { key, allowed });
        let value = self.find(key)?;
        let message = match parse(value.get_ref()) {
            Ok(read) => return Some(read),
            Err(message) => message,
        };
        let span = value.span();
        self.problems.push((span.start, format!("{key} = {}: {message}", self.excerpt(span))));
        None
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        allowed: String,
        parse: impl Fn(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.known.push(Known { key, allowed });
        let value = self.find(key)?;
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
        for (span, message) in wrong {
            self.problems.push((span.start, format!("{key} = {}: {message}", self.excerpt(span))));
        }
        None
    }

    fn find(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        match key.split_once('.') {
            Some((section, name)) => {
                self.root.get_ref().get(section)?.get_ref().as_table()?.get(name)
            }
            None => self.root.get_ref().get(key),
        }
    }

    fn known_key(&self, key: &str) -> Option<&'static str> {
        self.known.iter().map(|known| known.key).find(|known| *known == key)
    }

    fn unknown(&self, section: &str, name: &str) -> String {
        let parts = |known: &Known| known.key.rsplit_once('.').unwrap_or(("", known.key));
        let siblings = self.known.iter().map(parts).filter(|(s, _)| *s == section);
        let elsewhere = self.known.iter().map(parts).find(|(_, n)| *n == name);
        let tip = match (nearest(name, siblings.map(|(_, name)| name)), elsewhere) {
            (_, Some(("", _))) => "; it belongs before the first section".to_owned(),
            (_, Some((home, _))) => format!("; it belongs in [{home}]"),
            (Some(near), None) => format!("; did you mean \"{near}\"?"),
            (None, None) => String::new(),
        };
        let shown = printable(name);
        match section {
            "" => format!("unknown key \"{shown}\"{tip}"),
            _ => format!("unknown key \"{shown}\" in [{section}]{tip}"),
        }
    }

    fn excerpt(&self, span: Range<usize>) -> String {
        printable(self.text.get(span).unwrap_or_default())
    }

    fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        let path = self.path.display();
        let mut lines = LineCounter { text: self.text, offset: 0, line: 1, column: 1 };
        self.problems
            .into_iter()
            .map(|(offset, message)| {
                let (line, column) = lines.advance(offset);
                Problem { place: format!("{path}:{line}:{column}"), message }
            })
            .collect()
    }
}

/// Turns ascending offsets into lines and columns in one pass over the text.
struct LineCounter<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
}

impl LineCounter<'_> {
    fn advance(&mut self, offset: usize) -> (usize, usize) {
        for character in self.text.get(self.offset..offset).unwrap_or_default().chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
            self.offset += character.len_utf8();
        }
        (self.line, self.column)
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

fn wrong_type(expected: &str, found: &DeValue<'_>) -> String {
    format!("must be {expected}, not of type {}", found.type_str())
}

/// File contents as they may go to a terminal: one line, bounded, without control characters.
fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(EXCERPT_CHARS_MAX) {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

const EXCERPT_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str) -> Reader<'_> {
        Reader::new(text, Path::new("r.toml")).map_err(|p| format!("{p:?}")).unwrap()
    }

    fn lines(problems: Vec<Problem>) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_none() {
        let mut file = reader("a = 5\n[s]\nb = true\nc = [\"x\", \"y\"]\np = \"k\"");
        let limit = Limit { min: 0_u32, max: 9, because: "" };
        assert_eq!(file.quantity("a", &limit), Some(5));
        file.section("s");
        assert_eq!(file.boolean("s.b"), Some(true));
        assert_eq!(file.strings("s.c", |t| Ok(t.len())), Some(vec![1, 1]));
        assert_eq!(file.path("s.p"), Some(PathBuf::from("k")));
        assert_eq!(file.boolean("s.absent"), None);
        assert!(file.has("s.b") && !file.has("s.absent") && !file.has("t.b"));
        assert!(file.finish().is_empty());
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_with_their_places() {
        let mut file = reader("e = 1\n\"ü\" = \"ü\"\nb = \"ü\"\n[s]\n  x = 1\n");
        file.section("s");
        let limit = Limit { min: 2_u32, max: 9, because: "of this" };
        file.boolean("b");
        file.quantity("e", &limit);
        assert_eq!(
            lines(file.finish()),
            [
                "r.toml:1:5: e = 1: allowed is 2 to 9, because of this",
                "r.toml:2:1: unknown key \"ü\"",
                "r.toml:3:5: b = \"ü\": must be true or false, not of type string",
                "r.toml:5:3: unknown key \"x\" in [s]",
            ]
        );
    }

    #[test]
    fn every_syntax_error_is_told() {
        let problems = Reader::new("a = \nb = 1\nc = =\nb = 2", Path::new("r.toml")).err();
        let lines = lines(problems.unwrap());
        for line in ["r.toml:1:", "r.toml:3:", "r.toml:4:"] {
            assert!(lines.iter().any(|problem| problem.starts_with(line)), "{line} {lines:?}");
        }
        assert!(lines.iter().all(|problem| problem.contains(": invalid TOML: ")), "{lines:?}");
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_home() {
        let mut file = reader("b = true\n[s]\na = true\n");
        file.section("s");
        file.boolean("a");
        file.boolean("s.b");
        let lines = lines(file.finish());
        assert!(lines[0].ends_with("unknown key \"b\"; it belongs in [s]"), "{lines:?}");
        assert!(lines[1].ends_with("in [s]; it belongs before the first section"), "{lines:?}");
    }

    #[test]
    fn excerpts_are_safe_for_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
    }
}
