//! Numbered places for values, in chunks: growing copies nothing and doubles nothing.

use std::collections::BTreeSet;

/// Values under stable numbers. The lowest chunk with room is filled first, so that the highest
/// ones empty in time; an empty chunk's memory is given back.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunks that have memory and are not full.
    roomy: BTreeSet<u32>,
    /// The chunks that have no memory, below others that have.
    holes: BTreeSet<u32>,
    /// A chunk that is empty but keeps its memory, so that one value that comes and goes does
    /// not allocate each time.
    spare: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    entries: Vec<Entry<T>>,
    used: u32,
    /// The free entry to use next, [`NONE`] if there is none.
    free: u32,
}

/// An entry; free ones are a list within their chunk.
#[derive(Debug)]
pub(super) enum Entry<T> {
    Used(T),
    Free { next: u32 },
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        let (roomy, holes) = (BTreeSet::new(), BTreeSet::new());
        Self { chunks: Vec::new(), roomy, holes, spare: None, len: 0 }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated for entries, used or not.
    pub(super) fn bytes(&self) -> usize {
        (self.chunks.len() - self.holes.len()) * Self::CHUNK_BYTES
    }

    /// How many entries there is memory for.
    pub(super) fn capacity(&self) -> usize {
        (self.chunks.len() - self.holes.len()) * CHUNK_ENTRIES as usize
    }

    /// Whether the next value takes memory that is not allocated yet.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.roomy.is_empty()
    }

    /// One more than the largest number that a value may have now.
    pub(super) fn numbers(&self) -> u32 {
        self.chunks.len() as u32 * CHUNK_ENTRIES
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let chunk = self.chunks.get((number / CHUNK_ENTRIES) as usize)?;
        match chunk.entries.get((number % CHUNK_ENTRIES) as usize)? {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut((number / CHUNK_ENTRIES) as usize)?;
        match chunk.entries.get_mut((number % CHUNK_ENTRIES) as usize)? {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    /// The number at or after `number` from which on to look for values: the next chunk's first
    /// if there is nothing more in this one.
    pub(super) fn skip_vacant(&self, number: u32) -> u32 {
        match self.chunks.get((number / CHUNK_ENTRIES) as usize) {
            Some(chunk)
                if chunk.used > 0 && number % CHUNK_ENTRIES < chunk.entries.len() as u32 =>
            {
                number
            }
            _ => (number / CHUNK_ENTRIES + 1) * CHUNK_ENTRIES,
        }
    }

    /// Stores a value and returns its number. There must be fewer than [`Slab::LEN_MAX`].
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let at = self.roomy.first().copied().unwrap_or_else(|| {
            let at = self.holes.pop_first().unwrap_or(self.chunks.len() as u32);
            if at as usize == self.chunks.len() {
                self.chunks.push(Chunk { entries: Vec::new(), used: 0, free: NONE });
            }
            self.roomy.insert(at);
            at
        });
        let chunk = &mut self.chunks[at as usize];
        let entry = chunk.insert(value);
        if chunk.used == CHUNK_ENTRIES {
            self.roomy.remove(&at);
        }
        if self.spare == Some(at) {
            self.spare = None;
        }
        self.len += 1;
        at * CHUNK_ENTRIES + entry
    }

    /// Puts a value in the place of another one, which is returned if it was there.
    pub(super) fn replace(&mut self, number: u32, value: T) -> Option<T> {
        Some(std::mem::replace(self.get_mut(number)?, value))
    }

    /// Takes the value of this number out.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let at = number / CHUNK_ENTRIES;
        let chunk = self.chunks.get_mut(at as usize)?;
        let value = chunk.remove(number % CHUNK_ENTRIES)?;
        self.len -= 1;
        if chunk.used == CHUNK_ENTRIES - 1 {
            self.roomy.insert(at);
        }
        if chunk.used == 0 {
            self.release(at);
        }
        Some(value)
    }

    /// Calls `keep` for all values and removes those it declines; rebuilds everything that
    /// describes the entries from the entries themselves.
    pub(super) fn rebuild(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        (self.roomy, self.holes) = (BTreeSet::new(), BTreeSet::new());
        (self.spare, self.len) = (None, 0);
        for (at, chunk) in (0..).zip(&mut self.chunks) {
            (chunk.used, chunk.free) = (0, NONE);
            for (entry, place) in (0..).zip(&mut chunk.entries) {
                if let Entry::Used(value) = place
                    && keep(value)
                {
                    chunk.used += 1;
                } else {
                    *place = Entry::Free { next: chunk.free };
                    chunk.free = entry;
                }
            }
            self.len += chunk.used as usize;
            if chunk.entries.capacity() == 0 {
                self.holes.insert(at);
            } else if chunk.used < CHUNK_ENTRIES {
                self.roomy.insert(at);
            }
        }
    }

    /// Gives back the memory of empty chunks, except for one.
    fn release(&mut self, empty: u32) {
        let keep = self.spare.map_or(empty, |spare| spare.min(empty));
        let give = self.spare.replace(keep).map_or(empty, |spare| spare.max(empty));
        if give != keep {
            self.chunks[give as usize] = Chunk { entries: Vec::new(), used: 0, free: NONE };
            self.roomy.remove(&give);
            self.holes.insert(give);
        }
        while self.chunks.last().is_some_and(|chunk| chunk.entries.capacity() == 0) {
            self.chunks.pop();
            self.holes.remove(&(self.chunks.len() as u32));
        }
    }

    /// Bytes of one chunk: its entries, and what the allocator adds to a mapping.
    pub(super) const CHUNK_BYTES: usize =
        CHUNK_ENTRIES as usize * size_of::<Entry<T>>() + PAGE_BYTES;

    /// The most values that numbers suffice for.
    pub(super) const LEN_MAX: usize = (u32::MAX - CHUNK_ENTRIES) as usize;
}

