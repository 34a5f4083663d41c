//! Memory for everything: 64 MB behind the image.

use core::cell::UnsafeCell;

use linked_list_allocator::LockedHeap;

const HEAP_LEN: usize = 64 << 20;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; HEAP_LEN]>);

// SAFETY: only the allocator touches it, under its lock.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; HEAP_LEN]));

#[cfg_attr(feature = "boot", global_allocator)]
static ALLOCATOR: LockedHeap = LockedHeap::empty();

/// Gives the allocator its memory; called once, before anything is allocated.
pub fn initialise() {
    let start = MEMORY.0.get().cast::<u8>();
    // SAFETY: the memory is the allocator's alone from here on, and lives as long as the kernel.
    unsafe { ALLOCATOR.lock().init(start, HEAP_LEN) };
}
