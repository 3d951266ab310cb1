//! From info hash to the number of a torrent.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::allocation::allocated_bytes;
use super::slab::Slab;
use crate::values::InfoHash;

/// A hash table of torrent numbers, in many small parts: only one part grows at a time, so that
/// no announce waits for all to be moved.
pub(super) struct Index {
    parts: Box<[HashTable<u32>]>,
    /// Keyed, so that nobody can choose info hashes that crowd.
    hasher: SipHasher13,
    /// The part whose size is looked at next.
    to_shrink: usize,
    /// Bytes allocated for all parts.
    bytes: usize,
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
            bytes: 0,
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
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
    ///
    /// A part that has no room is made anew here and not by its own rule, which would double a
    /// part that is half full because of places that removals leave unusable.
    pub(super) fn insert<T: Named>(&mut self, slab: &Slab<T>, digest: Digest, number: u32) {
        let hasher = rehash(slab, &self.hasher);
        let part = &mut self.parts[digest.part()];
        if part.len() == part.capacity() {
            let before = part_bytes(part);
            let mut roomy = HashTable::with_capacity(part.len() + part.len() / 8 + 1);
            for number in part.iter() {
                roomy.insert_unique(hasher(number), *number, &hasher);
            }
            *part = roomy;
            self.bytes = self.bytes - before + part_bytes(part);
        }
        part.insert_unique(digest.0, number, hasher);
    }

    pub(super) fn remove(&mut self, digest: Digest, number: u32) {
        let part = &mut self.parts[digest.part()];
        if let Ok(entry) = part.find_entry(digest.0, |other| *other == number) {
            entry.remove();
        }
    }

    /// How many numbers each part has.
    #[cfg(test)]
    pub(super) fn part_lens(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(HashTable::len)
    }

    /// How many numbers a lookup compares with the one looked for: those whose hashes agree in
    /// the bits that a slot keeps, in the groups of slots that it passes.
    #[cfg(test)]
    pub(super) fn comparisons(&self, digest: Digest, number: u32) -> usize {
        let compared = std::cell::Cell::new(0);
        let found = self.parts[digest.part()].find(digest.0, |other| {
            compared.set(compared.get() + 1);
            *other == number
        });
        assert!(found.is_some());
        compared.get()
    }

    pub(super) fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| *part = HashTable::new());
        self.bytes = 0;
    }

    /// Looks at one part and gives memory back if most of it is unused. Parts empty at much the
    /// same rate, so shrinking each as it falls due would come all at once.
    pub(super) fn shrink_one<T: Named>(&mut self, slab: &Slab<T>) {
        let part = &mut self.parts[self.to_shrink];
        if part.len() * SHRINK_BELOW < part.capacity() {
            let before = part_bytes(part);
            part.shrink_to(part.len(), rehash(slab, &self.hasher));
            self.bytes = self.bytes - before + part_bytes(part);
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

fn part_bytes(part: &HashTable<u32>) -> usize {
    allocated_bytes(part.allocation_size())
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
/// What a number may take in the index: a part that is made for `n` numbers has fewer than
/// `18 / 7 * n` places, of five bytes each.
pub(super) const NUMBER_BYTES_MAX: usize = 14;
