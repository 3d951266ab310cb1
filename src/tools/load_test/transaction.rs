//! The requests that one client has in flight, found by transaction ID.
//!
//! A transaction ID holds the request's slot and how often that slot was used, scrambled by an
//! invertible multiplication: an ID that differs in any way from one that was sent is recognised
//! as foreign, and one that was sent before is known to be answered again, or late.

use crate::wire::bep15::TransactionId;

/// What an answer's transaction ID says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match<T> {
    /// It answers this request, which is no longer in flight.
    Open(T),
    /// Its request was answered before.
    Duplicate,
    /// Its request was given up before.
    Late,
    /// No request of this client has that ID.
    Unknown,
}

/// A client's requests in flight: at most [`WINDOW_MAX`] requests.
#[derive(Debug)]
pub(super) struct Window<T> {
    key: u32,
    places: Box<[Place<T>]>,
    /// A bit for each free slot.
    free: u64,
}

#[derive(Clone, Debug)]
struct Place<T> {
    open: Option<T>,
    /// How often it was used, in 24 bits.
    uses: u32,
    /// Which of the last 64 uses were answered; the present one is the lowest bit.
    answered: u64,
}

impl<T: Copy> Window<T> {
    /// Room for `size` requests; `key` makes this client's IDs differ from others'.
    pub(super) fn new(size: usize, key: u32) -> Self {
        assert!((1..=WINDOW_MAX).contains(&size), "a window has 1 to 64 places");
        let place = Place { open: None, uses: 0, answered: 0 };
        let free = u64::MAX >> (WINDOW_MAX - size);
        Self { key, places: vec![place; size].into_boxed_slice(), free }
    }

    /// Slots without a request.
    pub(super) fn free(&self) -> usize {
        self.free.count_ones() as usize
    }

    /// Requests in flight.
    pub(super) fn under_way(&self) -> usize {
        self.places.len() - self.free()
    }

    /// Records a request as in flight. `None` when no slot is free.
    pub(super) fn open(&mut self, request: T) -> Option<TransactionId> {
        let index = self.free.trailing_zeros();
        let place = self.places.get_mut(index as usize)?;
        self.free &= !(1 << index);
        place.uses = place.uses.wrapping_add(1) & USES_MASK;
        place.answered <<= 1;
        place.open = Some(request);
        Some(self.encode(index, self.places[index as usize].uses))
    }

    /// Finds the request behind an answer and ends it.
    pub(super) fn answer(&mut self, transaction: TransactionId) -> Match<T> {
        let Some((index, age)) = self.find(transaction) else { return Match::Unknown };
        let place = &mut self.places[index];
        if age == 0
            && let Some(request) = place.open.take()
        {
            place.answered |= 1;
            self.free |= 1 << index;
            return Match::Open(request);
        }
        // Further back than the bits reach: this client sent it, but long ago.
        let answered = age < u64::BITS && place.answered >> age & 1 == 1;
        if answered { Match::Duplicate } else { Match::Late }
    }

    /// Gives up the request with this ID, as if it had never been sent.
    pub(super) fn abandon(&mut self, transaction: TransactionId) -> Option<T> {
        let (index, 0) = self.find(transaction)? else { return None };
        self.free |= 1 << index;
        self.places[index].open.take()
    }

    /// Gives up every request that `is_over` says so of, and hands it to `each`.
    pub(super) fn expire(&mut self, is_over: impl Fn(&T) -> bool, mut each: impl FnMut(T)) {
        for (index, place) in self.places.iter_mut().enumerate() {
            if place.open.as_ref().is_some_and(&is_over)
                && let Some(request) = place.open.take()
            {
                self.free |= 1 << index;
                each(request);
            }
        }
    }

    /// The slot of an ID and how many uses ago it was issued.
    fn find(&self, transaction: TransactionId) -> Option<(usize, u32)> {
        let packed = u32::from_be_bytes(transaction.0).wrapping_mul(INVERSE) ^ self.key;
        let (index, uses) = ((packed & 0xff) as usize, packed >> 8);
        let place = self.places.get(index)?;
        (1..=place.uses).contains(&uses).then(|| (index, place.uses - uses))
    }

    fn encode(&self, index: u32, uses: u32) -> TransactionId {
        TransactionId(((uses << 8 | index) ^ self.key).wrapping_mul(FACTOR).to_be_bytes())
    }
}

/// The maximum number of requests that one client has in flight.
pub(super) const WINDOW_MAX: usize = 64;

const USES_MASK: u32 = 0x00ff_ffff;

/// Odd, so that multiplying by it modulo 2^32 can be undone.
const FACTOR: u32 = 0x9e37_79b1;
const INVERSE: u32 = inverse(FACTOR);

/// Newton's iteration; each step doubles the number of right bits, of which an odd number is its
/// own inverse in the lowest three.
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 4 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_request_once() {
        let mut window = Window::new(3, 0x1234_5678);
        let ids: Vec<_> = (0..3).map(|request| window.open(request).unwrap()).collect();
        assert_eq!((window.free(), window.under_way()), (0, 3));
        assert_eq!(window.open(9), None);
        assert_eq!(window.answer(ids[1]), Match::Open(1));
        assert_eq!(window.answer(ids[1]), Match::Duplicate);
        let again = window.open(4).unwrap();
        assert_eq!(window.answer(ids[1]), Match::Duplicate);
        assert_eq!(window.answer(again), Match::Open(4));
        assert_eq!(
            (window.answer(ids[0]), window.answer(ids[2])),
            (Match::Open(0), Match::Open(2))
        );
        assert_eq!(window.free(), 3);
    }

    #[test]
    fn what_was_given_up_comes_late() {
        let mut window = Window::new(64, 7);
        let early = window.open(1).unwrap();
        let kept = window.open(20).unwrap();
        let mut over = Vec::new();
        window.expire(|request| *request < 10, |request| over.push(request));
        assert_eq!(over, [1]);
        assert_eq!(window.answer(early), Match::Late);
        for _ in 0..100 {
            let id = window.open(3).unwrap();
            assert_eq!(window.answer(id), Match::Open(3));
            assert_eq!(window.answer(early), Match::Late);
        }
        assert_eq!(window.abandon(kept), Some(20));
        assert_eq!(window.abandon(kept), None);
        assert_eq!(window.free(), 64);
    }

    #[test]
    fn any_other_number_is_unknown() {
        let mut window = Window::new(8, 99);
        let id = u32::from_be_bytes(window.open(()).unwrap().0);
        for wrong in (0..32).map(|bit| id ^ 1 << bit).chain([id + 1, id - 1, 0, u32::MAX]) {
            assert_eq!(window.answer(TransactionId(wrong.to_be_bytes())), Match::Unknown);
        }
        assert_eq!(window.answer(TransactionId(id.to_be_bytes())), Match::Open(()));
    }

    #[test]
    fn the_multiplication_can_be_undone() {
        assert_eq!(FACTOR.wrapping_mul(INVERSE), 1);
    }
}
