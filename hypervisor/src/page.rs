//! Pages of 4 KB for what the CPU reads by physical address. The kernel is mapped one to one, so that
//! is the address of the page.

use alloc::boxed::Box;

/// Bytes of a page.
pub const PAGE_LEN: usize = 4096;

/// A page of words.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
pub struct Page(pub [u64; PAGE_LEN / 8]);

impl Page {
    /// Zeros.
    pub fn zeroed() -> Box<Self> {
        Box::new(Self([0; PAGE_LEN / 8]))
    }
}

/// Where `object` is for the CPU.
pub fn physical<T: ?Sized>(object: &T) -> u64 {
    (&raw const *object).addr() as u64
}
