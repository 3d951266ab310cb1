//! The state directory: whose it must be, and the key in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg};
use nix::sys::stat::fstatat;
use nix::unistd::{Gid, Uid, fchown, fchownat, geteuid};
use tracing::info;

use super::atomic_file::write_aside;
use crate::tracker::udp::connection_key::{
    KEY_BYTES, KeyFileError, RandomKeyError, key_from_open_file, key_text, random_key,
};

/// The directory, checked, and locked for as long as this lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

/// Why state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refuses.
    #[error("{}: cannot be {verb}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: "opened", "created".
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than it must be.
    #[error("{}: not a {wanted}; move it out of the way", path.display())]
    Kind {
        /// What is in the way.
        path: PathBuf,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// It belongs to somebody else, who could change what is in it.
    #[error(
        "{}: belongs to user {owner} and not to {user}, whom ringtide runs as; give it to that \
         user (`chown {user}`) if its content can be trusted", path.display()
    )]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        user: u32,
    },
    /// Others can do what only its owner may.
    #[error(
        "{}: mode {mode:03o} lets others {what}; forbid it (`chmod {wanted:03o}`) if its content \
         can be trusted", path.display()
    )]
    Mode {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they could do.
        what: &'static str,
        /// The permissions it should have.
        wanted: u32,
    },
    /// Another process has locked it.
    #[error(
        "{}: another ringtide keeps its state there; give each a directory of its own",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The key in it cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// No random key.
    #[error(transparent)]
    RandomKey(#[from] RandomKeyError),
}

impl StateDirectory {
    /// Gives a directory of root, and what a process of root kept in it, to the user and group
    /// `owner`, whom this process will run as; makes it for them if only it is missing.
    ///
    /// What belongs to anybody else, lies behind a link or holds something that is not kept here
    /// stays as it is, for [`Self::open`] to judge: a setting that is wrong, or a link of the one
    /// who owns the directory above, must not give away a directory of the system.
    ///
    /// # Errors
    /// When the system refuses, and when others can write to it: they could have put links there.
    pub fn hand_over(path: &Path, owner: (u32, u32)) -> Result<(), StateError> {
        let fail = |verb| move |source| StateError::Io { path: path.to_owned(), verb, source };
        made(path)?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        let directory = match options.open(path) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                return Ok(());
            }
            opened => opened.map_err(fail("opened"))?,
        };
        let metadata = directory.metadata().map_err(fail("opened"))?;
        if metadata.uid() != geteuid().as_raw() {
            return Ok(());
        }
        check(path, &metadata, WRITABLE_BY_OTHERS, "write to it", DIRECTORY_MODE)?;
        if !holds_only_what_is_kept(&directory).map_err(fail("read"))? {
            return Ok(());
        }
        give(&directory, owner).map_err(|error| fail("handed over")(error.into()))?;
        info!(user = owner.0, group = owner.1, "{} is given to the user", path.display());
        Ok(())
    }

    /// Checks and locks the directory; makes it, for its owner alone, if only it is missing.
    ///
    /// # Errors
    /// When it belongs to another user, when others can write to it, and when another process
    /// uses it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let metadata = made(path)?;
        if !metadata.is_dir() {
            return Err(StateError::Kind { path: path.to_owned(), wanted: "directory" });
        }
        check(path, &metadata, WRITABLE_BY_OTHERS, "write to it", DIRECTORY_MODE)?;
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// Where swarms are kept.
    pub fn swarms(&self) -> PathBuf {
        self.path.join(SWARMS)
    }

    /// Where a successor asks for the sockets.
    pub fn handover(path: &Path) -> PathBuf {
        path.join(HANDOVER)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key of connection IDs: the one that is kept, or a random one that is from now on.
    ///
    /// # Errors
    /// When there is one that somebody else can read or may have written, or that is no key.
    pub fn connection_key(&self) -> Result<[u8; KEY_BYTES], StateError> {
        let path = self.path.join(KEY);
        if let Some(file) = open_private(&path)? {
            return Ok(key_from_open_file(file, &path)?.key);
        }
        let key = random_key()?;
        write_aside(&path, PRIVATE_MODE, |file| file.write_all(key_text(&key).as_bytes()))
            .map_err(|source| StateError::Io { path, verb: "created", source })?;
        Ok(key)
    }
}

