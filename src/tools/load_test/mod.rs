//! `ringtide load-test`: simulated clients that load a BitTorrent UDP tracker and judge its
//! answers.
//!
//! Clients are state machines without input or output (`client`); they run on the project's own
//! loop, many to a worker (`handler`).

mod args;
mod chart;
mod client;
mod error;
mod handler;
mod html;
mod plan;
mod popularity;
mod progress;
mod run;
mod schedule;
mod stats;
mod summary;
mod target;
mod text;
mod transaction;
mod usage;
mod verdict;
mod verify;

use std::path::Path;

pub use args::{Coalesce, LoadTestArgs};
pub use error::LoadError;
pub use popularity::Popularity;
pub use summary::Summary;
pub use target::SourceRange;
pub use verdict::{Grade, Verdict};
pub use verify::{Failure, Stray};

/// What a run comes to.
#[derive(Debug)]
pub struct Outcome {
    /// What to print on standard output.
    pub text: String,
    /// Whether enough requests were answered correctly.
    pub success: bool,
}

/// Runs a test to its end and writes the reports that were asked for.
///
/// # Errors
/// Wrong flags ([`LoadError::is_usage`]), or what stood in the way.
pub fn run(args: &LoadTestArgs) -> Result<Outcome, LoadError> {
    let summary = run::run(args)?;
    if let Some(path) = &args.json {
        write(path, &json(&summary))?;
    }
    if let Some(path) = &args.html {
        write(path, &html::html(&summary))?;
    }
    Ok(Outcome { text: text::text(&summary), success: summary.is_success() })
}

fn json(summary: &Summary) -> String {
    let mut text = serde_json::to_string_pretty(summary)
        .expect("figures and texts under text keys always serialize");
    text.push('\n');
    text
}

fn write(path: &Path, content: &str) -> Result<(), LoadError> {
    let fail = |source| LoadError::Write { path: path.to_owned(), source };
    std::fs::write(path, content).map_err(fail)
}
