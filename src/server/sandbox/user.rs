//! The unprivileged user that a process started as root becomes.

use nix::sys::prctl;
use nix::unistd::{self, Gid, Uid};

use super::error::PrivilegeError;
use super::settings::PrivilegeSettings;

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl User {
    /// Finds a user by name or number; without either, the default one. A number need not be in the
    /// user database, which containers often lack; its group then has the same number.
    pub(super) fn find(wanted: Option<&str>) -> Result<Self, PrivilegeError> {
        let Some(wanted) = wanted else {
            return Ok(Self::named(DEFAULT).or_else(|| Self::named(NOBODY)).unwrap_or_else(|| {
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

    /// Becomes this user for good, with its group and no other. With `keep_capabilities` the
    /// permitted capabilities stay permitted.
    pub(super) fn switch(&self, keep_capabilities: bool) -> Result<(), PrivilegeError> {
        let switch = || {
            prctl::set_keepcaps(keep_capabilities)?;
            unistd::setgroups(&[])?;
            unistd::setresgid(self.gid, self.gid, self.gid)?;
            unistd::setresuid(self.uid, self.uid, self.uid)
        };
        switch().map_err(|source| PrivilegeError::User { user: self.name.clone(), source })
    }
}

/// The user that a process started as root will become, if it will: the state directory belongs to
/// that user. The default is for a process that keeps its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FutureUser(Option<User>);

impl FutureUser {
    /// Finds the user that this process will become by `settings`.
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

    /// User and group as numbers. `None` when this process keeps its user.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.0.as_ref().map(|user| (user.uid.as_raw(), user.gid.as_raw()))
    }

    /// The number of the user that this process will run as.
    pub fn uid(&self) -> u32 {
        self.owner().map_or(unistd::geteuid().as_raw(), |(user, _)| user)
    }

    /// Runs `act` as that user already, so that files are checked and created as they will be used.
    /// Must be called while there is no other thread.
    ///
    /// # Errors
    /// When this process cannot become that user, or root again.
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

/// The user that the package creates.
const DEFAULT: &str = "ringtide";
const NOBODY: &str = "nobody";
/// The usual number of `nobody`, for systems without a user database.
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
