//! What must become of fragments: the rules of RFC 8200 and the relay's bounds, as plainly as can
//! be written.

use std::collections::BTreeMap;

use ringtide::io::Now;
use ringtide::relay::reassembly::{FRAGMENTS_MAX, PACKETS_MAX, REASSEMBLY_TIMEOUT};
use ringtide::relay::stats::RelayDrop;

use super::frames::{Head, Payload, Piece};

/// Fragments that are waited for, oldest first.
#[derive(Default)]
pub(crate) struct Reassembly {
    packets: Vec<Packet>,
    pub(crate) held_max: usize,
}

struct Packet {
    id: (Head, u32),
    began: Now,
    /// Length of each, by offset.
    pieces: BTreeMap<usize, usize>,
    total: Option<usize>,
    spoiled: bool,
    refused: Option<RelayDrop>,
}

/// What became of one fragment.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How many fragments were dropped, this one perhaps among them.
    pub(crate) drops: Vec<(RelayDrop, u64)>,
    /// The datagram that it completed, and from how many fragments.
    pub(crate) whole: Option<(Payload, u64)>,
}

impl Reassembly {
    pub(crate) fn held(&self) -> usize {
        self.packets.iter().map(|packet| packet.pieces.len()).sum()
    }

    /// Takes a fragment; `unwanted` is why no rule takes what it is the first of.
    pub(crate) fn add(
        &mut self,
        now: Now,
        head: Head,
        piece: &Piece,
        unwanted: Option<RelayDrop>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if self.held_max == 0 {
            outcome.drops.push((RelayDrop::Fragment, 1));
            return outcome;
        }
        let id = (head, piece.identification);
        let at = self.place_of(id, now, &mut outcome);
        if piece.offset == 0
            && let Some(reason) = unwanted
        {
            self.give_up(at, reason, &mut outcome);
            outcome.drops.push((reason, 1));
            return outcome;
        }
        if let Some(reason) = self.packets[at].refused {
            outcome.drops.push((reason, 1));
            return outcome;
        }
        if self.packets[at].pieces.contains_key(&piece.offset) {
            outcome.drops.push((RelayDrop::Fragment, 1));
            return outcome;
        }
        if !self.make_room(at, &mut outcome) {
            outcome.drops.push((RelayDrop::Fragment, 1));
            return outcome;
        }
        let packet = &mut self.packets[at];
        packet.pieces.insert(piece.offset, piece.bytes);
        packet.spoiled |= piece.spoiled;
        if !piece.more {
            packet.total = Some(piece.offset + piece.bytes);
        }
        if packet.total == Some(packet.pieces.values().sum()) {
            let packet = self.packets.remove(at);
            let pieces = packet.pieces.len() as u64;
            match packet.spoiled {
                true => outcome.drops.push((RelayDrop::Corrupt, pieces)),
                false => outcome.whole = Some((piece.payload.clone(), pieces)),
            }
        }
        outcome
    }

    /// Forgets what did not become whole in time.
    pub(crate) fn expire(&mut self, now: Now) -> u64 {
        let held = self.held();
        let late = |packet: &Packet| now >= packet.began.after(REASSEMBLY_TIMEOUT);
        self.packets.retain(|packet| !late(packet));
        (held - self.held()) as u64
    }

    /// Forgets everything.
    pub(crate) fn abandon(&mut self) -> u64 {
        let held = self.held() as u64;
        self.packets.clear();
        held
    }

    fn place_of(&mut self, id: (Head, u32), now: Now, outcome: &mut Outcome) -> usize {
        // Fragments are of one packet whatever TTL they arrive with.
        let ends = |id: (Head, u32)| (id.0.source.ip(), id.0.destination.ip(), id.1);
        if let Some(at) = self.packets.iter().position(|packet| ends(packet.id) == ends(id)) {
            return at;
        }
        if self.packets.len() == PACKETS_MAX {
            let oldest = self.packets.remove(0);
            outcome.drops.push((RelayDrop::Fragment, oldest.pieces.len() as u64));
        }
        let (pieces, total) = (BTreeMap::new(), None);
        self.packets.push(Packet { id, began: now, pieces, total, spoiled: false, refused: None });
        self.packets.len() - 1
    }

    /// Whether one more fragment of this packet may be held; others may have to go for it.
    fn make_room(&mut self, at: usize, outcome: &mut Outcome) -> bool {
        if self.packets[at].pieces.len() == FRAGMENTS_MAX {
            self.give_up(at, RelayDrop::Fragment, outcome);
            return false;
        }
        while self.held() >= self.held_max {
            let others = self.packets.iter().enumerate();
            let mut others = others.filter(|(other, packet)| *other != at && packet.holds());
            let Some((oldest, _)) = others.next() else {
                self.give_up(at, RelayDrop::Fragment, outcome);
                return false;
            };
            self.give_up(oldest, RelayDrop::Fragment, outcome);
        }
        true
    }

    fn give_up(&mut self, at: usize, reason: RelayDrop, outcome: &mut Outcome) {
        let packet = &mut self.packets[at];
        outcome.drops.push((reason, packet.pieces.len() as u64));
        packet.pieces.clear();
        packet.refused = Some(reason);
    }
}

impl Packet {
    fn holds(&self) -> bool {
        !self.pieces.is_empty()
    }
}
