//! Documents describe the present: no diaries, and no scripts that are gone.

use crate::tree::{File, is_executable};

pub(crate) fn findings(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    let name = file.name();
    if let Some(stem) = name.strip_suffix(".md").or_else(|| name.strip_suffix(".txt")) {
        if is_dated(stem) {
            findings.push(format!("{}: a dated document; history belongs in git", file.path));
        }
        let mut parts = stem.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        if parts.any(|part| DIARIES.contains(&part.as_str())) {
            findings.push(format!("{}: a report; document the present instead", file.path));
        }
    }
    if GUIDES.contains(&file.path.as_str()) {
        let missing = scripts(&file.text).filter(|script| !is_executable(script));
        findings.extend(missing.map(|script| {
            format!("{}: names {script}, which is not there or not executable", file.path)
        }));
    }
    findings
}

/// Whether eight digits or more, or a year and a month, stand together.
fn is_dated(stem: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = stem;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let run = digits(&rest[at..]);
        let after = &rest[at + run..];
        let month = after.strip_prefix(['-', '_', '.']).map_or(0, digits);
        let year = run == 4 && matches!(&rest[at..at + 2], "19" | "20");
        if run >= 8 || (year && month == 2) {
            return true;
        }
        rest = after;
    }
    false
}

/// The scripts that a text names by their paths.
fn scripts(text: &str) -> impl Iterator<Item = &str> {
    let outside = |c: char| !(c.is_alphanumeric() || "._-/".contains(c));
    text.split(outside).filter_map(|word| {
        let path = word.trim_end_matches('.').trim_start_matches("./");
        let is_script = path.starts_with("scripts/") && path.ends_with(".sh");
        (is_script || path == ".ci/run").then_some(path)
    })
}

const GUIDES: &[&str] = &["README.md", "TESTING.md", "QUICK_TEST.md"];
const DIARIES: &[&str] =
    &["report", "reports", "summary", "status", "plan", "plans", "progress", "todo"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diaries_are_found_by_their_names() {
        for path in [
            "docs/2024-05-01.md",
            "developer_docs/benchmarks_20240501.md",
            "IMPLEMENTATION_SUMMARY.md",
            "docs/status.md",
            "notes 2024_05.txt",
        ] {
            assert_eq!(findings(&File::new(path, "")).len(), 1, "{path}");
        }
        for path in [
            "README.md",
            "developer_docs/decisions/0001-one-ring-per-core.md",
            "developer_docs/planes.md",
            "src/control/report.rs",
        ] {
            assert_eq!(findings(&File::new(path, "")), [""; 0], "{path}");
        }
    }

    #[test]
    fn guides_name_scripts_that_run() {
        let guide = |text: &str| findings(&File::new("README.md", text));
        assert_eq!(guide("Run `./scripts/run.sh -c FILE`, then scripts/test.sh."), [""; 0]);
        assert_eq!(guide("Run ./scripts/gone.sh").len(), 1);
        // It is sourced, not run.
        assert_eq!(guide("Run `scripts/common.sh`").len(), 1);
        assert_eq!(findings(&File::new("CHANGELOG.md", "Remove scripts/gone.sh")), [""; 0]);
    }
}
