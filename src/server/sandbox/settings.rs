//! What a process drops at its start.

/// What a process drops once its sockets are open. Everything by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivilegeSettings {
    /// Whether a process that was started as root becomes another user.
    pub switch_user: bool,
    /// That user, by name or number; `None` means `ringtide` if it exists, else `nobody`.
    pub user: Option<String>,
    /// Whether all capabilities are dropped.
    pub drop_capabilities: bool,
    /// Whether a relay has a second process that keeps the right to open sockets, so that rules
    /// can be added and interfaces come back after capabilities were dropped.
    pub broker: bool,
    /// Interfaces that the broker opens sockets on in addition to those named by the file's rules.
    pub interfaces: Vec<String>,
    /// Whether new privileges are ruled out for good (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// Whether system calls are filtered (seccomp(2)).
    pub seccomp: bool,
    /// Whether access to files that are not needed is denied (landlock(7)).
    pub landlock: bool,
}

impl Default for PrivilegeSettings {
    fn default() -> Self {
        Self {
            switch_user: true,
            user: None,
            drop_capabilities: true,
            broker: true,
            interfaces: Vec::new(),
            no_new_privileges: true,
            seccomp: true,
            landlock: true,
        }
    }
}
