//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

use crate::error::Remedy;

/// One thing wrong, with its place in the file or on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// `FILE:LINE:COLUMN`, `FILE`, or the name of a flag.
    pub place: String,
    /// What is wrong there and what would be right, on one line.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What was read is no valid configuration.
    #[error("{} in {}{}", count(problems), path.display(), list(problems))]
    Invalid {
        /// The file as it was named.
        path: PathBuf,
        /// Everything found wrong, in the order of the file.
        problems: Vec<ConfigProblem>,
    },
    /// Flags that are valid one by one do not fit together.
    #[error("{} with the flags{}", count(problems), list(problems))]
    Flags {
        /// The command they were given to.
        command: &'static str,
        /// Everything found wrong.
        problems: Vec<ConfigProblem>,
    },
}

impl Remedy for ConfigError {
    fn remedy(&self) -> Option<String> {
        let advice = match self {
            Self::Unreadable { .. } => {
                "`ringtide config default > ringtide.toml` writes a file to start from; \
                 without `-c` ringtide runs with the same defaults"
            }
            Self::Invalid { .. } => {
                "`ringtide config default` prints every key with its unit, range and default"
            }
            Self::Flags { command, .. } => {
                return Some(format!("`ringtide {command} --help` explains each flag"));
            }
        };
        Some(advice.to_owned())
    }
}

fn count(problems: &[ConfigProblem]) -> String {
    match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    let mut text = String::new();
    for problem in problems.iter().take(PROBLEMS_SHOWN_MAX) {
        text.push_str(&format!("\n  {problem}"));
    }
    if let Some(hidden @ 1..) = problems.len().checked_sub(PROBLEMS_SHOWN_MAX) {
        text.push_str(&format!("\n  and {hidden} more"));
    }
    text
}

/// A file that is no TOML at all has a problem in every line; these many make the point.
const PROBLEMS_SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(count: usize) -> String {
        let problem =
            ConfigProblem { place: "r.toml:1:2".to_owned(), message: "is wrong".to_owned() };
        let problems = vec![problem; count];
        ConfigError::Invalid { path: "r.toml".into(), problems }.to_string()
    }

    #[test]
    fn every_problem_has_a_line_of_its_own() {
        assert_eq!(invalid(1), "1 problem in r.toml\n  r.toml:1:2: is wrong");
        assert_eq!(invalid(2).lines().count(), 3);
    }

    #[test]
    fn a_flood_of_problems_is_cut() {
        assert_eq!(invalid(PROBLEMS_SHOWN_MAX).lines().count(), 1 + PROBLEMS_SHOWN_MAX);
        assert!(invalid(PROBLEMS_SHOWN_MAX + 7).ends_with("\n  and 7 more"));
    }
}
