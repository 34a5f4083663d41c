//! Areas in boxed memory, for callers with an allocator.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::fmt;

use crate::layout::Layout;
use crate::storage::AreaStorage;

const ALIGNMENT: usize = 64;
/// Bytes beyond the area's: so many at most lie before or behind it.
const SLACK: usize = ALIGNMENT.saturating_sub(1);

/// Bytes on the heap, the first at a multiple of 64.
///
/// Safe Rust cannot ask an allocator for an alignment of bytes, so up to 63 bytes more than the
/// layout needs are allocated.
pub struct BoxedArea {
    /// Up to the end of the area.
    memory: Vec<u8>,
    /// Where the area begins.
    start: usize,
}

impl BoxedArea {
    /// Zeroed memory for an area of `layout`.
    ///
    /// # Errors
    /// The allocator's refusal; nothing is allocated then.
    pub fn for_layout(layout: &Layout<'_>) -> Result<Self, TryReserveError> {
        let len = layout.area_len().saturating_add(SLACK);
        let mut memory = Vec::new();
        memory.try_reserve_exact(len)?;
        memory.resize(len, 0);
        let start = memory.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        // The capacity stays, and with it the address.
        memory.truncate(start.saturating_add(layout.area_len()));
        Ok(Self { memory, start })
    }
}

impl fmt::Debug for BoxedArea {
    /// The length and not the bytes: what was a state's area has key material in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedArea")
            .field("len", &self.bytes().len())
            .finish_non_exhaustive()
    }
}

impl AreaStorage for BoxedArea {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..).unwrap_or(&[])
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..).unwrap_or(&mut [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::cpuid::CpuidRegisters;
    use fpstate_arch::enumeration::Enumeration;

    #[test]
    fn what_is_printed_of_an_area_has_no_byte_of_it() {
        let cpu = Enumeration::read(|_, _| CpuidRegisters {
            edx: 1 << 24,
            ..Default::default()
        });
        let layout = Layout::fxsave(&cpu).unwrap();
        let mut area = BoxedArea::for_layout(&layout).unwrap();
        area.bytes_mut().fill(0xa5);
        let printed = alloc::format!("{area:?} {area:x?}");
        assert!(!printed.contains("165") && !printed.contains("a5"));
        assert!(printed.contains("512"));
    }

    #[test]
    fn boxed_areas_are_aligned_and_exactly_as_long_as_the_layout() {
        let cpu = Enumeration::read(|_, _| CpuidRegisters {
            edx: 1 << 24,
            ..Default::default()
        });
        let layout = Layout::fxsave(&cpu).unwrap();
        for _ in 0..64 {
            let area = BoxedArea::for_layout(&layout).unwrap();
            assert_eq!(area.bytes().as_ptr().addr() % 64, 0);
            assert_eq!(area.bytes().len(), 512);
            // Keeps the next one from getting the same address.
            core::mem::forget(area);
        }
    }
}
