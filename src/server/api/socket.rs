//! The control socket: created safely, and removed at the end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, fchownat, geteuid};

use crate::error::Remedy;
use crate::values::path::directory_of;

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("the control socket {} is in use by another running ringtide", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something other than a socket is there.
    #[error("{} exists and is not a socket", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// There is no such group.
    #[error("there is no group {name:?} for the control socket")]
    Group {
        /// Its name.
        name: String,
    },
    /// The directory or the socket cannot be created.
    #[error("cannot create the control socket {}", path.display())]
    Make {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Remedy for SocketError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::InUse { .. } => {
                "stop that process, or set control.socket to another path or \"off\"".to_owned()
            }
            Self::Occupied { .. } => {
                "move it away, or set control.socket to another path".to_owned()
            }
            Self::Group { .. } => {
                "create it (groupadd), or set control.group to another group".to_owned()
            }
            Self::Make { .. } => {
                "set control.socket to a path in a directory that this user may write to, or to \
                 \"off\""
                    .to_owned()
            }
        })
    }
}

/// A listening control socket; dropping it removes its file.
pub(super) struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
    /// Its temporary path until the previous process has gone.
    hidden: Option<PathBuf>,
    /// Device and inode of the file, so that no other file is removed.
    identity: Option<(u64, u64)>,
}

impl ControlListener {
    /// Creates the socket, and the last directory of its path. A socket left by a dead process is
    /// replaced. A directory that is created is given to `owner`, a user and a group.
    ///
    /// The directory may belong to another user, who can create links in it at any time: owner and
    /// mode are never changed by name.
    ///
    /// With `succeeds`, a process that listens there is going to hand over to this one: the socket
    /// then has a temporary name until [`Self::publish`] renames it.
    pub(super) fn open(
        path: &Path,
        group: Option<&str>,
        owner: Option<(u32, u32)>,
        succeeds: bool,
    ) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Make { path: path.to_owned(), source };
        let group = group.map(group_id).transpose()?;
        let directory = directory_of(path);
        if !directory.exists() {
            DirBuilder::new().mode(DIRECTORY_MODE).create(&directory).map_err(failed)?;
            if let Some(owner) = owner {
                give_directory(&directory, owner).map_err(failed)?;
            }
        }
        let in_use = match make_way(path) {
            Err(SocketError::InUse { .. }) if succeeds => true,
            made => made.map(|()| false)?,
        };
        // Created under a temporary name until its group is set.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let hidden = path.with_file_name(name);
        let listener = bind(&hidden).map_err(failed)?;
        let path = path.to_owned();
        let mut control = Self { listener, path, identity: identity(&hidden), hidden: None };
        control.hidden = Some(hidden);
        control.ready(group).map_err(failed)?;
        if !in_use {
            control.publish()?;
        }
        Ok(control)
    }

    fn ready(&self, group: Option<u32>) -> io::Result<()> {
        open_to_group(self.current_path(), group)?;
        self.listener.set_nonblocking(true)
    }

    /// Renames it to the path that clients use, if that has not been done yet.
    pub(super) fn publish(&mut self) -> Result<(), SocketError> {
        let Some(hidden) = &self.hidden else { return Ok(()) };
        make_way(&self.path)?;
        fs::rename(hidden, &self.path)
            .map_err(|source| SocketError::Make { path: self.path.clone(), source })?;
        self.hidden = None;
        Ok(())
    }

    /// The current path of its file.
    fn current_path(&self) -> &Path {
        self.hidden.as_deref().unwrap_or(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if identity(self.current_path()) == self.identity {
            let _ = fs::remove_file(self.current_path());
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Removes a socket left by a dead process.
fn make_way(path: &Path) -> Result<(), SocketError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::Occupied { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| SocketError::Make { path: path.to_owned(), source }),
        _ => Err(SocketError::InUse { path: path.to_owned() }),
    }
}

/// Binds a socket that only those can use who may use it later, too.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (kind, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Unix, kind, flags, None)?;
    // The file is created with the mode that is set before bind, less the process's umask.
    fchmod(&socket, Mode::from_bits_truncate(SOCKET_MODE))?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket.into())
}

