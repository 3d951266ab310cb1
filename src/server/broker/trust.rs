//! Whether a file can only have been written by the operator, for a process that must not trust
//! other processes of its own user.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Distrust {
    /// It belongs to the user who is not trusted.
    #[error("{} belongs to the user that ringtide runs as", .0.display())]
    Owned(PathBuf),
    /// Its mode, or what its access list leaves of it, lets others write.
    #[error("{} can be written to by others than its owner", .0.display())]
    Writable(PathBuf),
    /// It is a pipe, a device or a directory.
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    /// Links lead in circles.
    #[error("{} leads through too many links", .0.display())]
    Links(PathBuf),
    /// It does not exist or cannot be accessed.
    #[error("{} cannot be looked at: {source}", path.display())]
    Unseen {
        /// The path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// A file that cannot be changed by the user who was asked about.
#[derive(Debug)]
pub(super) struct Trusted {
    /// Its path without links.
    pub(super) path: PathBuf,
    /// Its identity and version.
    pub(super) stamp: Stamp,
}

/// Tells whether a file was replaced or changed: device, inode, length, and the seconds and
/// nanoseconds of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

/// Finds the file at the absolute `path`, provided that `user` can neither change it nor put
/// another in its place: it, every directory on the way to it, and to what links on the way lead
/// to, belong to others, and nobody but their owners may write to them. The bits of the group
/// stand for access lists as well (acl(5)), so its members do not matter. In a directory like
/// /tmp only the owner of an entry may replace it (inode(7), `S_ISVTX`).
pub(super) fn unalterable(path: &Path, user: u32) -> Result<Trusted, Distrust> {
    let mut ahead = names(path);
    let mut at = PathBuf::from("/");
    let mut directory = look(&at)?;
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            directory = look(&at)?;
            continue;
        }
        let entry = at.join(&name);
        let metadata = look(&entry)?;
        if directory.uid() == user {
            return Err(Distrust::Owned(at));
        }
        if is_shared(&directory) {
            if directory.mode() & STICKY == 0 {
                return Err(Distrust::Writable(at));
            }
            if metadata.uid() == user {
                return Err(Distrust::Owned(entry));
            }
        }
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(Distrust::Links(path.to_owned()));
            }
            let target =
                fs::read_link(&entry).map_err(|source| Distrust::Unseen { path: entry, source })?;
            if target.is_absolute() {
                at = PathBuf::from("/");
                directory = look(&at)?;
            }
            ahead.append(&mut names(&target));
        } else {
            (at, directory) = (entry, metadata);
        }
    }
    match directory {
        file if !file.is_file() => Err(Distrust::NoFile(at)),
        file if file.uid() == user => Err(Distrust::Owned(at)),
        file if is_shared(&file) => Err(Distrust::Writable(at)),
        file => Ok(Trusted { path: at, stamp: Stamp::of(&file) }),
    }
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            file: (file.dev(), file.ino()),
            bytes: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// The names of a path, the last first.
fn names(path: &Path) -> Vec<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let parts = path.components().rev().filter(named);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

fn look(path: &Path) -> Result<Metadata, Distrust> {
    fs::symlink_metadata(path).map_err(|source| Distrust::Unseen { path: path.to_owned(), source })
}

fn is_shared(metadata: &Metadata) -> bool {
    metadata.mode() & WRITABLE_BY_OTHERS != 0
}

/// `S_IWGRP` and `S_IWOTH`.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// `S_ISVTX`.
const STICKY: u32 = 0o1000;
/// As many as the kernel follows (path_resolution(7)).
const LINKS_MAX: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A file in a directory, both of this user, who is not the one to guard against.
    fn ground() -> (tempfile::TempDir, PathBuf, u32) {
        let directory = tempfile::tempdir().unwrap();
        set(directory.path(), 0o755);
        let path = directory.path().join("r.toml");
        fs::write(&path, "").unwrap();
        set(&path, 0o644);
        let other = fs::metadata(&path).unwrap().uid() + 1;
        (directory, path, other)
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path, user: u32) -> String {
        unalterable(path, user).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_somebody_else_is_trusted_and_changes_show() {
        let (_directory, path, other) = ground();
        let before = unalterable(&path, other).unwrap();
        assert_eq!(before.path, fs::canonicalize(&path).unwrap());
        assert_eq!(before.stamp, unalterable(&path, other).unwrap().stamp);
        fs::write(&path, "longer").unwrap();
        assert_ne!(before.stamp, unalterable(&path, other).unwrap().stamp);
    }

    #[test]
    fn what_the_user_owns_or_others_may_write_is_not() {
        let (directory, path, other) = ground();
        assert!(refusal(&path, other - 1).contains("belongs to the user"));
        for mode in [0o664, 0o646] {
            set(&path, mode);
            assert!(refusal(&path, other).contains("can be written to"), "{mode:o}");
        }
        set(&path, 0o644);
        for mode in [0o775, 0o757] {
            set(directory.path(), mode);
            assert!(refusal(&path, other).contains("can be written to"), "{mode:o}");
        }
        set(directory.path(), 0o1777);
        assert!(unalterable(&path, other).is_ok());
    }

    #[test]
    fn links_are_followed_and_every_directory_on_the_way_counts() {
        let (directory, path, other) = ground();
        let loose = directory.path().join("loose");
        fs::create_dir(&loose).unwrap();
        set(&loose, 0o777);
        symlink("../r.toml", loose.join("link")).unwrap();
        let refused = refusal(&loose.join("link"), other);
        assert!(refused.contains("loose can be written to"), "{refused}");
        symlink(&loose, directory.path().join("by")).unwrap();
        assert!(unalterable(&directory.path().join("by/link"), other).is_err());
        set(&loose, 0o755);
        let found = unalterable(&directory.path().join("by/link"), other).unwrap();
        assert_eq!(found.path, fs::canonicalize(&path).unwrap());
        symlink("circle", directory.path().join("circle")).unwrap();
        assert!(refusal(&directory.path().join("circle"), other).contains("too many links"));
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let (directory, path, other) = ground();
        assert!(refusal(directory.path(), other).contains("is no file"));
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        assert!(refusal(&pipe, other).contains("is no file"));
        fs::remove_file(&path).unwrap();
        assert!(refusal(&path, other).contains("cannot be looked at"));
    }
}
