//! Putting IPv6 datagrams together from their fragments (RFC 8200, 4.5; RFC 5722).
//!
//! Nothing is copied: fragments stay in the receive buffers they came in, and a whole datagram is
//! a list of slices. What that can take from the pool of receive buffers has a bound, so that
//! fragments whose others never come cannot drain it: the oldest go first.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::fragment::{Fragment, PacketId, udp_in};
use super::stats::{FlowCounters, RelayDrop};
use crate::io::{BufferSlice, FORWARD_SLICES_MAX, Now, SocketId};
use crate::wire::udp;

/// The most packets in progress at a time.
pub const PACKETS_MAX: usize = 64;

/// The most fragments of one packet: what one send takes. A datagram of 65,535 bytes is 54 over
/// the least MTU that IPv6 allows.
pub const FRAGMENTS_MAX: usize = FORWARD_SLICES_MAX;

/// How long a packet's fragments are waited for, from the first that arrives. RFC 8200 permits up
/// to a minute; what is forwarded as it comes is of no use by then.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A datagram that is complete.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Who sent it, without flow label and scope.
    pub source: SocketAddr,
    /// Where it was sent to; the same holds for its scope.
    pub destination: SocketAddr,
    /// Hop limit of the first fragment.
    pub ttl: u8,
    /// Traffic class of the first fragment.
    pub tos: u8,
    /// The payload, in order: at least one slice, at most [`FRAGMENTS_MAX`].
    pub slices: &'a [BufferSlice],
    /// The payload's length.
    pub bytes: usize,
}

/// Packets that are being put together. All storage is allocated at the start.
#[derive(Debug)]
pub struct Reassembly {
    packets: Box<[Packet]>,
    /// Fragments in all packets.
    held: usize,
    held_max: usize,
    /// Counts up with each packet that begins.
    age: u64,
    /// The slices of a whole datagram while it is handed over.
    whole: Vec<BufferSlice>,
}

/// One packet in progress.
#[derive(Debug)]
struct Packet {
    id: PacketId,
    /// The smallest is the oldest; [`FREE`] marks an entry without a packet.
    age: u64,
    began: Now,
    /// By offset, without overlap; at most [`FRAGMENTS_MAX`].
    pieces: Vec<Piece>,
    /// How many bytes they have.
    bytes: usize,
    /// How many the packet has, once the last fragment has come.
    total: Option<usize>,
    /// From the first fragment.
    head: Head,
    /// Set when nothing can become of it: fragments that still come are dropped for this reason.
    refused: Option<RelayDrop>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    next_header: u8,
    ttl: u8,
    tos: u8,
}

#[derive(Debug)]
struct Piece {
    offset: usize,
    slice: BufferSlice,
}

const FREE: u64 = 0;

impl Reassembly {
    /// An empty one that holds up to `held_max` receive buffers.
    pub fn new(held_max: usize) -> Self {
        let packets = (0..PACKETS_MAX).map(|_| Packet::free()).collect();
        let whole = Vec::with_capacity(FRAGMENTS_MAX);
        Self { packets, held: 0, held_max, age: FREE, whole }
    }

    /// Changes how many receive buffers it may hold, from the next fragment on.
    pub fn set_held_max(&mut self, held_max: usize) {
        self.held_max = held_max;
    }

