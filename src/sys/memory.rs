//! Memory that is mapped at start and costs nothing until it is touched (mmap(2)).

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The memory for a worker's buffers is not available.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot map {bytes} bytes for the buffers of a worker; allow this process more address space \
     (`ulimit -v`, or LimitAS= in a systemd unit), run fewer workers, or set \
     `sysctl -w vm.overcommit_memory=0`"
)]
pub struct MapError {
    bytes: usize,
    #[source]
    source: io::Error,
}

impl From<MapError> for io::Error {
    fn from(error: MapError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// A private, zeroed, page-aligned stretch of memory that never moves.
///
/// An allocator would clear over-aligned memory by writing to it, and with that make megabytes of
/// idle buffers resident. A fresh mapping reads as zeros without being there.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    bytes: usize,
}

impl Region {
    /// Maps `bytes`, at least one.
    ///
    /// # Errors
    /// When the process may map no more.
    pub(crate) fn map(bytes: usize) -> Result<Self, MapError> {
        let length = NonZeroUsize::new(bytes).expect("a region holds at least one byte");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that
        // exists.
        let mapped = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE) };
        let base = mapped.map_err(|error| MapError { bytes, source: error.into() })?;
        Ok(Self { base: base.cast(), bytes })
    }

    /// The first byte; the others follow.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length and not unmapped since. Who lent parts of it to
        // the kernel, or made references into it, keeps the region for longer than those.
        let unmapped = unsafe { munmap(self.base.cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_and_page_aligned() {
        let region = Region::map(3 * 4096).unwrap();
        assert_eq!(region.base().as_ptr() as usize % 4096, 0);
        // SAFETY: the region is 3 pages long, and nobody else uses it.
        let bytes = unsafe { std::slice::from_raw_parts(region.base().as_ptr(), region.bytes) };
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error_with_advice() {
        let error = Region::map(1 << 56).unwrap_err();
        for part in ["72057594037927936 bytes", "ulimit -v", "overcommit"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::OutOfMemory);
    }
}
