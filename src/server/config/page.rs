//! `docs/configuration.md`, made from the table of keys. It is compiled for tests only: one of them
//! compares the file, and writes it where the environment variable UPDATE_DOCS is set.

use super::keys::{Description, descriptions};
use super::table::{Entry, Reload};

/// The whole page.
fn page() -> String {
    let sections = descriptions();
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n| key | default | a change |\n|---|---|---|\n");
    for entry in sections.iter().flat_map(|section| &section.entries) {
        let (name, anchor) = (entry.name, entry.name.replace('.', ""));
        let default = match &entry.default {
            Some(default) => format!("`{default}`"),
            None => "see there".to_owned(),
        };
        let change = match entry.reload {
            Reload::Live => "on a reload",
            Reload::Restart => "with a restart",
        };
        page.push_str(&format!("| [`{name}`](#{anchor}) | {default} | {change} |\n"));
    }
    sections.iter().for_each(|section| page.push_str(&section_text(section)));
    page
}

fn section_text(section: &Description) -> String {
    let title = match section.title {
        title if title.starts_with('[') => format!("`{title}`"),
        title => capitalized(title).replace("[[relay.rule]]", "`[[relay.rule]]`"),
    };
    let mut text = format!("\n## {title}\n\n{}\n", section.doc);
    for (_, note) in section.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    section.entries.iter().for_each(|entry| text.push_str(&entry_text(entry)));
    text
}

fn entry_text(entry: &Entry) -> String {
    let mut text = format!("\n### `{}`\n\n{}\n\n", entry.name, entry.doc);
    text.push_str(&format!("- Value: {}.\n", entry.accepted()));
    match &entry.default {
        Some(default) => text.push_str(&format!("- Default: `{default}`.\n")),
        None => text.push_str(&format!("- Default: {}.\n", entry.absent)),
    }
    text.push_str(match entry.reload {
        Reload::Live => "- Change: a reload applies it.\n",
        Reload::Restart => "- Change: needs a restart.\n",
    });
    let example = format!("{} = {}", entry.short_name(), entry.example);
    match example.contains('\n') {
        false => text.push_str(&format!("- Example: `{example}`\n")),
        true => text.push_str(&format!("- Example:\n\n```toml\n{example}\n```\n")),
    }
    text
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).collect()
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from src/server/config/keys/ by `UPDATE_DOCS=1 cargo test --lib config::page`. -->

Every key of the configuration file. `ringtide config default > ringtide.toml` writes a file to
start from, with the same explanations; `ringtide config check FILE` says whether a file is valid
and what it will run. Without a file, ringtide runs a tracker with the defaults.

Durations and sizes carry their unit: `\"30s\"`, `\"2m\"`, `\"1h30m\"` (ms, s, m, h, d),
`\"64KiB\"`, `\"4MiB\"` (B, KiB, MiB, GiB). Relative paths start at the directory of the file. An
unknown key or a value out of its range is refused with its line.

SIGHUP or `ringtide ctl config reload` reads the file again. Some changes take effect then; others
need a restart, and the log and the answer name them. If anything in the file is wrong, nothing
changes.
";

#[test]
fn the_page_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "{path} is out of date: run the tests with UPDATE_DOCS=1");
}

#[test]
fn the_page_explains_every_key() {
    let page = page();
    for entry in descriptions().iter().flat_map(|section| &section.entries) {
        assert!(page.contains(&format!("\n### `{}`\n\n{}\n", entry.name, entry.doc)));
        assert!(page.contains(&format!("](#{})", entry.name.replace('.', ""))), "{}", entry.name);
    }
}
