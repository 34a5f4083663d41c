//! Nested page tables: the guest's physical address 0 is the first byte of its memory, and there is
//! nothing beyond the last.

use alloc::boxed::Box;

use crate::guest_memory::{GUEST_MEMORY_LEN, GuestMemory};
use crate::page::{Page, physical};

const PRESENT_WRITABLE_USER: u64 = 0x7;
const LARGE: u64 = 0x80;
const LARGE_LEN: usize = 2 << 20;

/// Tables of three levels, the last of 2 MB pages.
#[derive(Debug)]
pub struct NestedPages {
    root: Box<Page>,
    _directories: [Box<Page>; 2],
}

impl NestedPages {
    /// For `memory`.
    pub fn for_memory(memory: &GuestMemory) -> Self {
        let (mut root, mut pointers, mut directory) =
            (Page::zeroed(), Page::zeroed(), Page::zeroed());
        let pages = GUEST_MEMORY_LEN / LARGE_LEN;
        for (entry, number) in directory.0.iter_mut().zip(0..pages) {
            let start = memory.host_address() + (number * LARGE_LEN) as u64;
            *entry = start | PRESENT_WRITABLE_USER | LARGE;
        }
        pointers.0[0] = physical(&*directory) | PRESENT_WRITABLE_USER;
        root.0[0] = physical(&*pointers) | PRESENT_WRITABLE_USER;
        Self {
            root,
            _directories: [pointers, directory],
        }
    }

    /// For the control block.
    pub fn cr3(&self) -> u64 {
        physical(&*self.root)
    }
}
