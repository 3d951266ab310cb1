//! Where the peers of an answer go: whatever form a protocol gives them, nothing is collected
//! first.

use super::peer::Record;

/// Takes the peers that an announce is answered with, one after another.
pub trait PeerSink {
    /// How many more peers of this kind fit.
    fn room<R: Record>(&self) -> usize;

    /// Takes `record`, if it is to be kept; one that is not may be an empty slot.
    ///
    /// A large swarm offers slots in the order they lie in memory, and which of them count is
    /// random. A sink does best to write each and to move on only past those to keep, so that
    /// there is no branch to mispredict. What comes when there is no more room is left out.
    fn put<R: Record>(&mut self, record: &R, keep: bool);
}

/// Takes no peers, for an announce whose answer nobody reads.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl PeerSink for NoPeers {
    #[inline]
    fn room<R: Record>(&self) -> usize {
        0
    }

    #[inline]
    fn put<R: Record>(&mut self, _: &R, _: bool) {}
}

/// Writes peers in compact form ([`Record::write_compact`]) into a buffer, without a gap.
#[derive(Debug)]
pub struct CompactPeers<'a> {
    out: &'a mut [u8],
    written: usize,
}

impl<'a> CompactPeers<'a> {
    /// Writes from the start of `out`. What `out` holds after the last peer is left undefined.
    #[inline]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, written: 0 }
    }

    /// How many bytes were written.
    #[inline]
    pub fn written(&self) -> usize {
        self.written
    }
}

impl PeerSink for CompactPeers<'_> {
    #[inline]
    fn room<R: Record>(&self) -> usize {
        (self.out.len() - self.written) / R::COMPACT_BYTES
    }

    #[inline]
    fn put<R: Record>(&mut self, record: &R, keep: bool) {
        let end = self.written + R::COMPACT_BYTES;
        if let Some(space) = self.out.get_mut(self.written..end) {
            record.write_compact(space);
            self.written += usize::from(keep) * R::COMPACT_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::time::Duration;

    use super::*;
    use crate::io::Now;
    use crate::tracker::store::{Ipv4Record, State};

    fn peer(port: u16) -> Ipv4Record {
        let state = State::new(Now::from_unix(Duration::from_secs(5)), false, false);
        Ipv4Record::new(SocketAddrV4::new([192, 0, 2, 1].into(), port), state)
    }

    #[test]
    fn kept_peers_follow_one_another_as_far_as_they_fit() {
        let mut out = [0; 17];
        let mut peers = CompactPeers::new(&mut out);
        assert_eq!(peers.room::<Ipv4Record>(), 2);
        peers.put(&peer(1), true);
        peers.put(&peer(2), false);
        peers.put(&Ipv4Record::EMPTY, false);
        peers.put(&peer(3), true);
        assert_eq!(peers.room::<Ipv4Record>(), 0);
        peers.put(&peer(4), true);
        assert_eq!(peers.written(), 12);
        assert_eq!(out[..12], [192, 0, 2, 1, 0, 1, 192, 0, 2, 1, 0, 3]);
    }
}