impl<T> Chunk<T> {
    /// The chunk must not be full.
    fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        let entry = self.free;
        if let Some(place) = self.entries.get_mut(entry as usize)
            && let Entry::Free { next } = *place
        {
            self.free = next;
            *place = Entry::Used(value);
            return entry;
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(CHUNK_ENTRIES as usize);
        }
        self.entries.push(Entry::Used(value));
        self.entries.len() as u32 - 1
    }

    fn remove(&mut self, entry: u32) -> Option<T> {
        let place = self.entries.get_mut(entry as usize)?;
        if matches!(place, Entry::Free { .. }) {
            return None;
        }
        let Entry::Used(value) = std::mem::replace(place, Entry::Free { next: self.free }) else {
            return None;
        };
        self.free = entry;
        self.used -= 1;
        Some(value)
    }
}

/// What a mapping takes beyond its content: a header, and the rest of its last page.
const PAGE_BYTES: usize = 4096;
/// Values in one chunk: large enough that each is a mapping of its own, which goes back to the
/// kernel whole.
pub(super) const CHUNK_ENTRIES: u32 = 4096;
/// No entry.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn behaves_as_a_map_and_gives_memory_back() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut slab = Slab::new();
        let mut model = BTreeMap::new();
        for round in 0..6 {
            let growing = round % 2 == 0;
            for _ in 0..30_000 {
                if rng.u8(..) < if growing { 220 } else { 20 } {
                    let value = rng.u64(..);
                    assert_eq!(model.insert(slab.insert(value), value), None);
                } else {
                    let number = rng.u32(..slab.numbers().max(1));
                    let number = model.range(number..).next().map_or(number, |(number, _)| *number);
                    assert_eq!(slab.remove(number), model.remove(&number));
                }
            }
            assert_eq!(slab.len(), model.len());
            assert!(model.iter().all(|(number, value)| slab.get(*number) == Some(value)));
            let allocated = slab.chunks.iter().map(|chunk| chunk.entries.capacity()).sum::<usize>();
            assert_eq!(slab.capacity(), allocated);
            assert_eq!(slab.is_full(), slab.len() == allocated);
        }
        model.keys().for_each(|number| assert!(slab.remove(*number).is_some()));
        let kept = slab.chunks.iter().filter(|chunk| chunk.entries.capacity() > 0).count();
        assert_eq!((slab.len(), kept), (0, 1));
    }

    #[test]
    fn one_value_that_comes_and_goes_keeps_its_memory() {
        let mut slab = Slab::new();
        for _ in 0..3 {
            let number = slab.insert(1);
            assert_eq!(number, 0);
            assert_eq!(slab.remove(number), Some(1));
            assert_eq!(slab.remove(number), None);
            assert_ne!(slab.chunks[0].entries.capacity(), 0);
        }
    }

    #[test]
    fn rebuild_restores_the_books() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (0..10_000_u32).map(|value| slab.insert(value)).collect();
        (slab.len, slab.roomy, slab.spare) = (0, BTreeSet::from([77]), Some(5));
        slab.holes = BTreeSet::from([1]);
        slab.chunks.iter_mut().for_each(|chunk| (chunk.used, chunk.free) = (9999, 3));
        slab.rebuild(|value| *value % 2 == 0);
        assert_eq!((slab.len(), slab.capacity()), (5000, 3 * CHUNK_ENTRIES as usize));
        assert!((0..5000).all(|value| numbers.contains(&slab.insert(value))));
        assert!(slab.insert(0) >= 10_000);
    }

    #[test]
    fn empty_chunks_are_skipped() {
        let mut slab = Slab::new();
        (0..3 * CHUNK_ENTRIES).for_each(|value| assert_eq!(slab.insert(value), value));
        (0..CHUNK_ENTRIES).for_each(|number| assert_eq!(slab.remove(number), Some(number)));
        assert_eq!(slab.skip_vacant(0), CHUNK_ENTRIES);
        assert_eq!(slab.skip_vacant(CHUNK_ENTRIES + 5), CHUNK_ENTRIES + 5);
        assert_eq!(slab.skip_vacant(3 * CHUNK_ENTRIES), 4 * CHUNK_ENTRIES);
    }
}
