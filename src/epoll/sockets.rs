//! The loop's side of the sockets registered with it, and what is ready.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::io::WorkerControl;
use crate::io::fault_injection::{Operation, refusal};
use crate::io::socket_table::{LoopSocket, Registered, SocketKind, SocketTable};
use crate::io::{ServiceId, SocketId};

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// A socket has something to receive, or an error to report.
    Socket(SocketId),
    /// Another thread woke the worker.
    Wake,
}

#[derive(Default)]
struct Slot {
    registered: Option<Registered>,
    kind: SocketKind,
    /// Whether its receive failed for a reason that may last: it is watched again from the next
    /// tick on.
    resting: bool,
}

/// All sockets of one loop, by ID, and the epoll that watches them.
pub(super) struct Sockets {
    table: Arc<SocketTable>,
    epoll: Epoll,
    slots: Vec<Slot>,
    /// Room for every socket and the wake-up, so that each is served.
    events: Box<[EpollEvent]>,
    /// The version of the table that was applied last.
    seen: u64,
}

impl Sockets {
    /// # Errors
    /// When the kernel gives no epoll, as with too many open files.
    pub(super) fn new(
        table: Arc<SocketTable>,
        control: &WorkerControl,
        sockets_max: u16,
    ) -> io::Result<Self> {
        let sockets_max = usize::from(sockets_max);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(control.wake_descriptor(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let events = vec![EpollEvent::empty(); sockets_max + 1].into_boxed_slice();
        Ok(Self { table, epoll, slots: Vec::with_capacity(sockets_max), events, seen: 0 })
    }

    /// Whether the table has changed.
    pub(super) fn is_behind(&self) -> bool {
        self.seen != self.table.version()
    }

    /// Makes the slots what the table says.
    pub(super) fn catch_up(&mut self) -> io::Result<()> {
        let table = Arc::clone(&self.table);
        let version = table.with_wanted(|wanted, version| {
            // Release first: a socket may have moved to another ID.
            for id in 0..self.slots.len() {
                self.release(id, wanted.get(id).and_then(Option::as_ref))?;
            }
            for (id, wanted) in wanted.iter().enumerate() {
                self.watch(id, wanted.as_ref())?;
            }
            Ok::<_, io::Error>(version)
        })?;
        self.seen = version;
        table.set_applied(version);
        Ok(())
    }

    /// Empties a slot unless it has what is wanted.
    fn release(&mut self, id: usize, wanted: Option<&Registered>) -> io::Result<()> {
        let slot = &mut self.slots[id];
        let Some(present) = &slot.registered else { return Ok(()) };
        if wanted.is_some_and(|wanted| present.is_same(wanted)) {
            return Ok(());
        }
        if slot.kind != SocketKind::SendOnly && !slot.resting {
            self.epoll.delete(descriptor(&present.socket))?;
        }
        *slot = Slot::default();
        Ok(())
    }

    /// Fills a slot that is empty.
    fn watch(&mut self, id: usize, wanted: Option<&Registered>) -> io::Result<()> {
        if id == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let slot = &mut self.slots[id];
        if let (None, Some(wanted)) = (&slot.registered, wanted) {
            let kind = wanted.socket.kind();
            if kind != SocketKind::SendOnly {
                self.epoll.add(descriptor(&wanted.socket), readable(id))?;
            }
            *slot = Slot { registered: Some(wanted.clone()), kind, resting: false };
        }
        Ok(())
    }

    /// What a registered socket receives, for which service, and its descriptor.
    pub(super) fn get(&self, id: SocketId) -> Option<(SocketKind, ServiceId, RawFd)> {
        let slot = self.slots.get(usize::from(id.0))?;
        let registered = slot.registered.as_ref()?;
        Some((slot.kind, registered.service, registered.socket.as_raw_fd()))
    }

    /// Whether packet sockets are registered, which need buffers of their own.
    pub(super) fn have_frames(&self) -> bool {
        self.slots.iter().any(|slot| slot.kind == SocketKind::Frames)
    }

    /// Leaves a socket alone until [`Self::wake_resting`].
    pub(super) fn rest(&mut self, id: SocketId) -> io::Result<()> {
        if let Some(slot) = self.slots.get_mut(usize::from(id.0))
            && let Some(registered) = &slot.registered
            && !slot.resting
        {
            self.epoll.delete(descriptor(&registered.socket))?;
            slot.resting = true;
        }
        Ok(())
    }

    /// Watches the sockets that rested again.
    pub(super) fn wake_resting(&mut self) -> io::Result<()> {
        for (id, slot) in self.slots.iter_mut().enumerate() {
            if let (Some(registered), true) = (&slot.registered, slot.resting) {
                self.epoll.add(descriptor(&registered.socket), readable(id))?;
                slot.resting = false;
            }
        }
        Ok(())
    }

    /// Waits until something is ready, at most for `wait`. Returns how many are.
    pub(super) fn wait(&mut self, wait: Duration) -> io::Result<usize> {
        // Rounded up: a wait that ends early would be followed by others of no length.
        let wait_ms = wait.as_nanos().div_ceil(1_000_000).min(u128::from(WAIT_MS_MAX));
        let timeout = EpollTimeout::from(wait_ms as u16);
        let waited = match refusal(Operation::Wait) {
            None => self.epoll.wait(&mut self.events, timeout),
            Some(errno) => Err(Errno::from_raw(errno)),
        };
        match waited {
            Ok(ready) => Ok(ready),
            // A signal for somebody else.
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The ready event with this index, below the count that the last wait returned.
    pub(super) fn ready(&self, index: usize) -> Ready {
        match self.events[index].data() {
            WAKE => Ready::Wake,
            id => Ready::Socket(SocketId(id as u16)),
        }
    }
}

fn readable(id: usize) -> EpollEvent {
    // Level-triggered: what one batch leaves in a socket is reported again.
    EpollEvent::new(EpollFlags::EPOLLIN, id as u64)
}

fn descriptor(socket: &Arc<dyn LoopSocket>) -> BorrowedFd<'_> {
    // SAFETY: whoever registers a socket keeps it open as long as the `Arc` lives, which is
    // borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// Beyond any socket's ID.
const WAKE: u64 = u64::MAX;

/// Far above the tick interval, which bounds each wait.
const WAIT_MS_MAX: u16 = 10_000;
