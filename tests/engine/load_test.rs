//! `ringtide load-test` against ringtide, and against servers that do what they should not.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod agreement;
mod errors;
mod hostile;
mod page;
mod server;

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::RINGTIDE;

/// A run that has ended, with its JSON report.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub report: Value,
    pub directory: TempDir,
}

impl Run {
    /// Runs `ringtide load-test` with these flags and a JSON and an HTML report.
    #[track_caller]
    pub fn new(target: impl ToString, flags: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (json, html) = (directory.path().join("run.json"), directory.path().join("run.html"));
        let output = Command::new(RINGTIDE)
            .args(["load-test", "--target", &target.to_string()])
            .args(["--engine", crate::common::engine().name(), "--json"])
            .arg(&json)
            .arg("--html")
            .arg(html)
            .args(flags.split_whitespace())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let report = std::fs::read_to_string(json).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        let report = serde_json::from_str(&report).unwrap();
        Self { code: output.status.code(), stdout, report, directory }
    }

    /// A number of the report, by the path to it: "operations/announce/sent". 0 when it is not
    /// there, as for reasons that did not occur.
    pub fn number(&self, path: &str) -> u64 {
        let found = self.report.pointer(&format!("/{path}"));
        found.map_or(0, |value| value.as_u64().unwrap_or_else(|| panic!("{path}: {value}")))
    }

    /// Checks that what was sent is what was answered, rightly or not, or timed out.
    #[track_caller]
    pub fn check_sums(&self) {
        for part in ["total", "operations/connect", "operations/announce", "operations/scrape"] {
            let [sent, succeeded, failed] =
                ["sent", "succeeded", "failed"].map(|name| self.number(&format!("{part}/{name}")));
            assert_eq!(sent, succeeded + failed, "{part}: {}", self.report);
        }
    }
}
