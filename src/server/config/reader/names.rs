//! Which keys there are, and what to say of a key that is none of them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::printable;
use crate::values::suggest::nearest;

/// A key that was asked for, in the form `tracker.listen`, and what it accepts.
pub(crate) struct Known {
    pub(crate) key: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with default.toml"))]
    pub(crate) allowed: String,
    /// How messages call the place of the keys below it; `None` for a value.
    pub(crate) title: Option<String>,
}

/// Every key asked for so far.
#[derive(Default)]
pub(super) struct Names {
    known: Vec<Known>,
}

impl Names {
    /// Keys of arrays of tables are asked for once for each table, and added only once.
    pub(super) fn add(&mut self, known: Known) {
        if self.get(known.key).is_none() {
            self.known.push(known);
        }
    }

    #[cfg(test)]
    pub(super) fn into_known(self) -> Vec<Known> {
        self.known
    }

    /// Notes every key in `table` that nobody asked for, with its offset. `section` is the key of
    /// the table, empty for the document.
    pub(super) fn note_unknown(
        &self,
        table: &DeTable<'_>,
        section: &str,
        problems: &mut Vec<(usize, String)>,
    ) {
        for (name, value) in table {
            let key = match section {
                "" => name.get_ref().to_string(),
                _ => format!("{section}.{}", name.get_ref()),
            };
            // A dot can only be in a quoted name, and no key of ours has one.
            let known = self.get(&key).filter(|_| !name.get_ref().contains('.'));
            match known {
                None => problems.push((name.span().start, self.unknown(section, name.get_ref()))),
                Some(Known { title: None, .. }) => {}
                Some(Known { title: Some(_), .. }) => {
                    for table in tables(value) {
                        self.note_unknown(table, &key, problems);
                    }
                }
            }
        }
    }

    fn get(&self, key: &str) -> Option<&Known> {
        self.known.iter().find(|known| known.key == key)
    }

    fn title<'n>(&'n self, section: &'n str) -> &'n str {
        self.get(section).and_then(|known| known.title.as_deref()).unwrap_or(section)
    }

    fn unknown(&self, section: &str, name: &str) -> String {
        let parts = |known: &Known| known.key.rsplit_once('.').unwrap_or(("", known.key));
        let siblings = self.known.iter().map(parts).filter(|(s, _)| *s == section);
        let elsewhere = self.known.iter().map(parts).find(|(_, n)| *n == name);
        let tip = match (nearest(name, siblings.map(|(_, name)| name)), elsewhere) {
            (_, Some(("", _))) => "; it belongs before the first section".to_owned(),
            (_, Some((home, _))) => format!("; it belongs in {}", self.title(home)),
            (Some(near), None) => format!("; did you mean \"{near}\"?"),
            (None, None) => String::new(),
        };
        let shown = printable(name);
        match section {
            "" => format!("unknown key \"{shown}\"{tip}"),
            _ => format!("unknown key \"{shown}\" in {}{tip}", self.title(section)),
        }
    }
}

/// The table that a value is, or the tables in an array.
fn tables<'v, 'a>(value: &'v Spanned<DeValue<'a>>) -> impl Iterator<Item = &'v DeTable<'a>> {
    let elements = value.get_ref().as_array().into_iter().flat_map(|array| array.iter());
    std::iter::once(value).chain(elements).filter_map(|value| value.get_ref().as_table())
}
