//! Keys that a file has but should not, and what to say of them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::printable;
use crate::values::suggest::nearest;

/// A key or a section that a file can have, in the form `tracker.listen`.
pub(crate) struct Known {
    pub(crate) key: &'static str,
    /// How messages call the place of the keys below it; `None` for a value.
    pub(crate) title: Option<&'static str>,
}

/// Notes every key in `table` that is not known, with its offset. `section` is the key of the
/// table, empty for the document.
pub(super) fn note_unknown(
    known: &[Known],
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
        match find(known, &key).filter(|_| !name.get_ref().contains('.')) {
            None => problems.push((name.span().start, unknown(known, section, name.get_ref()))),
            Some(Known { title: None, .. }) => {}
            Some(Known { title: Some(_), .. }) => {
                for table in tables(value) {
                    note_unknown(known, table, &key, problems);
                }
            }
        }
    }
}

fn find<'k>(known: &'k [Known], key: &str) -> Option<&'k Known> {
    known.iter().find(|known| known.key == key)
}

fn title<'n>(known: &[Known], section: &'n str) -> &'n str {
    find(known, section).and_then(|known| known.title).unwrap_or(section)
}

fn unknown(known: &[Known], section: &str, name: &str) -> String {
    let parts = |known: &Known| known.key.rsplit_once('.').unwrap_or(("", known.key));
    let siblings = known.iter().map(parts).filter(|(s, _)| *s == section);
    let elsewhere = known.iter().map(parts).find(|(_, n)| *n == name);
    let tip = match (nearest(name, siblings.map(|(_, name)| name)), elsewhere) {
        (_, Some(("", _))) => "; it belongs before the first section".to_owned(),
        (_, Some((home, _))) => format!("; it belongs in {}", title(known, home)),
        (Some(near), None) => format!("; did you mean \"{near}\"?"),
        (None, None) => String::new(),
    };
    let shown = printable(name);
    match section {
        "" => format!("unknown key \"{shown}\"{tip}"),
        _ => format!("unknown key \"{shown}\" in {}{tip}", title(known, section)),
    }
}

/// The table that a value is, or the tables in an array.
fn tables<'v, 'a>(value: &'v Spanned<DeValue<'a>>) -> impl Iterator<Item = &'v DeTable<'a>> {
    let elements = value.get_ref().as_array().into_iter().flat_map(|array| array.iter());
    std::iter::once(value).chain(elements).filter_map(|value| value.get_ref().as_table())
}
