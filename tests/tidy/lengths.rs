//! Files, functions and lines that fit a reader's head.

use crate::scanner::functions;
use crate::tree::{File, line_of};

pub(crate) fn findings(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    if !SOURCES.iter().any(|ending| file.path.ends_with(ending)) {
        return findings;
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
    }
    for (index, line) in file.text.lines().enumerate() {
        let length = line.chars().count();
        if length > LINE_CHARACTERS_MAX {
            let place = format!("{}:{}", file.path, index + 1);
            findings.push(format!("{place}: {length} characters, at most {LINE_CHARACTERS_MAX}"));
        }
    }
    if file.is_rust() {
        findings.extend(long_functions(file));
    }
    findings
}

fn long_functions(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    for function in functions(&file.code) {
        let range = &function.range;
        let lines = line_of(&file.code, range.end) - line_of(&file.code, range.start) + 1;
        if lines > FUNCTION_LINES_MAX {
            let (place, name) = (file.place(range.start), function.name);
            findings
                .push(format!("{place}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    findings
}

const SOURCES: &[&str] = &[".rs", ".sh", ".py", ".ci/run"];
const FILE_LINES_MAX: usize = 500;
/// About 70 is the rule; a few more are no reason to tear a function apart.
const FUNCTION_LINES_MAX: usize = 75;
const LINE_CHARACTERS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_a_limit_passes_and_what_is_over_is_named() {
        let function =
            |lines: usize| format!("fn long() {{\n{}}}\n", "    // {\n".repeat(lines - 2));
        let comments = |lines: usize| "// A line.\n".repeat(lines);
        let line = |characters: usize| format!("//{}\n", "é".repeat(characters - 2));
        for (fits, too_long, finding) in [
            (function(75), function(76), "a.rs:1: long has 76 lines, at most 75"),
            (comments(500), comments(501), "a.rs: 501 lines, at most 500"),
            (line(100), line(101), "a.rs:1: 101 characters, at most 100"),
        ] {
            assert_eq!(findings(&File::new("a.rs", &fits)), [""; 0]);
            assert_eq!(findings(&File::new("a.rs", &too_long)), [finding]);
            assert_eq!(findings(&File::new("a.lock", &too_long)), [""; 0]);
        }
    }
}
