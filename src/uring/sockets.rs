//! The loop's side of the sockets registered with it: registered files and multishot receives.

use std::io;
use std::sync::Arc;

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::buffer_ring::BufferRing;
use super::frame_queue::FrameQueue;
use super::ring::Queues;
use super::token::{Generation, Token};
use crate::io::ServiceId;
use crate::io::socket_table::{Registered, SocketKind, SocketTable};
use crate::sys::address::{ADDRESS_BYTES, CONTROL_BYTES};
use crate::telemetry::{Counter, Counters};

/// Where a slot's multishot receive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// There is nothing to receive.
    Nothing,
    /// The kernel has it.
    Armed,
    /// It ended; it starts again before the next wait, once buffers are back.
    Ended,
    /// It failed for a reason that may last; it starts again at the next tick.
    Resting,
    /// It was cancelled because the socket goes; the slot is free when it ends.
    Closing,
}

struct Slot {
    registered: Option<Registered>,
    kind: SocketKind,
    /// Of the registered socket, among all that have had this ID.
    generation: Generation,
    receive: Receive,
}

impl Slot {
    /// What the receive of this slot, the one of `id`, is known by.
    fn token(&self, id: usize) -> u64 {
        Token::Receive { socket: id as u16, generation: self.generation }.encode()
    }
}

/// All sockets of one loop, by ID.
pub(super) struct Sockets {
    table: Arc<SocketTable>,
    slots: Vec<Slot>,
    /// Which parts of a buffer are name and control data. The kernel reads it whenever a receive
    /// starts: in place for good. One for every kind, so that all leave the same room.
    header: Box<libc::msghdr>,
    /// The version of the table that was looked at last.
    seen: u64,
    /// Slots that differ from the table because their receive has yet to end.
    unsettled: usize,
    /// Whether a cancellation found no room, or the kernel did not take it for submission.
    postponed: bool,
    /// Slots whose receive is [`Receive::Ended`].
    ended: usize,
    /// Whose receive is started first the next time: another each time, as the first may take all
    /// buffers that are free.
    first: usize,
}

/// The buffer groups, by what is received into them.
pub(super) struct Groups {
    pub(super) datagrams: BufferRing,
    /// Registered when the first packet socket is registered.
    pub(super) frames: Option<BufferRing>,
}

impl Groups {
    pub(super) fn of(&mut self, kind: SocketKind) -> Option<&mut BufferRing> {
        match kind {
            SocketKind::SendOnly => None,
            SocketKind::Datagrams | SocketKind::DatagramsWithPacketInfo => {
                Some(&mut self.datagrams)
            }
            SocketKind::Frames => self.frames.as_mut(),
        }
    }

    pub(super) fn recycle(&mut self) {
        self.datagrams.recycle();
        if let Some(frames) = &mut self.frames {
            frames.recycle();
        }
    }
}

impl Sockets {
    pub(super) fn new(table: Arc<SocketTable>, sockets_max: u16) -> Self {
        let header = Box::new(header(ADDRESS_BYTES, CONTROL_BYTES));
        let slots = Vec::with_capacity(usize::from(sockets_max));
        let (unsettled, postponed, ended, first) = (0, false, 0, 0);
        Self { table, slots, header, seen: 0, unsettled, postponed, ended, first }
    }

    /// Whether the table has changed, or a change waits for a receive that has ended since.
    pub(super) fn is_behind(&self) -> bool {
        self.seen != self.table.version()
    }

    /// Whether packet sockets are wanted, which need buffers of their own.
    pub(super) fn wants_frames(&self) -> bool {
        self.table.with_wanted(|wanted, _| {
            wanted.iter().flatten().any(|wanted| wanted.socket.kind() == SocketKind::Frames)
        })
    }

    /// Makes the slots what the table says, as far as receives that must end first allow. What
    /// waits of a socket goes with it: the next one under its ID is another.
    pub(super) fn catch_up(
        &mut self,
        queues: &mut Queues<'_>,
        waiting: &mut FrameQueue,
        counters: &Counters,
    ) -> io::Result<()> {
        let table = Arc::clone(&self.table);
        let version = table.with_wanted(|wanted, version| {
            (self.unsettled, self.postponed) = (0, false);
            for id in 0..wanted.len().max(self.slots.len()) {
                if self.settle(id, wanted.get(id).and_then(Option::as_ref), queues)? {
                    let lost = waiting.forget(id as u16) as u64;
                    counters.add(Counter::FramesLostToShutdown, lost);
                }
            }
            Ok::<_, io::Error>(version)
        })?;
        self.seen = if self.postponed { 0 } else { version };
        if self.unsettled == 0 {
            table.set_applied(version);
        }
        Ok(())
    }

