//! What the allocator takes for what is asked of it.

/// What an allocation of `bytes` takes from the heap: a header of 8 bytes, rounded up to 16, and
/// 32 at the least (malloc of glibc).
#[inline]
pub(super) const fn allocated_bytes(bytes: usize) -> usize {
    let whole = (bytes + 8).next_multiple_of(16);
    match bytes {
        0 => 0,
        _ if whole < 32 => 32,
        _ => whole,
    }
}
