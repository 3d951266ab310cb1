//! Writing: pieces of a walk become entries of blocks, in memory.

use super::read::Totals;
use super::*;
use crate::io::Now;
use crate::tracker::store::{PeerChunk, Record};

/// The header of a file saved `now`, by the wall clock.
pub fn header(now: Now) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_be_bytes());
    header[12..20].copy_from_slice(&now.seconds().to_be_bytes());
    let checksum = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// Gathers entries into blocks. Between two calls of [`SwarmWriter::take`] its memory grows with
/// what is pushed; the memory is kept for the next blocks.
#[derive(Debug)]
pub struct SwarmWriter {
    /// Whole blocks, and behind `open` one that has no checksum yet.
    bytes: Vec<u8>,
    /// Where the open block starts, and of what kind it is.
    open: Option<(usize, u32)>,
    blocks: u32,
    saved_at: Now,
    now: Now,
    totals: Totals,
    torrents: u64,
}

impl SwarmWriter {
    /// A writer whose ages are relative to `saved_at`, by the clock that peers were stored by.
    pub fn new(saved_at: Now) -> Self {
        let bytes = Vec::with_capacity(BLOCK_BYTES_MAX);
        let totals = Totals::default();
        Self { bytes, open: None, blocks: 0, saved_at, now: saved_at, totals, torrents: 0 }
    }

    /// Tells the present time, when the save has gone on since it began: peers that announced
    /// since then have an age of 0.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// Adds the peers of a piece.
    pub fn push<F: SavedFamily>(&mut self, piece: &PeerChunk<'_, F::Record>) {
        let since_s = self.now.seconds().saturating_sub(self.saved_at.seconds());
        let mut peers = piece.peers().peekable();
        self.torrents += u64::from(!piece.continues && peers.peek().is_some());
        while peers.peek().is_some() {
            let peer_bytes = F::Record::COMPACT_BYTES + STATE_BYTES;
            self.make_room(
                F::KIND,
                TORRENT_HEAD_BYTES + ENTRY_PEERS_MAX.min(piece.slots.len()) * peer_bytes,
            );
            self.bytes.extend_from_slice(&piece.info_hash.0);
            self.bytes.extend_from_slice(&piece.completed.to_be_bytes());
            let count_at = self.bytes.len();
            self.bytes.extend_from_slice(&[0; 4]);
            let mut count: u32 = 0;
            for peer in peers.by_ref().take(ENTRY_PEERS_MAX) {
                let at = self.bytes.len();
                self.bytes.resize(at + F::Record::COMPACT_BYTES, 0);
                peer.write_compact(&mut self.bytes[at..]);
                let state = peer.state();
                let flags = if state.seeder() { SEEDER } else { 0 }
                    | if state.completed() { COMPLETED } else { 0 };
                let age_s = u64::from(state.age_s(self.now)).saturating_sub(since_s) as u16;
                self.bytes.extend_from_slice(&(flags | age_s).to_be_bytes());
                count += 1;
            }
            self.bytes[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
            self.totals.entries += 1;
            self.totals.peers += u64::from(count);
        }
    }

    /// The bytes of all blocks so far; they are forgotten with the next push.
    pub fn take(&mut self) -> &[u8] {
        self.seal();
        &self.bytes
    }

    /// Forgets the bytes that [`SwarmWriter::take`] showed.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.open = None;
    }

    /// Adds the end block. What follows it would make the file invalid.
    pub fn end(&mut self) {
        self.make_room(KIND_END, END_BYTES);
        self.bytes.extend_from_slice(&self.totals.entries.to_be_bytes());
        self.bytes.extend_from_slice(&self.totals.peers.to_be_bytes());
        self.seal();
    }

    /// How many torrents and peers were pushed.
    pub fn saved(&self) -> (u64, u64) {
        (self.torrents, self.totals.peers)
    }

    /// Sees to an open block of this kind with room for `bytes` more.
    fn make_room(&mut self, kind: u32, bytes: usize) {
        if let Some((start, open)) = self.open
            && (open != kind
                || self.bytes.len() - start - BLOCK_HEAD_BYTES + bytes > BLOCK_BYTES_MAX)
        {
            self.seal();
        }
        if self.open.is_none() {
            self.open = Some((self.bytes.len(), kind));
            self.bytes.extend_from_slice(&[0; 4]);
            self.bytes.extend_from_slice(&kind.to_be_bytes());
            self.bytes.extend_from_slice(&self.blocks.to_be_bytes());
            self.blocks += 1;
        }
    }

    /// Closes the open block, if there is one.
    fn seal(&mut self) {
        let Some((start, _)) = self.open.take() else { return };
        let length = (self.bytes.len() - start - BLOCK_HEAD_BYTES) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32fast::hash(&self.bytes[start..]);
        self.bytes.extend_from_slice(&checksum.to_be_bytes());
    }
}
