//! A stack for a guest.

#![expect(unsafe_code, reason = "maps memory with a page that nobody may touch")]

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const LEN: NonZeroUsize = NonZeroUsize::new(128 * 1024).unwrap();
/// A guest that uses more than its stack faults here instead of writing elsewhere.
const GUARD_LEN: usize = 4096;

/// Mapped memory that grows down to a guard page.
#[derive(Debug)]
pub(super) struct GuestStack {
    bottom: NonNull<c_void>,
}

// SAFETY: the mapping is this value's alone; which thread uses it does not matter.
unsafe impl Send for GuestStack {}

impl GuestStack {
    /// Maps a stack.
    ///
    /// # Errors
    /// The system's refusal.
    pub(super) fn new() -> nix::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_STACK;
        // SAFETY: an anonymous mapping at an address of the kernel's choice.
        let bottom = unsafe { mmap_anonymous(None, LEN, access, flags) }?;
        let stack = Self { bottom };
        // SAFETY: the first page of the mapping made above, which nothing uses yet.
        unsafe { mprotect(stack.bottom, GUARD_LEN, ProtFlags::PROT_NONE) }?;
        Ok(stack)
    }

    /// Puts `words` on the empty stack, the last one highest, and gives the address of the first.
    /// Behind the last word the stack is aligned to 16.
    pub(super) fn begin_with(&mut self, words: &[u64]) -> u64 {
        let mut stack = self
            .bottom
            .as_ptr()
            .cast::<u64>()
            .wrapping_byte_add(LEN.get());
        for word in words.iter().rev() {
            stack = stack.wrapping_sub(1);
            // SAFETY: within the mapping's top page: `words` is a handful. The guest does not run.
            unsafe { stack.write(*word) };
        }
        stack as u64
    }
}

impl Drop for GuestStack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; the guest that used it is gone.
        let unmapped = unsafe { munmap(self.bottom, LEN.get()) };
        debug_assert!(unmapped.is_ok());
    }
}
