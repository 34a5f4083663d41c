//! Where guest-physical memory is: extended page tables with 2 MB pages (SDM 3, 29.3).

use alloc::boxed::Box;
use core::arch::asm;

use super::msr;
use super::operation::Unavailable;
use crate::guest_memory::{GUEST_MEMORY_LEN, GuestMemory};
use crate::page::{Page, physical};

const READ_WRITE_EXECUTE: u64 = 7;
const WRITE_BACK: u64 = 6;
const LARGE_PAGE: u64 = 1 << 7;
const FOUR_LEVELS: u64 = 3 << 3;

const LARGE_PAGE_LEN: usize = 2 << 20;

/// Tables for a guest's memory, from guest-physical address 0 on.
#[derive(Debug)]
pub struct Ept {
    top: Box<Page>,
    _directories: [Box<Page>; 2],
}

impl Ept {
    /// For `memory`; there is nothing else.
    ///
    /// # Errors
    /// [`Unavailable::Ept`].
    ///
    /// # Safety
    /// 1. The CPU is in VMX operation and has EPT.
    pub unsafe fn new(memory: &GuestMemory) -> Result<Self, Unavailable> {
        // SAFETY: 1: the caller's.
        unsafe { require_capabilities() }?;
        let (mut top, mut pointers, mut directory) =
            (Page::zeroed(), Page::zeroed(), Page::zeroed());
        let pages = GUEST_MEMORY_LEN / LARGE_PAGE_LEN;
        for (entry, number) in directory.0.iter_mut().zip(0..pages) {
            let start = memory.host_address() + (number * LARGE_PAGE_LEN) as u64;
            *entry = start | LARGE_PAGE | WRITE_BACK << 3 | READ_WRITE_EXECUTE;
        }
        pointers.0[0] = physical(&*directory) | READ_WRITE_EXECUTE;
        top.0[0] = physical(&*pointers) | READ_WRITE_EXECUTE;
        // SAFETY: 1: the caller's.
        unsafe { forget_translations() };
        Ok(Self {
            top,
            _directories: [pointers, directory],
        })
    }

    /// The EPT pointer of the VMCS.
    #[must_use]
    pub fn pointer(&self) -> u64 {
        physical(&*self.top) | FOUR_LEVELS | WRITE_BACK
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
