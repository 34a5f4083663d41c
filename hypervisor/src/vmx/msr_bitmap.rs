//! Which accesses of a guest to MSRs exit (SDM 3, 25.6.9).

use alloc::boxed::Box;

use crate::page::{PAGE_LEN, Page, physical};
use crate::vcpu::MsrAccess;

/// Four bitmaps of 1 KB: reads of the low MSRs, of the high ones, and writes of both.
#[derive(Debug)]
pub struct MsrBitmap {
    page: Box<Page>,
}

const WORDS_PER_BITMAP: usize = 128;

impl Default for MsrBitmap {
    /// Every access exits.
    fn default() -> Self {
        Self {
            page: Box::new(Page([!0; PAGE_LEN / 8])),
        }
    }
}

impl MsrBitmap {
    /// The physical address.
    #[must_use]
    pub fn address(&self) -> u64 {
        physical(&*self.page)
    }

    /// Whether accesses to `msr` exit. Those that are neither low (below 2000H) nor high (C0000000H
    /// to C0001FFFH) always do.
    pub fn set(&mut self, msr: u32, access: MsrAccess) {
        let (bitmap, bit) = match msr {
            0..0x2000 => (0, msr as usize),
            0xc000_0000..0xc000_2000 => (1, msr as usize & 0x1fff),
            _ => return,
        };
        let (reads, writes) = match access {
            MsrAccess::PassedThrough => (0, 0),
            MsrAccess::WritesExit => (0, 1),
            MsrAccess::Exits => (1, 1),
        };
        self.set_bit(bitmap, bit, reads);
        self.set_bit(bitmap + 2, bit, writes);
    }

    fn set_bit(&mut self, bitmap: usize, bit: usize, value: u64) {
        let word = &mut self.page.0[bitmap * WORDS_PER_BITMAP + bit / 64];
        *word = *word & !(1 << (bit % 64)) | value << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(bitmap: &mut MsrBitmap, byte: usize, bit: usize) -> u64 {
        let bit = byte * 8 + bit;
        bitmap.page.0[bit / 64] >> (bit % 64) & 1
    }

    #[test]
    fn reads_and_writes_have_bitmaps_of_their_own() {
        let mut bitmap = MsrBitmap::default();
        bitmap.set(0x1c5, MsrAccess::WritesExit);
        assert_eq!(bit(&mut bitmap, 0x1c5 / 8, 0x1c5 % 8), 0);
        assert_eq!(bit(&mut bitmap, 2048 + 0x1c5 / 8, 0x1c5 % 8), 1);
        bitmap.set(0xc000_0102, MsrAccess::PassedThrough);
        assert_eq!(bit(&mut bitmap, 1024 + 0x102 / 8, 2), 0);
        assert_eq!(bit(&mut bitmap, 3072 + 0x102 / 8, 2), 0);
        bitmap.set(0xc000_0102, MsrAccess::Exits);
        assert_eq!(bit(&mut bitmap, 1024 + 0x102 / 8, 2), 1);
        assert_eq!(bit(&mut bitmap, 3072 + 0x102 / 8, 2), 1);
    }
}