/// Opens a file that only its owner, this user, can read and write. `None` if there is none.
///
/// # Errors
/// When it is no file, somebody else's, or open to others.
pub fn open_private(path: &Path) -> Result<Option<File>, StateError> {
    let mut options = OpenOptions::new();
    // A pipe would wait for a writer, and a link lead elsewhere.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let kind = || StateError::Kind { path: path.to_owned(), wanted: "file" };
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(kind()),
        Err(source) => {
            return Err(StateError::Io { path: path.to_owned(), verb: "opened", source });
        }
    };
    let fail = |source| StateError::Io { path: path.to_owned(), verb: "opened", source };
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(kind());
    }
    check(path, &metadata, OPEN_TO_OTHERS, "read or write it", PRIVATE_MODE)?;
    Ok(Some(file))
}

/// What a directory is like, which is made for its owner alone if only it is missing.
fn made(path: &Path) -> Result<fs::Metadata, StateError> {
    let fail = |verb| move |source| StateError::Io { path: path.to_owned(), verb, source };
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(fail("created")(error)),
        _ => fs::metadata(path).map_err(fail("opened")),
    }
}

fn check(
    path: &Path,
    metadata: &fs::Metadata,
    forbidden: u32,
    what: &'static str,
    wanted: u32,
) -> Result<(), StateError> {
    let (path, user) = (path.to_owned(), geteuid().as_raw());
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
    if owner != user {
        return Err(StateError::Owner { path, owner, user });
    }
    if mode & forbidden != 0 {
        return Err(StateError::Mode { path, mode, what, wanted });
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<Flock<File>, StateError> {
    let path = directory.join(LOCK);
    let fail = |source| StateError::Io { path: path.clone(), verb: "opened", source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.mode(PRIVATE_MODE).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).map_err(fail)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => StateError::InUse { path: directory.to_owned() },
        error => fail(error.into()),
    })
}

/// Gives a directory of this user, and this user's files of those that are kept in it, to others.
fn give(directory: &File, (user, group): (u32, u32)) -> nix::Result<()> {
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    let unfollowed = AtFlags::AT_SYMLINK_NOFOLLOW;
    for name in KEPT {
        let Ok(found) = fstatat(directory, name, unfollowed) else { continue };
        let is_file = found.st_mode & libc::S_IFMT == libc::S_IFREG;
        if is_file && found.st_uid == geteuid().as_raw() && found.st_nlink == 1 {
            fchownat(directory, name, user, group, unfollowed)?;
        }
    }
    fchown(directory, user, group)
}

/// Whether each name in it is one under which a process keeps something or has left it: a file
/// that was being written, swarms that were set aside, a socket.
fn holds_only_what_is_kept(directory: &File) -> io::Result<bool> {
    for entry in Dir::from_fd(directory.try_clone()?.into())?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let stem = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let is = |kept: &&str| stem(kept) == stem(name.strip_prefix('.').unwrap_or(&name));
        if !matches!(&*name, "." | "..") && !KEPT.iter().chain([&HANDOVER]).any(is) {
            return Ok(false);
        }
    }
    Ok(true)
}