/// Changes the owner of a directory that was just created.
fn give_directory(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if directory.metadata()?.uid() != geteuid().as_raw() {
        return Err(io::Error::other("another user has put another directory in its place"));
    }
    fchown(directory, Some(user), Some(group))
}

/// Sets mode and group of a socket that was just created, and never of a file put in its place: a
/// hard link to another file of this user would give that file away.
fn open_to_group(path: &Path, group: Option<u32>) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let is_ours = found.uid() == geteuid().as_raw() && found.nlink() == 1;
    if !found.file_type().is_socket() || !is_ours {
        return Err(io::Error::other("another user has put another file in its place"));
    }
    // The mode behind an O_PATH descriptor can only be changed through this name.
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(same, fs::Permissions::from_mode(SOCKET_MODE))?;
    if let Some(group) = group {
        let group = Some(Gid::from_raw(group));
        fchownat(&file, "", None, group, AtFlags::AT_EMPTY_PATH).map_err(|error| {
            let what = "cannot change its group to control.group, which needs root or \
                        membership of that group";
            io::Error::other(format!("{what}: {}", error.desc()))
        })?;
    }
    Ok(())
}

fn group_id(name: &str) -> Result<u32, SocketError> {
    let found = nix::unistd::Group::from_name(name).ok().flatten();
    found
        .map(|group| group.gid.as_raw())
        .ok_or_else(|| SocketError::Group { name: name.to_owned() })
}

/// Owner and group may connect, which needs write permission.
const SOCKET_MODE: u32 = 0o660;

const DIRECTORY_MODE: u32 = 0o755;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::getegid;

    use super::*;

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/control.sock");
        let listener = ControlListener::open(&path, Some("root"), None, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, SOCKET_MODE);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = ControlListener::open(&path, None, None, false).unwrap();
        assert!(matches!(
            ControlListener::open(&path, None, None, false),
            Err(SocketError::InUse { .. })
        ));
        UnixStream::connect(&path).unwrap();
        drop(first);
        fs::write(&path, "mine").unwrap();
        assert!(matches!(
            ControlListener::open(&path, None, None, false),
            Err(SocketError::Occupied { .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_successor_leaves_the_socket_in_its_place_until_the_other_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let first = ControlListener::open(&path, None, None, true).unwrap();
        let mut second = ControlListener::open(&path, None, None, true).unwrap();
        assert!(matches!(second.publish(), Err(SocketError::InUse { .. })));
        UnixStream::connect(&path).unwrap();
        first.listener.accept().unwrap();
        drop(first);
        assert!(!path.exists());
        second.publish().unwrap();
        let third = ControlListener::open(&path, None, None, true).unwrap();
        drop(third);
        UnixStream::connect(&path).unwrap();
        second.listener.accept().unwrap();
        drop(second);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    /// The owner of the directory can do so between any two steps of ours.
    #[test]
    fn what_was_put_in_the_place_of_a_socket_is_not_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let name = |name: &str| directory.path().join(name);
        fs::write(name("file"), "precious").unwrap();
        symlink(name("file"), name("link")).unwrap();
        let _socket = UnixListener::bind(name("socket")).unwrap();
        symlink(name("socket"), name("link to a socket")).unwrap();
        open_to_group(&name("socket"), Some(getegid().as_raw())).unwrap();
        fs::hard_link(name("socket"), name("second name")).unwrap();
        for refused in ["file", "link", "link to a socket", "socket", "second name"] {
            let error = open_to_group(&name(refused), Some(getegid().as_raw())).unwrap_err();
            assert!(error.to_string().contains("in its place"), "{refused}: {error}");
        }
        fs::create_dir(name("directory")).unwrap();
        symlink(name("directory"), name("link to a directory")).unwrap();
        let ours = (geteuid().as_raw(), getegid().as_raw());
        give_directory(&name("directory"), ours).unwrap();
        for refused in ["file", "link to a directory"] {
            assert!(give_directory(&name(refused), ours).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_unknown_group_is_named() {
        let path = Path::new("/nonexistent/control.sock");
        let error = ControlListener::open(path, Some("no such group"), None, false).err().unwrap();
        assert!(error.to_string().contains("no such group"));
    }
}
