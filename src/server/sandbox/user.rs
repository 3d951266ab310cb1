//! The unprivileged user that a process started as root becomes.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{self, Gid, Uid};

use super::{PrivilegeError, PrivilegeSettings};

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl User {
    /// Finds a user by name or number; without either, the usual one. A number needs no entry in
    /// the user database, as in containers that have none; its group then has the same number.
    pub(crate) fn find(wanted: Option<&str>) -> Result<Self, PrivilegeError> {
        let Some(wanted) = wanted else {
            return Ok(Self::named(USUAL).or_else(|| Self::named(NOBODY)).unwrap_or_else(|| {
                Self {
                    name: NOBODY.to_owned(),
                    uid: Uid::from_raw(NOBODY_NUMBER),
                    gid: Gid::from_raw(NOBODY_NUMBER),
                }
            }));
        };
        if let Some(user) = Self::named(wanted) {
            return Ok(user);
        }
        let number: u32 =
            wanted.parse().map_err(|_| PrivilegeError::NoUser { user: wanted.to_owned() })?;
        let uid = Uid::from_raw(number);
        let gid = match unistd::User::from_uid(uid) {
            Ok(Some(user)) => user.gid,
            _ => Gid::from_raw(number),
        };
        Ok(Self { name: wanted.to_owned(), uid, gid })
    }

    fn named(name: &str) -> Option<Self> {
        let user = unistd::User::from_name(name).ok().flatten()?;
        Some(Self { name: user.name, uid: user.uid, gid: user.gid })
    }

    /// Becomes this user, with its group alone and for good. With `keep_capabilities` those that
    /// are permitted stay permitted.
    pub(crate) fn switch(&self, keep_capabilities: bool) -> Result<(), PrivilegeError> {
        let switch = || {
            prctl::set_keepcaps(keep_capabilities)?;
            unistd::setgroups(&[])?;
            unistd::setresgid(self.gid, self.gid, self.gid)?;
            unistd::setresuid(self.uid, self.uid, self.uid)
        };
        switch().map_err(|source| PrivilegeError::User { user: self.name.clone(), source })
    }
}

/// The user that a process started as root is going to become, when it is one: what is kept
/// between runs belongs to that user. The default is nobody in particular, for a process that
/// stays who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FutureUser(Option<User>);

impl FutureUser {
    /// Finds the user that `settings` make this process become.
    ///
    /// # Errors
    /// When the settings name one that does not exist.
    pub fn find(settings: &PrivilegeSettings) -> Result<Self, PrivilegeError> {
        if !settings.switch_user || !unistd::geteuid().is_root() {
            return Ok(Self(None));
        }
        let user = User::find(settings.user.as_deref())?;
        // As for the switch itself: a user namespace may have no such user.
        match act_as(&user, || ()) {
            Err(_) if settings.user.is_none() => Ok(Self(None)),
            acted => acted.map(|()| Self(Some(user))),
        }
    }

    /// User and group as numbers. `None` when this process stays who it is.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.0.as_ref().map(|user| (user.uid.as_raw(), user.gid.as_raw()))
    }

    /// The number of the user that this process is going to be.
    pub fn uid(&self) -> u32 {
        self.owner().map_or(unistd::geteuid().as_raw(), |(user, _)| user)
    }

    /// Does something as that user already, so that files are checked and made as they will be
    /// used. To be called while there is no other thread.
    ///
    /// # Errors
    /// When the system lets this process become that user no more, or root again.
    pub fn act<T>(&self, act: impl FnOnce() -> T) -> Result<T, PrivilegeError> {
        match &self.0 {
            None => Ok(act()),
            Some(user) => act_as(user, act),
        }
    }
}

fn act_as<T>(user: &User, act: impl FnOnce() -> T) -> Result<T, PrivilegeError> {
    let failed = |source| PrivilegeError::User { user: user.name.clone(), source };
    let group = unistd::getegid();
    unistd::setegid(user.gid).map_err(failed)?;
    if let Err(error) = unistd::seteuid(user.uid) {
        unistd::setegid(group).map_err(failed)?;
        return Err(failed(error));
    }
    let acted = act();
    unistd::seteuid(Uid::from_raw(0)).map_err(failed)?;
    unistd::setegid(group).map_err(failed)?;
    Ok(acted)
}

/// What the kernel said when a switch failed.
pub(crate) fn errno_of(error: &PrivilegeError) -> Errno {
    match error {
        PrivilegeError::User { source, .. } | PrivilegeError::NoNewPrivileges(source) => *source,
        PrivilegeError::NoUser { .. } | PrivilegeError::Capabilities(_) => Errno::UnknownErrno,
    }
}

/// The user that the package makes.
const USUAL: &str = "ringtide";
const NOBODY: &str = "nobody";
/// The number that stands for nobody where there is no user database.
const NOBODY_NUMBER: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        assert_eq!(User::find(Some("root")).unwrap().uid, Uid::from_raw(0));
        let number = User::find(Some("4242424")).unwrap();
        assert_eq!((number.uid.as_raw(), number.gid.as_raw()), (4_242_424, 4_242_424));
        let error = User::find(Some("no such user")).unwrap_err().to_string();
        assert!(error.contains("no such user") && error.contains("useradd"), "{error}");
        assert!(!User::find(None).unwrap().uid.is_root());
    }
}
