//! Which room may use which. A room is a folder or a file of `src/`; what is not listed is refused.

use std::collections::BTreeSet;

use crate::modules::Modules;
use crate::tree::File;

/// A room and the rooms that it may use, besides itself and, where it stands above [`BASE`], those.
type Row = (&'static str, &'static [&'static str]);

/// From top to bottom: a room uses only rooms below it, so there are no circles between rooms.
const ARROWS: &[Row] = &[
    ("main.rs", &["cli"]),
    // Flags are parsed to the types of settings, which stand where they are used.
    (
        "cli",
        &[
            "server",
            "server/api",
            "server/broker",
            "server/config",
            "tools",
            "tracker/core",
            "relay",
            "io",
        ],
    ),
    (
        "server",
        &[
            "server/api",
            "server/admin",
            "server/persist",
            "server/broker",
            "server/config",
            "server/sandbox",
            "tracker/udp",
            "tracker/core",
            "tracker/store",
            "relay/control",
            "relay",
            "workers",
            "io",
            "sys",
        ],
    ),
    (
        "server/api",
        &[
            "server/admin",
            "server/broker",
            "server/config",
            "server/sandbox",
            "tracker/core",
            "tracker/store",
            "relay/control",
            "relay",
            "sys",
        ],
    ),
    (
        "server/admin",
        &["server/persist", "server/config", "tracker/core", "relay/control", "relay"],
    ),
    ("server/persist", &["tracker/udp", "tracker/core", "tracker/store", "io", "sys"]),
    ("server/broker", &["server/config", "server/sandbox", "relay/control", "sys"]),
    ("server/config", &["server/sandbox", "tracker/core", "relay", "io"]),
    ("server/sandbox", &[]),
    ("tools", &["workers", "io", "wire", "sys"]),
    ("tracker", &[]),
    ("tracker/udp", &["tracker/core", "tracker/store", "io", "wire"]),
    ("tracker/core", &["tracker/store", "io"]),
    ("tracker/store", &["io"]),
    ("relay/control", &["relay", "io", "sys"]),
    ("relay", &["io", "wire"]),
    ("workers", &["uring", "epoll", "io"]),
    ("uring", &["io", "sys"]),
    ("epoll", &["io", "sys"]),
    ("io", &["wire", "sys"]),
    ("sys", &["wire", "error"]),
    ("wire", &["values"]),
    ("telemetry", &["values", "error", "sync"]),
    ("values", &["error"]),
    ("error", &[]),
    ("sync", &[]),
];

/// What every room above `sys` may use.
const BASE: &[&str] = &["telemetry", "values", "error", "sync"];

/// Arrows that stand although the table does not list them. One that is gone must leave this list.
const TODAY: &[(&str, &str)] = &[
    // What the API shows and the administration changes is put together above them.
    ("server/admin", "server"),
    ("server/api", "server"),
];

/// Files whose circles are not explained yet.
const CIRCLES_TODAY: &[&str] = &[
    "src/relay/control/mod.rs",
    "src/server/admin/mod.rs",
    "src/tracker/core/source_limits/mod.rs",
    "src/tracker/store/memory.rs",
    "src/tracker/store/index.rs",
    "src/tracker/store/expiry.rs",
];

/// How the comment begins that says why a file is part of a circle within its room.
const CIRCLE: &str = "// Circle: ";
const ARCHITECTURE: &str = "developer_docs/architecture.md";
const BEGIN: &str = "<!-- arrows: checked by `cargo test --test tidy` -->\n";
const END: &str = "<!-- end of arrows -->";

/// Uses that the table does not list, rooms that it does not know, and exceptions without need.
pub(crate) fn findings(files: &[File]) -> Vec<String> {
    findings_beside(TODAY, files)
}

fn findings_beside(exceptions: &[(&str, &str)], files: &[File]) -> Vec<String> {
    let modules = Modules::of(files);
    let mut findings = misplaced_rows();
    let mut met = BTreeSet::new();
    for (file, uses) in &modules.uses {
        if file == "src/lib.rs" {
            continue;
        }
        let Some(room) = room_of(file) else {
            findings.push(format!("{file}: its room is not in the table of arrows"));
            continue;
        };
        for used in uses {
            let target = room_of(&used.target).unwrap_or("lib.rs");
            if target == room || may_use(room, target) {
                continue;
            }
            met.insert((room, target));
            if !exceptions.contains(&(room, target)) {
                let place = &used.place;
                findings.push(format!("{place}: {room} must not use {target} ({})", used.target));
            }
        }
    }
    let unused = exceptions.iter().filter(|arrow| !met.contains(*arrow));
    findings.extend(unused.map(|(room, target)| {
        format!("{room} does not use {target} any more: remove this from the list of exceptions")
    }));
    findings
}

/// Rows that use a room above them, with which a circle of rooms could begin.
fn misplaced_rows() -> Vec<String> {
    let position = |room: &str| ARROWS.iter().position(|(name, _)| *name == room);
    let mut findings = Vec::new();
    for (row, (room, allowed)) in ARROWS.iter().enumerate() {
        for target in *allowed {
            if position(target).is_none_or(|below| below <= row) {
                findings.push(format!("the row of {room} names {target}, which is not below it"));
            }
        }
    }
    findings
}

/// Files that use each other in a circle: never of two rooms, and of one only with a comment.
pub(crate) fn circles(files: &[File]) -> Vec<String> {
    let modules = Modules::of(files);
    let explained: BTreeSet<_> = files
        .iter()
        .filter(|file| file.text.contains(CIRCLE))
        .map(|file| file.path.as_str())
        .chain(CIRCLES_TODAY.iter().copied())
        .filter(|path| modules.uses.contains_key(*path))
        .collect();
    let all = modules.circles(|_| false);
    let mut findings = Vec::new();
    for circle in &all {
        let rooms: BTreeSet<_> = circle.iter().map(|file| room_of(file)).collect();
        if rooms.len() > 1 && TODAY.is_empty() {
            findings.push(format!("a circle of several rooms: {}", circle.join(", ")));
        }
    }
    for circle in modules.circles(|file| explained.contains(file)) {
        let files = circle.join(", ");
        findings
            .push(format!("a circle without a comment `{CIRCLE}...` in one of its files: {files}"));
    }
    let needless = explained.iter().filter(|file| {
        file.starts_with("src/") && !all.iter().flatten().any(|member| member == *file)
    });
    findings.extend(needless.map(|file| format!("{file}: `{CIRCLE}` but it is in none")));
    findings
}

/// Where the document shows another table than this one.
pub(crate) fn document_findings(file: &File) -> Vec<String> {
    if file.path != ARCHITECTURE {
        return Vec::new();
    }
    let shown = file.text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    match shown {
        Some((shown, _)) if shown.trim() == table().trim() => Vec::new(),
        _ => vec![format!("{ARCHITECTURE}: this belongs between {}and {END}:\n{}", BEGIN, table())],
    }
}

/// The table as the document shows it.
fn table() -> String {
    let quoted = |rooms: &[&str]| {
        let rooms: Vec<_> = rooms.iter().map(|room| format!("`{room}`")).collect();
        if rooms.is_empty() { "nothing".to_owned() } else { rooms.join(", ") }
    };
    let mut table = String::from("| room | may use |\n|---|---|\n");
    for (room, allowed) in ARROWS {
        if *room == FIRST_BELOW_BASE_RULE {
            table.push_str(&format!("| every room above this line | also {} |\n", quoted(BASE)));
        }
        table.push_str(&format!("| `{room}` | {} |\n", quoted(allowed)));
    }
    table
}

fn may_use(room: &str, target: &str) -> bool {
    let position = |name: &str| ARROWS.iter().position(|(row, _)| *row == name);
    let Some(row) = position(room) else { return false };
    let has_base = position(FIRST_BELOW_BASE_RULE).is_some_and(|first| row < first);
    ARROWS[row].1.contains(&target) || (has_base && BASE.contains(&target))
}

/// The room of a file: the longest name in the table that its path begins with.
fn room_of(file: &str) -> Option<&'static str> {
    let path = file.strip_prefix("src/")?;
    let is_in = |room: &str| {
        path.strip_prefix(room)
            .is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    };
    ARROWS.iter().map(|(room, _)| *room).filter(|room| is_in(room)).max_by_key(|room| room.len())
}

const FIRST_BELOW_BASE_RULE: &str = "sys";

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(user: &str, text: &str) -> Vec<File> {
        let mut files = vec![
            File::new("src/lib.rs", "mod tracker; mod relay; mod io; mod sys; mod error; mod odd;"),
            File::new("src/tracker/mod.rs", "mod core; pub use core::C;"),
            File::new("src/tracker/core/mod.rs", ""),
            File::new("src/relay/mod.rs", "pub mod rule;"),
            File::new("src/relay/rule.rs", ""),
            File::new("src/io/mod.rs", "pub use crate::sys::S;"),
            File::new("src/sys/mod.rs", ""),
            File::new("src/error.rs", ""),
        ];
        files.retain(|file| file.path != user);
        files.push(File::new(user, text));
        files
    }

    #[test]
    fn only_listed_arrows_pass() {
        for (user, text, allowed) in [
            ("src/relay/rule.rs", "use crate::io::I;", true),
            ("src/relay/rule.rs", "use crate::error::E;", true),
            ("src/relay/rule.rs", "use super::Rule;", true),
            ("src/relay/rule.rs", "use crate::tracker::T;", false),
            ("src/relay/rule.rs", "fn f() { crate::sys::f(); }", false),
            ("src/relay/rule.rs", "use super::super::sys::S;", false),
            // Shown by a room that may use it, but still defined in one that is out of reach.
            ("src/relay/rule.rs", "use crate::io::S;", false),
            ("src/relay/rule.rs", "#[cfg(test)] mod tests { use crate::sys::S; }", true),
            ("src/sys/mod.rs", "use crate::error::E;", true),
            ("src/sys/mod.rs", "use crate::io::I;", false),
            ("src/odd.rs", "", false),
        ] {
            let found: Vec<_> = findings_beside(&[], &tree(user, text));
            let found: Vec<_> = found.iter().filter(|finding| finding.contains("src/")).collect();
            assert_eq!(found.is_empty(), allowed, "{user}: {text}: {found:?}");
        }
    }

    #[test]
    fn circles_need_one_room_and_a_comment() {
        let circle = |rule: &str| {
            let mut files = tree("src/relay/rule.rs", rule);
            files.retain(|file| file.path != "src/relay/mod.rs");
            files.push(File::new("src/relay/mod.rs", "pub mod rule; fn f() { rule::g() }"));
            circles(&files)
        };
        assert_eq!(circle("fn g() {}"), [""; 0]);
        assert_eq!(circle("use super::f;").len(), 1);
        assert_eq!(circle("// Circle: of two halves.\nuse super::f;"), [""; 0]);
        assert_eq!(circle("// Circle: of none.\nfn g() {}").len(), 1);
    }
}
