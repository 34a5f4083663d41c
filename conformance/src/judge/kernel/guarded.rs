//! Memory that ends where nothing can be read: a kernel that reads beyond an image is refused.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const PAGE: usize = 4096;

/// Pages, the last of which cannot be accessed.
#[derive(Debug)]
pub struct Guarded {
    start: NonNull<c_void>,
    /// Bytes that can be accessed.
    room: usize,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for Guarded {}

impl Guarded {
    /// Room for images of up to `longest` bytes.
    ///
    /// # Panics
    /// If there is no memory.
    #[must_use]
    pub fn with_room_for(longest: usize) -> Self {
        let room = longest.next_multiple_of(PAGE).max(PAGE);
        let mapped = NonZeroUsize::new(room + PAGE).expect("not 0");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where there was none.
        let start = unsafe { mmap_anonymous(None, mapped, access, MapFlags::MAP_PRIVATE) };
        let start = start.expect("memory");
        // SAFETY: the last page of the mapping, which nobody refers to.
        let guard = unsafe { start.byte_add(room) };
        // SAFETY: as above.
        unsafe { mprotect(guard, PAGE, ProtFlags::PROT_NONE) }.expect("mprotect");
        Self { start, room }
    }

    /// Puts `bytes` where the accessible memory ends; the address of the first.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn hold(&mut self, bytes: &[u8]) -> NonNull<u8> {
        let offset = self.room.checked_sub(bytes.len()).expect("room");
        // SAFETY: within the mapping.
        let first = unsafe { self.start.cast::<u8>().byte_add(offset) };
        // SAFETY: `bytes.len()` bytes that can be written, up to the guard page; `bytes` is
        // other memory, since this mapping is not lent.
        unsafe { first.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        first
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; nobody refers to it.
        let unmapped = unsafe { munmap(self.start, self.room + PAGE) };
        debug_assert!(unmapped.is_ok());
    }
}
