//! Writes what was changed at run time back to the files it belongs to.
//!
//! A file is replaced as a whole, by one that is complete on disk before it takes its place, and
//! what was there before stays beside it as `NAME.bak`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::relay::Rule;
use crate::server::api::commands::ApiError;
use crate::server::config::{self, Settings, rule_table};
use crate::server::persist::atomic_file::write_aside;
use crate::telemetry::log::LogFilter;
use crate::tracker::core::access_list::{AccessList, parse_line};
use crate::tracker::core::policy::InForce;

/// Saves the rules, the log's level and the access list, where they differ from their files.
///
/// `settings` are the current ones, `policy` the tracker's, and `filter` the log filter if a
/// command set it. Returns the files that were written.
pub(super) fn save(
    settings: &Settings,
    policy: Option<&InForce>,
    filter: Option<&LogFilter>,
) -> Result<Vec<String>, ApiError> {
    let mut changes: Vec<(&Path, Vec<u8>)> = Vec::new();
    if let Some(path) = &settings.file {
        let text = fs::read_to_string(path).map_err(|error| unsaved(path, &error, &[]))?;
        let changed = changed_text(settings, filter, path, &text)?;
        if changed != text {
            changes.push((path, changed.into_bytes()));
        }
    } else if filter.is_some() || settings.relay.is_some() {
        return Err(ApiError::conflict(
            "this process was started without a configuration file",
            "`ringtide ctl config show > ringtide.toml` writes what is in force to a new one",
        ));
    }
    let access = settings.tracker.as_ref().and_then(|tracker| tracker.access.as_ref());
    if let Some(access) = access
        && let Some(policy) = policy
    {
        let path = &access.file;
        let text = fs::read(path).map_err(|error| unsaved(path, &error, &[]))?;
        let changed = changed_list(&text, &policy.access);
        if changed != text {
            changes.push((path, changed));
        }
    }
    let mut written = Vec::new();
    for (path, bytes) in changes {
        replace_file(path, &bytes).map_err(|error| unsaved(path, &error, &written))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// The file's text with the rules and the log's level in force; everything else stays as it is
/// written.
fn changed_text(
    settings: &Settings,
    filter: Option<&LogFilter>,
    path: &Path,
    text: &str,
) -> Result<String, ApiError> {
    let wrong = |error: String| {
        ApiError::conflict(error, "correct the file, or reload it, before saving to it")
    };
    let saved = config::parse(text, path).map_err(|error| wrong(error.to_string()))?;
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| wrong(error.to_string()))?;
    let rules = settings.relay.as_ref().map(|relay| &relay.rules[..]).unwrap_or_default();
    let saved_rules = saved.relay.as_ref().map(|relay| &relay.rules[..]).unwrap_or_default();
    if rules != saved_rules {
        put_rules(&mut document, rules, saved_rules)?;
    }
    if let Some(filter) = filter.filter(|filter| **filter != saved.log.filter) {
        let log = document.entry("log").or_insert(Item::Table(Table::new()));
        match log.get_mut("level").and_then(Item::as_value_mut) {
            // What stands beside it stays.
            Some(level) => {
                let beside = level.decor().clone();
                *level = filter.as_str().into();
                *level.decor_mut() = beside;
            }
            None => log["level"] = value(filter.as_str()),
        }
    }
    let changed = document.to_string();
    // What is written must read as what is in force.
    let reread = config::parse(&changed, path).map_err(|error| wrong(error.to_string()))?;
    let reread_rules = reread.relay.as_ref().map(|relay| &relay.rules[..]).unwrap_or_default();
    if reread_rules != rules {
        return Err(wrong("the rules cannot be put into this file".to_owned()));
    }
    Ok(changed)
}

/// Puts the rules in, keeping the tables of those that stay as they are written.
fn put_rules(document: &mut DocumentMut, rules: &[Rule], saved: &[Rule]) -> Result<(), ApiError> {
    let relay = document.entry("relay").or_insert(Item::Table(Table::new()));
    let Some(relay) = relay.as_table_like_mut() else {
        return Err(ApiError::conflict("relay is no section in the file", "write [relay]"));
    };
    let tables = match relay.remove("rule") {
        Some(Item::ArrayOfTables(tables)) => tables.into_iter().map(Some).collect(),
        _ => Vec::new(),
    };
    let mut kept: Vec<(&Rule, Option<Table>)> =
        saved.iter().zip(tables.into_iter().chain(std::iter::repeat(None))).collect();
    let mut array = ArrayOfTables::new();
    for rule in rules {
        let same = kept.iter().position(|(saved, _)| *saved == rule);
        let table = same.and_then(|at| kept.swap_remove(at).1);
        let mut table = table.unwrap_or_else(|| rule_table(rule));
        // A name that came from its position must not change with it.
        if !table.contains_key("name") {
            table["name"] = value(&rule.name);
        }
        // Written in the order of the list.
        table.set_position(None);
        array.push(table);
    }
    relay.insert("rule", Item::ArrayOfTables(array));
    Ok(())
}

/// The file of an access list without the lines of torrents that went, and with those that came.
fn changed_list(text: &[u8], list: &AccessList) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len());
    let mut present = std::collections::HashSet::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let hash = parse_line(line.trim_ascii_end()).ok().flatten();
        if hash.is_none_or(|hash| list.contains(&hash)) {
            changed.extend_from_slice(line);
            present.extend(hash);
        }
    }
    for hash in list.hashes().iter().filter(|hash| !present.contains(hash)) {
        if changed.last().is_some_and(|last| *last != b'\n') {
            changed.push(b'\n');
        }
        changed.extend_from_slice(format!("{hash}\n").as_bytes());
    }
    changed
}

