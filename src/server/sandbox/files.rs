//! Restricting access to files (landlock(7)).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, path_beneath_rules,
};
use tracing::warn;

use super::status::Landlock;

/// The files and directories that a process still needs. A directory includes everything in it. A
/// file that is replaced by another of the same name is only found through its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// To read.
    pub readable: Vec<PathBuf>,
    /// To read, write, create and remove.
    pub writable: Vec<PathBuf>,
}

/// Denies access to everything else. Paths that do not exist are left out.
pub(super) fn restrict(files: &Files, no_new_privileges: bool) -> Landlock {
    match enforce(files, no_new_privileges) {
        Ok(RulesetStatus::FullyEnforced) => Landlock::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Landlock::Partial,
        Ok(RulesetStatus::NotEnforced) => {
            warn!("files are not restricted: this kernel has no Landlock (Linux 5.13, CONFIG_LSM)");
            Landlock::Unsupported
        }
        Err(error) => {
            warn!("files are not restricted: {error}");
            Landlock::Unsupported
        }
    }
}

fn enforce(files: &Files, no_new_privileges: bool) -> Result<RulesetStatus, RulesetError> {
    // Running programs and opening devices is denied everywhere.
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev | AccessFs::Execute;
    let write = AccessFs::from_all(KNOWN) & !devices;
    // So are signals to other processes and abstract Unix sockets, which check no permission.
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(path_beneath_rules(&files.readable, read))?
        .add_rules(path_beneath_rules(&files.writable, write))?
        .no_new_privs(no_new_privileges)
        .restrict_self()?;
    Ok(status.ruleset)
}

/// The newest version of Landlock that is used; older kernels restrict less.
const KNOWN: ABI = ABI::V6;
