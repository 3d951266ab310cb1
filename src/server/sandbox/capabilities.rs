//! Capabilities: which there are, and dropping those that are not kept (capabilities(7)).

use caps::{CapSet, Capability, CapsHashSet};

use super::error::PrivilegeError;

/// What opening the relay's sockets needs: packet sockets, and buffers beyond the system's limits.
pub const SOCKET_CAPABILITIES: [Capability; 2] =
    [Capability::CAP_NET_RAW, Capability::CAP_NET_ADMIN];

/// Whether this thread may open packet sockets.
pub fn has_socket_capabilities() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap_or(false)
}

pub(super) fn none() -> CapsHashSet {
    CapsHashSet::new()
}

/// Those of [`SOCKET_CAPABILITIES`] that are permitted.
pub(super) fn sockets(permitted: &CapsHashSet) -> CapsHashSet {
    SOCKET_CAPABILITIES.into_iter().filter(|one| permitted.contains(one)).collect()
}

pub(super) fn permitted() -> Result<CapsHashSet, PrivilegeError> {
    caps::read(None, CapSet::Permitted).map_err(PrivilegeError::Capabilities)
}

/// Limits the capabilities of programs that this process may run to `keep`, if it may do so.
pub(super) fn bound(keep: &CapsHashSet) -> Result<(), PrivilegeError> {
    let failed = PrivilegeError::Capabilities;
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)? {
        return Ok(());
    }
    for capability in caps::all() {
        let bounded = caps::has_cap(None, CapSet::Bounding, capability);
        // A capability that this kernel does not know is in no set.
        if !keep.contains(&capability) && bounded.unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
        }
    }
    Ok(())
}

/// Sets the capabilities of this thread to `keep`.
pub(super) fn set(keep: &CapsHashSet) -> Result<(), PrivilegeError> {
    let nothing = CapsHashSet::new();
    // Ambient capabilities are a subset of the inheritable ones.
    [(CapSet::Inheritable, &nothing), (CapSet::Effective, keep), (CapSet::Permitted, keep)]
        .into_iter()
        .try_for_each(|(set, value)| caps::set(None, set, value))
        .map_err(PrivilegeError::Capabilities)
}
