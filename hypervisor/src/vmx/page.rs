//! Pages that the hardware reads: their addresses are physical, and the kernel's are the same
//! (`boot` maps one to one).

use alloc::boxed::Box;
use core::fmt;

/// 4 KB at a multiple of 4 KB.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Page([u64; 512]);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page at {:#x}", self.address())
    }
}

impl Page {
    /// A page in which every word is `word`.
    #[must_use]
    pub fn filled_with(word: u64) -> Box<Self> {
        Box::new(Self([word; 512]))
    }

    /// The physical address.
    #[must_use]
    pub fn address(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    /// The words.
    pub const fn words(&mut self) -> &mut [u64; 512] {
        &mut self.0
    }
}