    /// Makes one slot what is wanted. True when it holds another socket than before, or none.
    fn settle(
        &mut self,
        id: usize,
        wanted: Option<&Registered>,
        queues: &mut Queues<'_>,
    ) -> io::Result<bool> {
        if id == self.slots.len() {
            self.slots.push(Slot {
                registered: None,
                kind: SocketKind::SendOnly,
                generation: Generation::default(),
                receive: Receive::Nothing,
            });
        }
        let slot = &mut self.slots[id];
        let same = match (&slot.registered, wanted) {
            (Some(present), Some(wanted)) => present.is_same(wanted),
            (None, None) => true,
            _ => false,
        };
        if same {
            // Deregistered and registered again before its receive had ended.
            if slot.receive == Receive::Nothing && slot.kind != SocketKind::SendOnly {
                slot.receive = Receive::Ended;
                self.ended += 1;
            }
            return Ok(false);
        }
        if slot.receive == Receive::Armed {
            let token = slot.token(id);
            if !queues.cancel(opcode::AsyncCancel::new(token).build()) {
                // The next iteration asks again.
                self.postponed = true;
                self.unsettled += 1;
                return Ok(false);
            }
            slot.receive = Receive::Closing;
        }
        if slot.receive == Receive::Closing {
            self.unsettled += 1;
            return Ok(false);
        }
        let descriptor = wanted.map_or(-1, |wanted| wanted.socket.as_raw_fd());
        queues.submitter.register_files_update(id as u32, &[descriptor])?;
        self.ended -= usize::from(slot.receive == Receive::Ended);
        slot.kind = wanted.map_or(SocketKind::SendOnly, |wanted| wanted.socket.kind());
        slot.receive = match slot.kind {
            SocketKind::SendOnly => Receive::Nothing,
            _ => Receive::Ended,
        };
        self.ended += usize::from(slot.receive == Receive::Ended);
        slot.registered = wanted.cloned();
        slot.generation = slot.generation.next();
        Ok(true)
    }

    /// What a slot receives, and for which service; `None` when it is empty.
    pub(super) fn get(&self, id: u16) -> Option<(SocketKind, ServiceId)> {
        let slot = self.slots.get(usize::from(id))?;
        slot.registered.as_ref().map(|registered| (slot.kind, registered.service))
    }

    /// Whether a receive of this generation is one on the socket that has the ID now.
    pub(super) fn is_current(&self, id: u16, generation: Generation) -> bool {
        self.slots.get(usize::from(id)).is_some_and(|slot| slot.generation == generation)
    }

    /// The header that receives are started with.
    pub(super) fn header(&self) -> &libc::msghdr {
        &self.header
    }

    /// Notes that a receive ended with `result`. False when that was an error.
    pub(super) fn ended(&mut self, id: u16, result: i32) -> bool {
        let slot = &mut self.slots[usize::from(id)];
        if slot.receive == Receive::Closing {
            slot.receive = Receive::Nothing;
            // Look at the table again: this slot can change now.
            self.seen = 0;
            return true;
        }
        // No buffers, or the kernel's own bound on shots: start again this iteration.
        let at_once = result >= 0 || result == -libc::ENOBUFS;
        slot.receive = if at_once { Receive::Ended } else { Receive::Resting };
        self.ended += usize::from(at_once);
        at_once
    }

    /// Gives receives that failed another chance.
    pub(super) fn wake_resting(&mut self) {
        for slot in &mut self.slots {
            if slot.receive == Receive::Resting {
                slot.receive = Receive::Ended;
                self.ended += 1;
            }
        }
    }

    /// Cancels once more what should have ended by now: a cancellation may fail.
    pub(super) fn cancel_again(&self, queues: &mut Queues<'_>) {
        // One at a time for each receive.
        if self.unsettled > 0 && queues.cancels_pending == 0 {
            self.cancel(Receive::Closing, queues);
        }
    }

    /// Starts the receives that ended and have buffers to fill. Returns how many.
    pub(super) fn rearm(&mut self, queues: &mut Queues<'_>, groups: &mut Groups) -> u64 {
        let mut started = 0;
        if self.ended == 0 {
            return started;
        }
        let first = self.first;
        for offset in 0..self.slots.len() {
            let id = (first + offset) % self.slots.len();
            let kind = self.slots[id].kind;
            // A receive without a buffer to fill would end at once with ENOBUFS.
            let group = groups.of(kind).filter(|group| group.provided() > 0);
            let (Receive::Ended, Some(group)) = (self.slots[id].receive, group) else { continue };
            let entry = self.receive(id, group.group());
            // SAFETY: the header is boxed and outlives the drain, as this struct does.
            if unsafe { queues.receive(&entry) } {
                self.slots[id].receive = Receive::Armed;
                self.ended -= 1;
                if started == 0 {
                    self.first = id + 1;
                }
                started += 1;
            }
        }
        started
    }

    fn receive(&self, id: usize, group: u16) -> Entry {
        let header: *const libc::msghdr = &raw const *self.header;
        opcode::RecvMsgMulti::new(types::Fixed(id as u32), header, group)
            .build()
            .user_data(self.slots[id].token(id))
    }

    /// Asks the kernel to end all receives, or as many as there is room to cancel at a time.
    pub(super) fn cancel_receives(&self, queues: &mut Queues<'_>) {
        self.cancel(Receive::Armed, queues);
    }

    /// Asks the kernel to end the receives that stand so.
    fn cancel(&self, stand: Receive, queues: &mut Queues<'_>) {
        for (id, slot) in self.slots.iter().enumerate() {
            if slot.receive == stand
                && !queues.cancel(opcode::AsyncCancel::new(slot.token(id)).build())
            {
                // The rest when these have ended.
                return;
            }
        }
    }
}

fn header(name_bytes: usize, control_bytes: usize) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers; all zero means "none".
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = name_bytes as libc::socklen_t;
    header.msg_controllen = control_bytes;
    header
}
