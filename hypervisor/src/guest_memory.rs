//! A guest's memory, with all that 64-bit mode needs in it: page tables, GDT, an empty IDT.
//!
//! The guest sees it from address 0 on, one to one.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use alloc::sync::Arc;
use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

use spin::Mutex;

/// Bytes of a guest's memory: one page of the nested page tables.
pub const GUEST_MEMORY_LEN: usize = 2 << 20;

/// CR3: page tables of three levels.
pub const PAGE_TABLES: u64 = 0x1000;
/// GDT, a page.
pub const GDT: u64 = 0x4000;
/// IDT, a page; the program fills it.
pub const IDT: u64 = 0x5000;
/// What the host tells the program.
pub const PARAMETERS: u64 = 0x6000;
/// `hypercall; ret`.
pub const HYPERCALL: u64 = 0xf000;
/// The program's first instruction.
pub const PROGRAM: u64 = 0x1_0000;
/// The end of its stack.
pub const STACK: u64 = 0x8_0000;
/// An XSAVE area that the host fills.
pub const GIVEN_IMAGE: u64 = 0x8_0000;
/// An XSAVE area that the guest fills.
pub const FOUND_IMAGE: u64 = 0x9_0000;

/// The code segment's selector.
pub const CODE_SELECTOR: u16 = 8;
/// The data segments'.
pub const DATA_SELECTOR: u16 = 16;
/// CR0: PG, WP, NE, ET, MP, PE.
pub const CR0: u64 = 0x8001_0033;
/// CR4: PAE, OSFXSR, OSXMMEXCPT. The rest is the program's.
pub const CR4: u64 = 0x620;

const LAYOUT: Layout = match Layout::from_size_align(GUEST_MEMORY_LEN, GUEST_MEMORY_LEN) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// A guest's memory. The host reaches it by copies, one at a time.
pub struct GuestMemory {
    start: NonNull<u8>,
    access: Mutex<()>,
}

// SAFETY: it owns the memory behind the pointer.
unsafe impl Send for GuestMemory {}
// SAFETY: accesses by shared references take turns.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// Memory with tables, a hypercall instruction and a `program`.
    pub fn with_program(program: &[u8], hypercall: [u8; 3]) -> Arc<Self> {
        const PRESENT_WRITABLE: u64 = 3;
        const LARGE: u64 = 0x80;
        const RET: u8 = 0xc3;
        let memory = Self::zeroed();
        let pointers = PAGE_TABLES + 0x1000;
        let directory = PAGE_TABLES + 0x2000;
        memory.write_word(PAGE_TABLES, pointers | PRESENT_WRITABLE);
        memory.write_word(pointers, directory | PRESENT_WRITABLE);
        memory.write_word(directory, PRESENT_WRITABLE | LARGE);
        memory.write_word(GDT + u64::from(CODE_SELECTOR), 0x00af_9b00_0000_ffff);
        memory.write_word(GDT + u64::from(DATA_SELECTOR), 0x00cf_9300_0000_ffff);
        let [first, second, third] = hypercall;
        memory.write(HYPERCALL, &[first, second, third, RET]);
        memory.write(PROGRAM, program);
        Arc::new(memory)
    }

    fn zeroed() -> Self {
        // SAFETY: the layout's size is not 0.
        let start = unsafe { alloc_zeroed(LAYOUT) };
        match NonNull::new(start) {
            Some(start) => Self {
                start,
                access: Mutex::new(()),
            },
            None => handle_alloc_error(LAYOUT),
        }
    }

    /// Where the host sees it.
    pub fn host_address(&self) -> u64 {
        self.start.addr().get() as u64
    }

    /// Writes `bytes`; the guest does not run meanwhile.
    ///
    /// # Panics
    /// Beyond the end: a mistake of this kernel's.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _alone = self.access.lock();
        let target = self.range(address, bytes.len());
        // SAFETY: `range` has checked that the bytes are the guest's memory; no reference to it exists.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Writes a word.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn write_word(&self, address: u64, word: u64) {
        self.write(address, &word.to_le_bytes());
    }

    /// Reads `bytes`; the guest does not run meanwhile.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        let _alone = self.access.lock();
        let source = self.range(address, bytes.len());
        // SAFETY: as in `write`.
        unsafe { source.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Reads a word.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn read_word(&self, address: u64) -> u64 {
        let mut word = [0; 8];
        self.read(address, &mut word);
        u64::from_le_bytes(word)
    }

    fn range(&self, address: u64, len: usize) -> *mut u8 {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        assert!(start <= GUEST_MEMORY_LEN && len <= GUEST_MEMORY_LEN - start);
        // SAFETY: the line above.
        unsafe { self.start.as_ptr().add(start) }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: `zeroed` allocated it with the same layout; whoever runs a guest in it has a share.
        unsafe { dealloc(self.start.as_ptr(), LAYOUT) };
    }
}

impl fmt::Debug for GuestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuestMemory").field(&self.start).finish()
    }
}
