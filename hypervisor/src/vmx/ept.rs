//! Where guest-physical memory is: extended page tables with 2 MB pages (SDM 3, 29.3).

use alloc::boxed::Box;
use core::arch::asm;

use super::msr;
use super::operation::Unavailable;
use super::page::Page;

/// Bytes of a page of guest memory.
pub const PAGE_LEN: u64 = 2 << 20;

const READ_WRITE_EXECUTE: u64 = 7;
const WRITE_BACK: u64 = 6;
const LARGE_PAGE: u64 = 1 << 7;
const FOUR_LEVELS: u64 = 3 << 3;

/// Tables for at most 1 GB from guest-physical address 0.
#[derive(Debug)]
pub struct Ept {
    top: Box<Page>,
    _third: Box<Page>,
    _second: Box<Page>,
}

impl Ept {
    /// Guest-physical 0 to `len` is at `host`, both multiples of 2 MB; nothing else is there.
    ///
    /// # Errors
    /// [`Unavailable::Ept`].
    ///
    /// # Safety
    /// 1. The CPU is in VMX operation and has EPT.
    /// 2. The memory is the guest's as long as the tables are used.
    pub unsafe fn new(host: u64, len: u64) -> Result<Self, Unavailable> {
        // SAFETY: 1: the caller's.
        unsafe { require_capabilities() }?;
        let mut second = Page::filled_with(0);
        for (page, entry) in second.words().iter_mut().enumerate() {
            let offset = page as u64 * PAGE_LEN;
            if offset < len {
                *entry = (host + offset) | LARGE_PAGE | WRITE_BACK << 3 | READ_WRITE_EXECUTE;
            }
        }
        let mut third = Page::filled_with(0);
        third.words()[0] = second.address() | READ_WRITE_EXECUTE;
        let mut top = Page::filled_with(0);
        top.words()[0] = third.address() | READ_WRITE_EXECUTE;
        // SAFETY: 1: the caller's.
        unsafe { forget_translations() };
        Ok(Self {
            top,
            _third: third,
            _second: second,
        })
    }

    /// The EPT pointer of the VMCS.
    #[must_use]
    pub fn pointer(&self) -> u64 {
        self.top.address() | FOUR_LEVELS | WRITE_BACK
    }
}

/// # Safety
/// 1. CPL is 0, and the CPU has EPT.
unsafe fn require_capabilities() -> Result<(), Unavailable> {
    const NEEDED: u64 = 1 << 6 | 1 << 14 | 1 << 16 | 1 << 20 | 1 << 26;
    // SAFETY: 1: the caller's.
    let found = unsafe { msr::read(msr::EPT) };
    if found & NEEDED == NEEDED {
        Ok(())
    } else {
        Err(Unavailable::Ept)
    }
}

/// INVEPT of all contexts: a former guest's tables may have been at the same place.
///
/// # Safety
/// 1. The CPU is in VMX operation and has INVEPT.
unsafe fn forget_translations() {
    const ALL_CONTEXTS: u64 = 2;
    let descriptor = [0u64; 2];
    // SAFETY: 1: the caller's.
    unsafe { asm!("invept {}, [{}]", in(reg) ALL_CONTEXTS, in(reg) descriptor.as_ptr()) };
}