    /// How many receive buffers it holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes a fragment, whose bytes are `slice`. With the last that was missing, the datagram goes
    /// to `take`. Fragments of packets that are given up are counted in `counters`, and so are
    /// those that came before the last of a datagram that is dropped.
    ///
    /// # Errors
    ///
    /// Why this fragment, or the datagram that it completed, is dropped:
    /// [`RelayDrop::Fragment`] when it overlaps or contradicts others, repeats one, or is one too
    /// many; what the packet was refused for; [`RelayDrop::Corrupt`], [`RelayDrop::Malformed`]
    /// and [`RelayDrop::NotUdp`] as for any datagram; and what `take` returns.
    pub fn add(
        &mut self,
        now: Now,
        fragment: &Fragment,
        slice: BufferSlice,
        counters: &FlowCounters,
        take: impl FnOnce(Whole<'_>) -> Result<(), RelayDrop>,
    ) -> Result<(), RelayDrop> {
        let index = self.packet_of(fragment.id, now, counters);
        let at = match self.packets[index].position_of(fragment)? {
            Position::At(at) => at,
            Position::Duplicate => return Err(RelayDrop::Fragment),
            Position::Conflict => return Err(self.give_up(index, RelayDrop::Fragment, counters)),
        };
        self.make_room(index, counters)?;
        self.held += 1;
        let packet = &mut self.packets[index];
        packet.insert(at, fragment, slice);
        if packet.total != Some(packet.bytes) {
            return Ok(());
        }
        let pieces = packet.pieces.len();
        self.held -= pieces;
        let result = packet.open(&mut self.whole).and_then(take);
        self.whole.clear();
        packet.clear();
        if let Err(reason) = result {
            counters.dropped(reason, pieces as u64 - 1);
        }
        result
    }

    /// Drops what there is of a packet, and what still comes, for `reason`.
    pub fn refuse(&mut self, now: Now, id: PacketId, reason: RelayDrop, counters: &FlowCounters) {
        let index = self.packet_of(id, now, counters);
        self.give_up(index, reason, counters);
    }

    /// Drops packets that were not complete in time.
    pub fn expire(&mut self, now: Now, counters: &FlowCounters) {
        for index in 0..self.packets.len() {
            let packet = &self.packets[index];
            if packet.age != FREE && now >= packet.began.after(REASSEMBLY_TIMEOUT) {
                self.forget(index, counters);
            }
        }
    }

    /// Forgets everything.
    pub fn abandon(&mut self, counters: &FlowCounters) {
        (0..self.packets.len()).for_each(|index| self.forget(index, counters));
    }

    /// The entry of a packet, which begins if there is none.
    fn packet_of(&mut self, id: PacketId, now: Now, counters: &FlowCounters) -> usize {
        let same = |packet: &Packet| packet.age != FREE && packet.id == id;
        if let Some(index) = self.packets.iter().position(same) {
            return index;
        }
        // A free entry is older than any packet.
        let index = self.oldest(|_, _| true).unwrap_or(0);
        self.forget(index, counters);
        self.age += 1;
        let packet = &mut self.packets[index];
        (packet.id, packet.age, packet.began) = (id, self.age, now);
        index
    }

    fn oldest(&self, eligible: impl Fn(usize, &Packet) -> bool) -> Option<usize> {
        let entries = self.packets.iter().enumerate();
        let eligible = entries.filter(|(index, packet)| eligible(*index, packet));
        eligible.min_by_key(|(_, packet)| packet.age).map(|(index, _)| index)
    }

    /// Makes room for one more fragment of a packet.
    fn make_room(&mut self, index: usize, counters: &FlowCounters) -> Result<(), RelayDrop> {
        if self.packets[index].pieces.len() >= FRAGMENTS_MAX {
            return Err(self.give_up(index, RelayDrop::Fragment, counters));
        }
        while self.held >= self.held_max {
            let other = |at: usize, packet: &Packet| at != index && !packet.pieces.is_empty();
            let Some(oldest) = self.oldest(other) else {
                return Err(self.give_up(index, RelayDrop::Fragment, counters));
            };
            self.give_up(oldest, RelayDrop::Fragment, counters);
        }
        Ok(())
    }

    /// Drops a packet's fragments and remembers not to take more.
    fn give_up(&mut self, index: usize, reason: RelayDrop, counters: &FlowCounters) -> RelayDrop {
        let packet = &mut self.packets[index];
        counters.dropped(reason, packet.pieces.len() as u64);
        self.held -= packet.pieces.len();
        packet.pieces.clear();
        packet.refused = Some(reason);
        reason
    }

    fn forget(&mut self, index: usize, counters: &FlowCounters) {
        self.give_up(index, RelayDrop::Fragment, counters);
        self.packets[index].clear();
    }
}

/// Where a fragment belongs among those of its packet.
enum Position {
    /// Before the piece of this index.
    At(usize),
    /// Nowhere: it is there already.
    Duplicate,
    /// Nowhere: it and another cannot both be right.
    Conflict,
}

impl Packet {
    fn free() -> Self {
        let addresses = [0; 32];
        Self {
            id: PacketId { socket: SocketId(0), addresses, identification: 0 },
            age: FREE,
            began: Now::from_unix(Duration::ZERO),
            pieces: Vec::with_capacity(FRAGMENTS_MAX),
            bytes: 0,
            total: None,
            head: Head::default(),
            refused: None,
        }
    }

