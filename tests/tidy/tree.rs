//! The files of the package, found without the help of version control.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::scanner::mask;

/// A file of text.
pub(crate) struct File {
    /// Relative to the package.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Rust without its comments and literals; the text itself for every other file.
    pub(crate) code: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { mask(text) } else { text.to_owned() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The part of the path after its last slash.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    /// How a finding at a byte of the file begins.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.text, at))
    }
}

/// The number of the line that holds a byte.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// Every file of text, without what Cargo and git keep for themselves.
pub(crate) fn files() -> Vec<File> {
    let mut files = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !SKIPPED.contains(&name.to_str().unwrap()) {
                directories.push(path);
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                let relative = path.strip_prefix(root()).unwrap();
                files.push(File::new(relative.to_str().unwrap(), &text));
            }
        }
    }
    files
}

/// Whether the package has this file, and everybody may execute it.
pub(crate) fn is_executable(path: &str) -> bool {
    fs::metadata(root().join(path))
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 == 0o111)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

const SKIPPED: &[&str] = &[".git", "target"];
