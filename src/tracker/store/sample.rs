//! Which peers a reply names: a random choice without bias towards old or new peers.

use fastrand::Rng;

use super::peer::Record;
use super::table::PeerTable;

/// The part of a reply that peers are written into.
pub(super) struct Reply<'a> {
    out: &'a mut [u8],
    written: usize,
}

impl<'a> Reply<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, written: 0 }
    }

    /// How many more peers fit.
    pub(super) fn room<R: Record>(&self) -> usize {
        (self.out.len() - self.written) / R::WIRE_BYTES
    }

    /// How many bytes were written.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    #[inline]
    fn put<R: Record>(&mut self, peer: &R) {
        let end = self.written + R::WIRE_BYTES;
        if let Some(space) = self.out.get_mut(self.written..end) {
            peer.write(space);
            self.written = end;
        }
    }
}

/// Writes up to `want` of the peers that `me` may be told of: everybody else, or the leechers
/// among them when `me` is a seeder. Each set of that size is as likely as any other.
pub(super) fn sample_flat<R: Record>(
    peers: &[R],
    me: &R,
    want: usize,
    rng: &mut Rng,
    reply: &mut Reply<'_>,
) {
    let seeder = me.state().seeder();
    let eligible = |peer: &&R| !(seeder && peer.state().seeder()) && !peer.is_peer(me);
    let mut left = peers.iter().filter(eligible).count();
    if want >= left {
        return peers.iter().filter(eligible).for_each(|peer| reply.put(peer));
    }
    let mut want = want;
    for peer in peers.iter().filter(eligible) {
        if want == 0 {
            return;
        }
        if rng.usize(..left) < want {
            reply.put(peer);
            want -= 1;
        }
        left -= 1;
    }
}

/// Writes up to `want` of the table's peers, `me` left out.
///
/// The ring of slots is cut into arcs at a random place, and each arc gives its part of the
/// peers: those that follow a random one, wrapping around within the arc. An arc that has too
/// few leaves the rest to the next; what is missing at the end comes from where the arcs
/// stopped. So each peer is as likely as another and neighbours seldom come together, at the
/// price of a few cache lines per arc.
pub(super) fn sample_table<R: Record>(
    table: &PeerTable<R>,
    me: &R,
    want: usize,
    rng: &mut Rng,
    reply: &mut Reply<'_>,
) {
    if want == 0 {
        return;
    }
    if want >= table.len() {
        let others = table.peers().filter(|peer| !peer.is_peer(me));
        return others.take(want).for_each(|peer| reply.put(peer));
    }
    let slots = table.slots();
    let arcs_used = (slots.len() / ARC_SLOTS_MIN).clamp(1, ARCS_MAX).min(want);
    let rotation = rng.usize(..slots.len());
    let mut arcs = [Arc::default(); ARCS_MAX];
    let mut missing = want;
    for at in 0..arcs_used {
        let begin = at * slots.len() / arcs_used;
        let end = (at + 1) * slots.len() / arcs_used;
        arcs[at] = Arc::new(slots, begin + rotation, end - begin, me, rng);
        let quota = missing.div_ceil(arcs_used - at);
        missing -= arcs[at].take(slots, me, quota, reply);
    }
    for arc in &mut arcs[..arcs_used] {
        if missing == 0 {
            return;
        }
        missing -= arc.take(slots, me, missing, reply);
    }
}

/// A stretch of the ring of slots, walked once from a random place.
#[derive(Clone, Copy, Default)]
struct Arc {
    begin: usize,
    length: usize,
    /// The slot to visit next, counted from `begin`.
    offset: usize,
    walked: usize,
}

impl Arc {
    /// An arc that starts at a random peer. An empty slot or `me` is drawn again, because starting
    /// there would favour the peers that follow.
    fn new<R: Record>(slots: &[R], begin: usize, length: usize, me: &R, rng: &mut Rng) -> Self {
        let mut arc = Self { begin, length, offset: 0, walked: 0 };
        for _ in 0..DRAWS_MAX {
            arc.offset = rng.usize(..length);
            let start = arc.slot(slots);
            if !start.is_empty() && !start.is_peer(me) {
                break;
            }
        }
        arc
    }

    #[inline]
    fn slot<'a, R>(&self, slots: &'a [R]) -> &'a R {
        let slot = self.begin + self.offset;
        &slots[if slot < slots.len() { slot } else { slot - slots.len() }]
    }

    /// Writes the next `quota` peers, or as many as the arc still has; returns how many.
    #[inline]
    fn take<R: Record>(
        &mut self,
        slots: &[R],
        me: &R,
        quota: usize,
        reply: &mut Reply<'_>,
    ) -> usize {
        let mut taken = 0;
        while taken < quota && self.walked < self.length {
            let record = self.slot(slots);
            self.walked += 1;
            self.offset = if self.offset + 1 < self.length { self.offset + 1 } else { 0 };
            if !record.is_empty() && !record.is_peer(me) {
                reply.put(record);
                taken += 1;
            }
        }
        taken
    }
}

/// Into how many arcs the slots are cut at the most.
const ARCS_MAX: usize = 8;
/// The least that an arc is worth cutting for. In a short one the number of peers depends much
/// on chance, and where it is low each would be named too often.
const ARC_SLOTS_MIN: usize = 64;
/// How often an arc's start is drawn. At least half of the slots are taken, so the last draw is
/// reached once in 60,000 times.
const DRAWS_MAX: usize = 16;
