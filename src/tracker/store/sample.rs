//! Which peers a reply names: a random choice without bias towards old or new peers.

use fastrand::Rng;

use super::peer::Record;
use super::sink::PeerSink;
use super::table::PeerTable;

/// Writes up to `want` of the peers that `me` may learn of: all others, or the leechers
/// among them when `me` is a seeder. Each set of that size is as likely as any other.
pub(super) fn sample_flat<R: Record>(
    peers: &[R],
    me: &R,
    want: usize,
    rng: &mut Rng,
    sink: &mut impl PeerSink,
) {
    let seeder = me.state().seeder();
    let eligible = |peer: &&R| !(peer.is_peer(me) || seeder && peer.state().seeder());
    let mut left = peers.iter().filter(eligible).count();
    if want >= left {
        return peers.iter().filter(eligible).for_each(|peer| sink.put(peer, true));
    }
    let mut want = want;
    for peer in peers.iter().filter(eligible) {
        if want == 0 {
            return;
        }
        if rng.usize(..left) < want {
            sink.put(peer, true);
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
    sink: &mut impl PeerSink,
) {
    if want == 0 {
        return;
    }
    if want >= table.len() {
        let others = table.peers().filter(|peer| !peer.is_peer(me));
        return others.take(want).for_each(|peer| sink.put(peer, true));
    }
    let slots = table.slots();
    let arcs = (slots.len() / ARC_SLOTS_MIN).min(want / ARC_PEERS_MIN).clamp(1, ARCS_MAX);
    let arcs_log2 = arcs.ilog2();
    let arcs_used = 1 << arcs_log2;
    let rotation = rng.usize(..slots.len());
    let mut arcs = [Arc::default(); ARCS_MAX];
    // All starts are drawn before the first is used: their cache misses overlap.
    for (at, arc) in arcs[..arcs_used].iter_mut().enumerate() {
        let begin = (at * slots.len()) >> arcs_log2;
        let end = ((at + 1) * slots.len()) >> arcs_log2;
        *arc = Arc::new(slots, begin + rotation, end - begin, me, rng);
    }
    let mut missing = want;
    let mut owed = 0;
    for (at, arc) in arcs[..arcs_used].iter_mut().enumerate() {
        let quota = owed + (((at + 1) * want) >> arcs_log2) - ((at * want) >> arcs_log2);
        let taken = arc.take(slots, me, quota, sink);
        owed = quota - taken;
        missing -= taken;
    }
    for arc in &mut arcs[..arcs_used] {
        if missing == 0 {
            return;
        }
        missing -= arc.take(slots, me, missing, sink);
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
            let start = &slots[arc.slot(slots.len())];
            if !start.is_empty() && !start.is_peer(me) {
                break;
            }
        }
        arc
    }

    /// The slot to visit next.
    #[inline]
    fn slot(&self, slots: usize) -> usize {
        let slot = self.begin + self.offset;
        if slot < slots { slot } else { slot - slots }
    }

    /// Writes the next `quota` peers, or as many as the arc still has; returns how many.
    #[inline]
    fn take<R: Record>(
        &mut self,
        slots: &[R],
        me: &R,
        quota: usize,
        sink: &mut impl PeerSink,
    ) -> usize {
        let mut taken = 0;
        while taken < quota && self.walked < self.length {
            // As far as slots follow one another: to the end of the arc or of the ring.
            let from = self.slot(slots.len());
            let run =
                (self.length - self.offset).min(self.length - self.walked).min(slots.len() - from);
            let (visited, kept) = put_run(&slots[from..from + run], me, quota - taken, sink);
            taken += kept;
            self.walked += visited;
            self.offset += visited;
            if self.offset == self.length {
                self.offset = 0;
            }
        }
        taken
    }
}

/// Gives the first `quota` peers of `slots` to `sink`, `me` left out; returns how many slots that
/// took and how many peers were taken. The caller knows that `quota` peers fit.
#[inline]
fn put_run<R: Record>(
    slots: &[R],
    me: &R,
    quota: usize,
    sink: &mut impl PeerSink,
) -> (usize, usize) {
    let mut kept = 0;
    for (visited, record) in slots.iter().enumerate() {
        if kept == quota {
            return (visited, kept);
        }
        let keep = !record.is_empty() & !record.is_peer(me);
        sink.put(record, keep);
        kept += usize::from(keep);
    }
    (slots.len(), kept)
}

/// The most arcs that the slots are cut into.
const ARCS_MAX: usize = 8;
/// The least that an arc is worth cutting for. In a short one the number of peers depends much
/// on chance, and where it is low each would be named too often.
const ARC_SLOTS_MIN: usize = 128;
/// The fewest peers that an arc is worth cutting for: about as many lie in one cache line.
const ARC_PEERS_MIN: usize = 6;
/// How often an arc's start is drawn. At least half of the slots are taken, so the last draw is
/// reached once in 60,000 times.
const DRAWS_MAX: usize = 16;
