//! Adding to a counter that only one thread writes.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// A relaxed load and store: with one writer per cell they lose nothing, and cost no locked
/// instruction.
#[inline]
pub(super) fn bump(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
