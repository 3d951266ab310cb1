//! What is made from the definitions of the commands: completions and man pages.

use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;

use crate::error::Remedy;

/// A man page could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write man pages to {}", directory.display())]
pub(super) struct ManError {
    directory: PathBuf,
    source: io::Error,
}

impl Remedy for ManError {
    fn remedy(&self) -> Option<String> {
        Some("name a directory that exists and that this user may write to".to_owned())
    }
}

/// The script that completes commands and flags in a shell.
pub(super) fn completions(shell: Shell, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for each command: ringtide.1, ringtide-ctl.1, ringtide-ctl-stats.1 and so on.
pub(super) fn man(directory: &Path, command: Command) -> Result<(), ManError> {
    clap_mangen::generate_to(command, directory)
        .map_err(|source| ManError { directory: directory.to_owned(), source })
}
