//! A VMCS, and access to its fields while it is current.

use alloc::boxed::Box;
use core::arch::asm;

use super::field::{Field, Segment};
use super::operation::{Unavailable, revision};
use crate::page::{Page, physical};

/// A VMCS that is current on no CPU.
#[derive(Debug)]
pub struct Vmcs {
    region: Box<Page>,
}

impl Vmcs {
    /// A VMCS whose fields are not defined yet.
    ///
    /// # Safety
    /// 1. The CPU is in VMX operation.
    #[must_use]
    pub unsafe fn new() -> Self {
        let mut region = Page::zeroed();
        // SAFETY: 1: the caller's.
        region.0[0] = unsafe { revision() };
        let address = physical(&*region);
        // SAFETY: 1: the caller's; the region is a page of its own.
        unsafe { vmclear(address) };
        Self { region }
    }

    /// Makes it current until the [`CurrentVmcs`] is dropped; interrupts that would use another one
    /// do not exist here.
    ///
    /// # Errors
    /// [`Unavailable::Vmcs`].
    ///
    /// # Safety
    /// 1. The CPU is in VMX operation.
    pub unsafe fn load(&mut self) -> Result<CurrentVmcs<'_>, Unavailable> {
        let address = physical(&*self.region);
        let failed: u8;
        // SAFETY: 1: the caller's; the region is a VMCS that is active on no CPU.
        unsafe {
            asm!("vmptrld [{}]", "setbe {}", in(reg) &raw const address, lateout(reg_byte) failed);
        }
        match failed {
            0 => Ok(CurrentVmcs(self)),
            _ => Err(Unavailable::Vmcs),
        }
    }
}

/// Writes a VMCS to memory: it is current and active on no CPU then, and not launched.
///
/// # Safety
/// 1. The CPU is in VMX operation.
/// 2. `address` is a region that nothing else uses.
unsafe fn vmclear(address: u64) {
    // SAFETY: 1, 2: the caller's.
    unsafe { asm!("vmclear [{}]", in(reg) &raw const address) };
}

/// A VMCS while it is current on this CPU.
#[derive(Debug)]
pub struct CurrentVmcs<'v>(&'v mut Vmcs);

impl CurrentVmcs<'_> {
    /// A field; 0 where the CPU does not have it.
    #[must_use]
    pub fn read(&self, field: Field) -> u64 {
        let mut value = 0;
        // SAFETY: a VMCS is current; an unknown field leaves `value` as it is.
        unsafe {
            asm!("vmread {}, {}", inout(reg) value, in(reg) u64::from(field as u32), options(nomem, nostack));
        }
        value
    }

    /// Writes a field.
    pub fn write(&mut self, field: Field, value: u64) {
        self.write_encoded(field as u32, value);
    }

    /// Writes a segment register of the guest.
    pub fn write_segment(&mut self, segment: Segment, contents: SegmentContents) {
        self.write_encoded(segment.selector(), u64::from(contents.selector));
        self.write_encoded(segment.limit(), u64::from(contents.limit));
        self.write_encoded(segment.access_rights(), u64::from(contents.access_rights));
        self.write_encoded(segment.base(), contents.base);
    }

    fn write_encoded(&mut self, field: u32, value: u64) {
        // SAFETY: a VMCS is current, and what its fields do is judged at the entry; an unknown field
        // is not written.
        unsafe {
            asm!("vmwrite {}, {}", in(reg) u64::from(field), in(reg) value, options(nostack));
        }
    }
}

impl Drop for CurrentVmcs<'_> {
    /// So the vCPU can run on any CPU next.
    fn drop(&mut self) {
        let address = physical(&*self.0.region);
        // SAFETY: 1: `load`'s. 2: it is this object's region.
        unsafe { vmclear(address) };
    }
}

/// What a segment register has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentContents {
    /// The selector.
    pub selector: u16,
    /// The limit in bytes.
    pub limit: u32,
    /// Access rights (SDM 3, table 25-2).
    pub access_rights: u32,
    /// The base.
    pub base: u64,
}