    fn clear(&mut self) {
        self.age = FREE;
        self.pieces.clear();
        (self.bytes, self.total, self.refused) = (0, None, None);
    }

    /// One that overlaps another discards the packet (RFC 5722), one that repeats another exactly
    /// need not (RFC 8200, 4.5).
    fn position_of(&self, fragment: &Fragment) -> Result<Position, RelayDrop> {
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        let (offset, end) = (fragment.offset, fragment.offset + fragment.bytes.len());
        let at = self.pieces.partition_point(|piece| piece.offset < offset);
        if let Some(there) = self.pieces.get(at)
            && there.range() == (offset, end)
            && fragment.more == (self.total != Some(end))
        {
            return Ok(Position::Duplicate);
        }
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before));
        let after = self.pieces.get(at);
        let overlaps = before.is_some_and(|piece| piece.range().1 > offset)
            || after.is_some_and(|piece| piece.offset < end);
        // Nothing comes behind the last, and nothing that others follow ends where it does.
        let contradicts = match (fragment.more, self.total) {
            (true, Some(total)) => end >= total,
            (true, None) => false,
            (false, total) => total.is_some() || after.is_some(),
        };
        Ok(if overlaps || contradicts { Position::Conflict } else { Position::At(at) })
    }

    fn insert(&mut self, at: usize, fragment: &Fragment, slice: BufferSlice) {
        let &Fragment { offset, next_header, ttl, tos, .. } = fragment;
        self.bytes += slice.range.len();
        if offset == 0 {
            self.head = Head { next_header, ttl, tos };
        }
        if !fragment.more {
            self.total = Some(offset + slice.range.len());
        }
        self.pieces.insert(at, Piece { offset, slice });
    }

    /// Checks the datagram that all pieces make, and puts its payload into `slices`.
    fn open<'a>(&mut self, slices: &'a mut Vec<BufferSlice>) -> Result<Whole<'a>, RelayDrop> {
        let first = self.pieces.first().ok_or(RelayDrop::Malformed)?;
        let (header, before) = udp_in(self.head.next_header, first.slice.bytes())?;
        let udp_bytes = usize::from(header.length);
        if !(udp::HEADER_BYTES..=self.bytes - before).contains(&udp_bytes) {
            return Err(RelayDrop::Malformed);
        }
        self.cut(slices, before, udp_bytes);
        let sum = udp::pseudo_header(&self.id.addresses, udp_bytes);
        let sum = slices.iter().fold(sum, |sum, slice| sum.append(slice.bytes()));
        if header.checksum == 0 || !sum.holds() {
            return Err(RelayDrop::Corrupt);
        }
        // The header is in the first fragment, and so in the first slice.
        slices[0].range.start += udp::HEADER_BYTES;
        let (source, destination) = self.id.ends();
        Ok(Whole {
            source: SocketAddr::new(source.into(), header.source_port),
            destination: SocketAddr::new(destination.into(), header.destination_port),
            ttl: self.head.ttl,
            tos: self.head.tos,
            slices,
            bytes: udp_bytes - udp::HEADER_BYTES,
        })
    }

    /// Moves `length` bytes from `start` on into `slices`.
    fn cut(&mut self, slices: &mut Vec<BufferSlice>, start: usize, length: usize) {
        let mut left = length;
        for (index, Piece { mut slice, .. }) in self.pieces.drain(..).enumerate() {
            if index == 0 {
                slice.range.start += start;
            }
            slice.range.end = slice.range.end.min(slice.range.start + left);
            left -= slice.range.len();
            if !slice.range.is_empty() {
                slices.push(slice);
            }
        }
    }
}

impl Piece {
    /// Where it starts and ends in the packet.
    fn range(&self) -> (usize, usize) {
        (self.offset, self.offset + self.slice.range.len())
    }
}

impl PacketId {
    /// Source and destination.
    pub fn ends(&self) -> (Ipv6Addr, Ipv6Addr) {
        let mut ends = [[0; 16]; 2];
        ends[0].copy_from_slice(&self.addresses[..16]);
        ends[1].copy_from_slice(&self.addresses[16..]);
        (ends[0].into(), ends[1].into())
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
