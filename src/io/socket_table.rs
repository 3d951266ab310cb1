//! Sockets that the process owns and lends to a worker's loop, which may change while it runs.

use std::fmt::Debug;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard};

/// Which of the worker's sockets a packet came in on or leaves by: an index into the list of
/// sockets that the worker was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u16);

/// A socket that can be lent to a loop.
pub trait LoopSocket: AsRawFd + Debug + Send + Sync {
    /// What the loop receives from it.
    fn kind(&self) -> SocketKind;
}

/// What a loop receives from a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketKind {
    /// Nothing: the socket only sends.
    #[default]
    Nothing,
    /// Datagrams for one address.
    Datagrams,
    /// Datagrams for any local address, with the one that was asked.
    DatagramsWithLocal,
    /// Link-layer frames, from a packet socket with `PACKET_VNET_HDR` and `PACKET_AUXDATA`.
    Frames,
}

/// What one worker's loop serves: its sockets by [`SocketId`].
///
/// The control thread says what should be lent; the loop catches up when it is woken. A worker
/// that is restarted takes the same sockets again.
#[derive(Debug)]
pub struct SocketTable {
    wanted: Mutex<Vec<Option<Arc<dyn LoopSocket>>>>,
    frame_buffers: AtomicUsize,
    version: AtomicU64,
    applied: AtomicU64,
}

impl SocketTable {
    /// A table that lends `sockets` under the IDs 0, 1, 2 and so on.
    pub fn new(sockets: impl IntoIterator<Item = Arc<dyn LoopSocket>>) -> Self {
        let wanted = sockets.into_iter().map(Some).collect();
        Self {
            wanted: Mutex::new(wanted),
            frame_buffers: AtomicUsize::new(usize::MAX),
            version: AtomicU64::new(1),
            applied: AtomicU64::new(0),
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

    /// Lends a socket under the lowest free ID, in a loop of the usual size. `None` when
    /// [`SOCKETS_MAX`] are lent.
    pub fn register(&self, socket: Arc<dyn LoopSocket>) -> Option<SocketId> {
        let mut wanted = self.lock();
        let id = wanted.iter().position(Option::is_none).unwrap_or(wanted.len());
        if id >= SOCKETS_MAX {
            return None;
        }
        if id == wanted.len() {
            wanted.push(None);
        }
        wanted[id] = Some(socket);
        self.version.fetch_add(1, Ordering::Release);
        Some(SocketId(id as u16))
    }

    /// Takes a socket back. The loop lets go of it when it applies the change.
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
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn set_applied(&self, version: u64) {
        self.applied.store(version, Ordering::Release);
    }

    /// Hands what should be lent to `look`, with its version.
    pub(crate) fn with_wanted<R>(
        &self,
        look: impl FnOnce(&[Option<Arc<dyn LoopSocket>>], u64) -> R,
    ) -> R {
        let wanted = self.lock();
        look(&wanted, self.version())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Arc<dyn LoopSocket>>>> {
        // Every change is one assignment: a panic elsewhere leaves nothing half-done here.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most sockets that a tracker's or a relay's loop serves.
pub const SOCKETS_MAX: usize = 960;

/// What stands for a socket in tests of who lends it, and receives what it says.
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
        let table = SocketTable::new([]);
        let first = table.register(Arc::new(Nowhere(SocketKind::Nothing))).unwrap();
        let second = table.register(Arc::new(Nowhere(SocketKind::Nothing))).unwrap();
        assert_eq!((first, second), (SocketId(0), SocketId(1)));
        let before = table.version();
        table.deregister(first);
        assert!(table.version() > before);
        assert_eq!(table.register(Arc::new(Nowhere(SocketKind::Nothing))), Some(first));
        for _ in 2..SOCKETS_MAX {
            assert!(table.register(Arc::new(Nowhere(SocketKind::Nothing))).is_some());
        }
        assert_eq!(table.register(Arc::new(Nowhere(SocketKind::Nothing))), None);
    }
}