const SWARMS: &str = "swarms";
const KEY: &str = "connection.key";
const LOCK: &str = "lock";
const HANDOVER: &str = "handover.sock";
const KEPT: [&str; 3] = [SWARMS, KEY, LOCK];
/// For what holds secrets, and for what is believed when it is read again.
pub const PRIVATE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const OPEN_TO_OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn message(result: Result<impl Sized, StateError>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state = StateDirectory::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(message(StateDirectory::open(&path)).contains("another ringtide"));
        drop(state);
        StateDirectory::open(&path).unwrap();
        let nowhere = folder.path().join("a/b");
        assert!(message(StateDirectory::open(&nowhere)).ends_with("a/b: cannot be created"));
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, right) in [(0o755, true), (0o700, true), (0o775, false), (0o777, false)] {
            set_mode(folder.path(), mode);
            let opened = StateDirectory::open(folder.path());
            assert_eq!(opened.is_ok(), right, "{mode:o}");
            if !right {
                assert!(message(opened).contains("`chmod 700`"));
            }
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(StateDirectory::open(&file)).contains("not a directory"));
    }

    #[test]
    fn the_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path()).unwrap();
        let key = state.connection_key().unwrap();
        let path = folder.path().join("connection.key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(state.connection_key().unwrap(), key);
        fs::remove_file(&path).unwrap();
        assert_ne!(state.connection_key().unwrap(), key);
    }

    #[test]
    fn a_doubtful_key_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path()).unwrap();
        state.connection_key().unwrap();
        let path = folder.path().join("connection.key");
        let refusal = || message(state.connection_key());
        set_mode(&path, 0o640);
        assert!(
            refusal().contains("mode 640 lets others read or write it; forbid it (`chmod 600`")
        );
        set_mode(&path, 0o600);
        fs::write(&path, "0011").unwrap();
        assert!(refusal().contains("must hold 32 hex digits"));
        fs::write(&path, [b'0'; 500]).unwrap();
        assert!(refusal().contains("too long for a key"));
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(refusal().contains("not a file"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refusal().contains("not a file"));
    }

    #[test]
    fn a_directory_of_root_goes_to_the_user_with_what_is_kept_in_it() {
        if !geteuid().is_root() {
            let _ = writeln!(io::stderr(), "SKIPPED: only root can give files away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        drop(StateDirectory::open(&path).unwrap());
        fs::write(folder.path().join("foreign"), "").unwrap();
        symlink(folder.path().join("foreign"), path.join("swarms")).unwrap();
        fs::write(path.join("swarms.damaged"), "").unwrap();
        let owner = |name: &str| fs::metadata(path.join(name)).unwrap().uid();
        set_mode(&path, 0o770);
        assert!(message(StateDirectory::hand_over(&path, (4711, 4712))).contains("chmod 700"));
        set_mode(&path, 0o700);
        StateDirectory::hand_over(&path, (4711, 4712)).unwrap();
        assert_eq!(
            (owner("."), owner("lock"), owner("swarms"), owner("swarms.damaged")),
            (4711, 4711, 0, 0)
        );
        // Whoever has it may have put anything there.
        fs::write(path.join("connection.key"), "").unwrap();
        StateDirectory::hand_over(&path, (4711, 4712)).unwrap();
        assert_eq!(owner("connection.key"), 0);
        StateDirectory::hand_over(&folder.path().join("new"), (4711, 4712)).unwrap();
        let new = fs::metadata(folder.path().join("new")).unwrap();
        assert_eq!((new.uid(), new.gid(), new.mode() & 0o777), (4711, 4712, 0o700));
    }

    #[test]
    fn a_directory_of_others_things_is_not_given_away() {
        if !geteuid().is_root() {
            let _ = writeln!(io::stderr(), "SKIPPED: only root can give files away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (system, link) = (folder.path().join("etc"), folder.path().join("state"));
        DirBuilder::new().mode(DIRECTORY_MODE).create(&system).unwrap();
        symlink(&system, &link).unwrap();
        StateDirectory::hand_over(&link, (4711, 4712)).unwrap();
        assert_eq!(fs::metadata(&system).unwrap().uid(), 0, "by a link");
        for name in ["shadow", "key", ".profile"] {
            fs::write(system.join(name), "").unwrap();
            StateDirectory::hand_over(&system, (4711, 4712)).unwrap();
            assert_eq!(fs::metadata(&system).unwrap().uid(), 0, "with {name}");
            fs::remove_file(system.join(name)).unwrap();
        }
        StateDirectory::hand_over(&system, (4711, 4712)).unwrap();
        assert_eq!(fs::metadata(&system).unwrap().uid(), 4711);
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !geteuid().is_root() {
            let _ = writeln!(io::stderr(), "SKIPPED: only root can give files away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path()).unwrap();
        state.connection_key().unwrap();
        chown(folder.path().join("connection.key"), Some(4711), None).unwrap();
        assert!(message(state.connection_key()).contains("belongs to user 4711 and not to 0"));
        drop(state);
        chown(folder.path(), Some(4711), None).unwrap();
        assert!(message(StateDirectory::open(folder.path())).contains("`chown 0`"));
    }
}
