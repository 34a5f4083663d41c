//! Memory that user programs reach: 2 MB at an address of its own, the programs first, then a block for
//! each thread. The kernel reaches the same memory by the addresses it has anyway.

use alloc::alloc::alloc_zeroed;
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;
use x86_64::registers::control::Cr3;

use crate::user_code;

/// Where user programs find it: the second 512 GB, so that no table is shared with the kernel's part.
const BASE: u64 = 1 << 39;
const LEN: usize = 2 << 20;
const BLOCKS_OFFSET: usize = 0x10000;
const BLOCK_LEN: usize = 0x4000;
const MOST_BLOCKS: u32 = 64;
const PRESENT_WRITABLE_USER: u64 = 7;
const LARGE: u64 = 0x80;

/// Where the kernel finds it.
static MEMORY: Once<usize> = Once::new();
/// A bit for each block that is taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A thread's block: its pattern, what it found, its stack. Given back at the end.
#[derive(Debug)]
pub struct Block(u32);

impl Block {
    /// A block that nobody has, zeroed; none if there is none left.
    pub fn take() -> Option<Self> {
        let free = |number: &u32| TAKEN.fetch_or(1 << number, Ordering::AcqRel) & 1 << number == 0;
        let block = Self((0..MOST_BLOCKS).find(free)?);
        block.write(0, &[0; BLOCK_LEN]);
        Some(block)
    }

    /// Where its user finds it.
    #[must_use]
    pub fn address(&self) -> u64 {
        BASE + self.offset() as u64
    }

    /// Where its user's stack ends.
    #[must_use]
    pub fn stack_end(&self) -> u64 {
        self.address() + BLOCK_LEN as u64
    }

    /// Writes to it; what lies beyond its end is left out.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let len = bytes.len().min(BLOCK_LEN.saturating_sub(offset));
        let target = memory() + self.offset() + offset;
        let target = ptr::with_exposed_provenance_mut::<u8>(target);
        // SAFETY: within the block, which only its owner and the user program reach; the program does not
        // run now.
        unsafe { ptr::copy(bytes.as_ptr(), target, len) };
    }

    fn offset(&self) -> usize {
        BLOCKS_OFFSET + self.0 as usize * BLOCK_LEN
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        TAKEN.fetch_and(!(1 << self.0), Ordering::AcqRel);
    }
}

/// Where a user finds a program.
#[must_use]
pub fn address_of(program: user_code::Program) -> u64 {
    memory();
    BASE + program.offset() as u64
}

/// Maps it and copies the programs there, the first time.
fn memory() -> usize {
    *MEMORY.call_once(|| {
        let memory = zeroed(LEN);
        map(memory);
        let programs = ptr::with_exposed_provenance::<u8>(user_code::start());
        let target = ptr::with_exposed_provenance_mut::<u8>(memory);
        let len = user_code::len().min(BLOCKS_OFFSET);
        // SAFETY: from the image to memory that nobody else has yet.
        unsafe { ptr::copy_nonoverlapping(programs, target, len) };
        memory
    })
}

/// Every CPU has the same tables, and none had anything there before.
fn map(memory: usize) {
    let (directory, pointers) = (zeroed(4096), zeroed(4096));
    let first = Cr3::read_raw().0.start_address().as_u64();
    write_entry(directory as u64, memory as u64 | LARGE);
    write_entry(pointers as u64, directory as u64);
    write_entry(first + 8 * (BASE >> 39), pointers as u64);
}

fn write_entry(at: u64, entry: u64) {
    let at = at as *mut u64;
    // SAFETY: an entry of a page table, mapped one to one; nothing was mapped by it.
    unsafe { at.write_volatile(entry | PRESENT_WRITABLE_USER) };
}

/// Zeroed memory for ever, aligned to its length, which is a power of two.
fn zeroed(len: usize) -> usize {
    let Ok(layout) = Layout::from_size_align(len, len) else {
        return 0;
    };
    // SAFETY: the length is not 0.
    let memory = unsafe { alloc_zeroed(layout) };
    assert!(!memory.is_null(), "no memory for user pages");
    memory.expose_provenance()
}
