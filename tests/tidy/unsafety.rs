//! `unsafe` stands in few modules, and says above what it relies on.

use crate::scanner::words;
use crate::tree::{File, line_of};

pub(crate) fn findings(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    if !file.is_rust() {
        return findings;
    }
    for at in words(&file.code, "unsafe") {
        if is_type(&file.code[at..]) {
            continue;
        }
        if !ALLOWED.iter().any(|module| file.path.starts_with(module)) {
            let allowed = ALLOWED.join(", ");
            findings.push(format!("{}: unsafe may stand only in {allowed}", file.place(at)));
        } else if !is_explained(file, at) {
            findings.push(format!("{}: unsafe without SAFETY: above", file.place(at)));
        }
    }
    findings
}

/// Whether this is the type of an unsafe function, which does nothing.
fn is_type(code: &str) -> bool {
    let after = code["unsafe".len()..].trim_start();
    // The name of the calling convention is masked.
    let after = after.strip_prefix("extern").unwrap_or(after).trim_start();
    after.strip_prefix("fn").is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// Whether the comment above the statement or item names what is relied on.
fn is_explained(file: &File, at: usize) -> bool {
    let line = line_of(&file.text, at);
    let above: Vec<_> = file.text.lines().take(line - 1).collect();
    let mut code_lines = 0;
    let mut in_comment = false;
    for line in above.iter().rev().map(|line| line.trim_start()) {
        if line.starts_with("//") {
            in_comment = true;
            if MARKS.iter().any(|mark| line.contains(mark)) {
                return true;
            }
        } else if in_comment || line.is_empty() {
            return false;
        } else {
            // A statement may begin before its unsafe block, and an item has attributes.
            code_lines += 1;
            if code_lines > CODE_LINES_BETWEEN_MAX {
                return false;
            }
        }
    }
    false
}

const ALLOWED: &[&str] = &["src/uring/", "src/epoll/", "src/io/", "src/sys/"];
const MARKS: &[&str] = &["SAFETY:", "# Safety"];
const CODE_LINES_BETWEEN_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_modules_may_be_unsafe() {
        let explained = "// SAFETY: nobody else writes.\nlet a = unsafe { b };\n";
        assert_eq!(findings(&File::new("src/uring/ring.rs", explained)), [""; 0]);
        for path in ["src/workers/mod.rs", "src/tracker/mod.rs", "tests/engine/event_loop.rs"] {
            let found = findings(&File::new(path, explained));
            assert!(found[0].starts_with(&format!("{path}:2: unsafe may stand only")), "{found:?}");
        }
        let words = "// unsafe\n#![deny(unsafe_code)] const A: &str = \"unsafe {\";\n";
        assert_eq!(findings(&File::new("src/workers/mod.rs", words)), [""; 0]);
        let types = "type A = unsafe fn(u8);\ntype B = unsafe extern \"C\" fn(u8);\n";
        assert_eq!(findings(&File::new("src/workers/mod.rs", types)), [""; 0]);
    }

    #[test]
    fn what_is_relied_on_stands_above() {
        for (text, explained) in [
            ("// SAFETY: one.\n// Two.\nunsafe impl Send for A {}\n", true),
            ("/// # Safety\n///\n/// One.\n#[inline]\npub unsafe fn a() {}\n", true),
            ("// SAFETY: one.\nlet a =\n    unsafe { b };\n", true),
            ("// Fast.\nunsafe { a };\n", false),
            ("// SAFETY: of something else.\n\nunsafe { a };\n", false),
            ("// SAFETY: far away.\na;\nb;\nc;\nd;\nunsafe { e };\n", false),
            ("unsafe { a };\n", false),
        ] {
            assert_eq!(findings(&File::new("src/io/a.rs", text)).is_empty(), explained, "{text}");
        }
    }
}
