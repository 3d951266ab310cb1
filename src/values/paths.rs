//! Paths of files.

use std::path::{Path, PathBuf};

/// The directory that a file is in: the working directory for a bare name.
pub(crate) fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        for (file, directory) in [("/a/b.c", "/a"), ("a/b", "a"), ("a", "."), ("/a", "/")] {
            assert_eq!(directory_of(Path::new(file)), Path::new(directory), "{file}");
        }
    }
}
