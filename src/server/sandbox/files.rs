//! Files that stay within reach, and none besides (landlock(7)).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, path_beneath_rules,
};
use tracing::warn;

use super::Landlock;

/// The files and directories that a process still needs. Directories stand for all in them; one
/// that is replaced by another file of its name is only found again through its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// To read.
    pub readable: Vec<PathBuf>,
    /// To read, write, make and remove.
    pub writable: Vec<PathBuf>,
}

/// Puts everything else out of reach. What does not exist cannot be named and is left out.
pub(crate) fn restrict(files: &Files, no_new_privileges: bool) -> Landlock {
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
    // Neither running a program nor reaching for a device is left to anybody.
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev | AccessFs::Execute;
    let write = AccessFs::from_all(KNOWN) & !devices;
    // Nor signals to others, and their Unix sockets without a file, which ask for no permission.
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

/// The newest version whose rights are meant above; older kernels have fewer of them.
const KNOWN: ABI = ABI::V6;