/// Puts a complete file in the place of another, which stays as `NAME.bak`. Owner and permissions
/// are taken over.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one; what it points to is replaced.
    let path = &fs::canonicalize(path)?;
    let mut backup: OsString = path.file_name().unwrap_or_default().to_owned();
    backup.push(".bak");
    let metadata = fs::metadata(path)?;
    let mode = metadata.mode() & 0o7777;
    let write = |to: &Path, bytes: &[u8]| {
        write_aside(to, mode, |file| {
            // The umask may have kept some of it from the start.
            file.get_ref().set_permissions(fs::Permissions::from_mode(mode))?;
            // Without the right to give it away it stays ours, which the permissions allow for.
            let _ = fchown(file.get_ref(), Some(metadata.uid()), Some(metadata.gid()));
            file.write_all(bytes)
        })
    };
    write(&path.with_file_name(backup), &fs::read(path)?)?;
    write(path, bytes)
}

/// `written` are the files that were saved before.
fn unsaved(path: &Path, error: &io::Error, written: &[String]) -> ApiError {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "what is in force stays so until the process ends; give the file and its directory to \
             the user ringtide runs as before the next start, or write `ringtide ctl config show` \
             to the file"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "what is in force stays so until the process ends; the directory is read-only to \
             ringtide: under systemd, `ReadWritePaths=` in a drop-in opens it, and it has to be \
             of the user ringtide runs as (docs/privileges.md); or write `ringtide ctl config \
             show` to the file"
        }
        _ => "what is in force stays so until the process ends",
    };
    let mut error = format!("cannot save {}: {error}", path.display());
    if !written.is_empty() {
        error.push_str(&format!("; {} is saved", written.join(", ")));
    }
    ApiError::failed(error, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::core::access_list::AccessMode;

    #[test]
    fn a_list_keeps_its_comments_and_order() {
        let hash = |digit: &str| digit.repeat(40);
        let text = format!("# ours\n{} # first\n\n{}\n{}", hash("b"), hash("a"), hash("c"));
        let list = AccessList::parse(&text, AccessMode::Allow).unwrap();
        assert_eq!(changed_list(text.as_bytes(), &list), text.as_bytes());
        let parse = |digit: &str| hash(digit).parse().unwrap();
        let list = list.changed(&[parse("d")], &[parse("a")]).unwrap();
        let expected = format!("# ours\n{} # first\n\n{}\n{}\n", hash("b"), hash("c"), hash("d"));
        assert_eq!(changed_list(text.as_bytes(), &list), expected.as_bytes());
    }

    #[test]
    fn a_file_is_replaced_whole_and_the_old_one_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(directory.path().join("r.toml.bak")).unwrap(), "old");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_failure_says_what_was_saved_before() {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        let said = |written: &[String]| unsaved(Path::new("list"), &error, written).error;
        assert!(said(&["r.toml".to_owned()]).ends_with("; r.toml is saved"));
        assert!(!said(&[]).contains("is saved"));
    }
}
