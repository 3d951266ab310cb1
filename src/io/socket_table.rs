//! The sockets that a worker's loop serves. They belong to the process and may change while the
//! loop runs.

use std::fmt::Debug;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::AppliedVersion;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard};

/// Which of the worker's sockets a packet came in on or leaves by: an index into the list of
/// sockets that the worker was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u16);

/// The service that a socket belongs to. The drivers carry it and never look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceId {
    /// The tracker over UDP.
    Tracker,
    /// The multicast relay.
    Relay,
    /// The clients of a load test.
    LoadTest,
}

/// A socket that a loop can serve.
pub trait LoopSocket: AsRawFd + Debug + Send + Sync {
    /// What the loop receives from it.
    fn kind(&self) -> SocketKind;
}

/// What a loop receives from a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketKind {
    /// Nothing: the socket only sends.
    #[default]
    SendOnly,
    /// Datagrams for one address.
    Datagrams,
    /// Datagrams for any local address, each with the address that it was sent to.
    DatagramsWithPacketInfo,
    /// Link-layer frames, from a packet socket with `PACKET_VNET_HDR` and `PACKET_AUXDATA`.
    Frames,
}

/// A socket in the table, and the service that gets what it receives.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) service: ServiceId,
    pub(crate) socket: Arc<dyn LoopSocket>,
}

impl Registered {
    /// Whether both are the same socket for the same service.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.service == other.service && Arc::ptr_eq(&self.socket, &other.socket)
    }
}

/// What one worker's loop serves: its sockets by [`SocketId`].
///
/// The thread `main` changes it and wakes the worker; the loop applies the change. A worker that is
/// restarted takes the same sockets again.
#[derive(Debug)]
pub struct SocketTable {
    wanted: Mutex<Vec<Option<Registered>>>,
    frame_buffers: AtomicUsize,
    version: AtomicU64,
    applied: AppliedVersion,
}

impl SocketTable {
    /// A table with the `sockets` of one service under the IDs 0, 1, 2 and so on.
    pub fn new(service: ServiceId, sockets: impl IntoIterator<Item = Arc<dyn LoopSocket>>) -> Self {
        let registered = |socket| Some(Registered { service, socket });
        let wanted = sockets.into_iter().map(registered).collect();
        Self {
            wanted: Mutex::new(wanted),
            frame_buffers: AtomicUsize::new(usize::MAX),
            version: AtomicU64::new(1),
            applied: AppliedVersion::default(),
        }
    }

    /// Says how many buffers the loop is to receive frames into: as many as its pool has, unless
    /// this says less. It never goes back to fewer.
    pub fn set_frame_buffers(&self, count: usize) {
        self.frame_buffers.store(count, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How many buffers the loop is to receive frames into. To be read behind the version that is
    /// applied: read before, a change between the two would be overlooked.
    pub fn frame_buffers(&self) -> usize {
        self.frame_buffers.load(Ordering::Acquire)
    }

    /// Registers a socket of `service` under the lowest free ID, in a loop of the usual size.
    /// `None` when there are [`SOCKETS_MAX`] already.
    pub fn register(&self, service: ServiceId, socket: Arc<dyn LoopSocket>) -> Option<SocketId> {
        let mut wanted = self.lock();
        let id = wanted.iter().position(Option::is_none).unwrap_or(wanted.len());
        if id >= SOCKETS_MAX {
            return None;
        }
        if id == wanted.len() {
            wanted.push(None);
        }
        wanted[id] = Some(Registered { service, socket });
        self.version.fetch_add(1, Ordering::Release);
        Some(SocketId(id as u16))
    }

    /// Removes a socket. The loop releases it when it applies the change.
    pub fn deregister(&self, id: SocketId) {
        if let Some(slot) = self.lock().get_mut(usize::from(id.0)) {
            *slot = None;
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// The version that counts up with each change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The last version that the loop has fully applied.
    pub fn applied(&self) -> u64 {
        self.applied.get()
    }

    /// Waits until the loop has fully applied `version`, at most for `timeout`. Returns whether it
    /// has.
    pub fn wait_applied(&self, version: u64, timeout: Duration) -> bool {
        self.applied.wait(version, timeout)
    }

    pub(crate) fn set_applied(&self, version: u64) {
        self.applied.set(version);
    }

    /// Shows `look` the sockets that the loop should serve, and the version of that.
    pub(crate) fn with_wanted<R>(&self, look: impl FnOnce(&[Option<Registered>], u64) -> R) -> R {
        let wanted = self.lock();
        look(&wanted, self.version())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Registered>>> {
        // Every change is one assignment: a panic elsewhere leaves nothing half-done here.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most sockets that a tracker's or a relay's loop serves.
pub const SOCKETS_MAX: usize = 960;

/// Stands for a socket of a given kind in tests of who registers it.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Nowhere(pub(crate) SocketKind);

#[cfg(test)]
impl AsRawFd for Nowhere {
    fn as_raw_fd(&self) -> i32 {
        -1
    }
}

#[cfg(test)]
impl LoopSocket for Nowhere {
    fn kind(&self) -> SocketKind {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_reused_and_versions_count_up() {
        let table = SocketTable::new(ServiceId::Relay, []);
        let first =
            table.register(ServiceId::Relay, Arc::new(Nowhere(SocketKind::SendOnly))).unwrap();
        let second =
            table.register(ServiceId::Relay, Arc::new(Nowhere(SocketKind::SendOnly))).unwrap();
        assert_eq!((first, second), (SocketId(0), SocketId(1)));
        let before = table.version();
        table.deregister(first);
        assert!(table.version() > before);
        assert_eq!(
            table.register(ServiceId::Relay, Arc::new(Nowhere(SocketKind::SendOnly))),
            Some(first)
        );
        for _ in 2..SOCKETS_MAX {
            assert!(
                table.register(ServiceId::Relay, Arc::new(Nowhere(SocketKind::SendOnly))).is_some()
            );
        }
        assert_eq!(table.register(ServiceId::Relay, Arc::new(Nowhere(SocketKind::SendOnly))), None);
    }
}
