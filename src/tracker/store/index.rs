//! From info hash to the number of a torrent.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::slab::Slab;
use crate::tracker::InfoHash;

/// A hash table of torrent numbers, in many small parts: only one part grows at a time, so that
/// no announce waits for all to be moved.
pub(super) struct Index {
    parts: Box<[HashTable<u32>]>,
    /// Keyed, so that nobody can choose info hashes that crowd.
    hasher: SipHasher13,
    /// The part whose size is looked at next.
    to_shrink: usize,
}

/// What the index needs to know of a value.
pub(super) trait Named {
    fn info_hash(&self) -> &InfoHash;
}

/// The keyed hash of an info hash.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Index {
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self {
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
            hasher: SipHasher13::new_with_keys(key[0], key[1]),
            to_shrink: 0,
        }
    }

    #[inline]
    pub(super) fn digest(&self, info_hash: &InfoHash) -> Digest {
        Digest(self.hasher.hash(&info_hash.0))
    }

    #[inline]
    pub(super) fn find<T: Named>(
        &self,
        slab: &Slab<T>,
        digest: Digest,
        info_hash: &InfoHash,
    ) -> Option<u32> {
        let is_it = |number: &u32| is_named(slab, *number, info_hash);
        self.parts[digest.part()].find(digest.0, is_it).copied()
    }

    /// Adds a number that is not there yet.
    pub(super) fn insert<T: Named>(&mut self, slab: &Slab<T>, digest: Digest, number: u32) {
        let hasher = rehash(slab, &self.hasher);
        self.parts[digest.part()].insert_unique(digest.0, number, hasher);
    }

    pub(super) fn remove(&mut self, digest: Digest, number: u32) {
        let part = &mut self.parts[digest.part()];
        if let Ok(entry) = part.find_entry(digest.0, |other| *other == number) {
            entry.remove();
        }
    }

    pub(super) fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| *part = HashTable::new());
    }

    /// Looks at one part and gives memory back if most of it is unused. Parts empty at much the
    /// same rate, so shrinking each as it falls due would come all at once.
    pub(super) fn shrink_one<T: Named>(&mut self, slab: &Slab<T>) {
        let part = &mut self.parts[self.to_shrink];
        if part.len() * SHRINK_BELOW < part.capacity() {
            part.shrink_to(part.len(), rehash(slab, &self.hasher));
        }
        self.to_shrink = (self.to_shrink + 1) % PARTS;
    }
}

impl Digest {
    /// The part that the hash belongs to, by bits that the part itself does not use: it takes
    /// the top seven and as many low ones as it has slots.
    #[inline]
    fn part(self) -> usize {
        (self.0 >> 40) as usize % PARTS
    }
}

#[inline]
fn is_named<T: Named>(slab: &Slab<T>, number: u32, info_hash: &InfoHash) -> bool {
    slab.get(number).is_some_and(|value| value.info_hash() == info_hash)
}

fn rehash<T: Named>(slab: &Slab<T>, hasher: &SipHasher13) -> impl Fn(&u32) -> u64 {
    |number| slab.get(*number).map_or(0, |value| hasher.hash(&value.info_hash().0))
}

/// Chosen so that with 20 million torrents a part has only some 20,000 to move when it grows.
const PARTS: usize = 1024;
/// A part is shrunk when less than one in this many places is used.
const SHRINK_BELOW: usize = 4;
