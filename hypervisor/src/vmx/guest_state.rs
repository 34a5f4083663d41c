//! What a guest starts with: 64-bit mode in ring 0, flat segments, interrupts off.

use super::field::{Field, Segment};
use super::msr::{self, Fixed};
use super::vmcs::{CurrentVmcs, SegmentContents};
use crate::guest_memory::{
    CODE_SELECTOR, CR0, CR4, DATA_SELECTOR, GDT, IDT, PAGE_TABLES, PROGRAM, STACK,
};

/// CR4.VMXE, which VMX wants set and the guest must not see.
pub const VMXE: u64 = 1 << 13;

/// EFER.LMA, LME.
const EFER: u64 = 0x500;
/// GDT and IDT have a page each.
const TABLE_LIMIT: u64 = 0xfff;

const CODE: SegmentContents = segment(CODE_SELECTOR, 0xa09b, 0xffff_ffff);
const DATA: SegmentContents = segment(DATA_SELECTOR, 0xc093, 0xffff_ffff);
const NO_LDT: SegmentContents = segment(0, 0x1_0000, 0);
const TASK: SegmentContents = segment(24, 0x8b, 0x67);

const fn segment(selector: u16, access_rights: u32, limit: u32) -> SegmentContents {
    SegmentContents {
        selector,
        limit,
        access_rights,
        base: 0,
    }
}

/// Writes the guest's fields.
///
/// # Safety
/// 1. CPL is 0, and the CPU has VMX.
pub unsafe fn write(vmcs: &mut CurrentVmcs<'_>) {
    for segment in Segment::ALL {
        let contents = match segment {
            Segment::Cs => CODE,
            Segment::Ldtr => NO_LDT,
            Segment::Tr => TASK,
            Segment::Es | Segment::Ss | Segment::Ds | Segment::Fs | Segment::Gs => DATA,
        };
        vmcs.write_segment(segment, contents);
    }
    // SAFETY: 1: the caller's.
    let fixed_cr0 = unsafe { Fixed::of(msr::CR0_FIXED) };
    // SAFETY: 1: the caller's.
    let fixed_cr4 = unsafe { Fixed::of(msr::CR4_FIXED) };
    for (field, value) in [
        (Field::GuestCr0, fixed_cr0.applied_to(CR0)),
        (Field::GuestCr4, fixed_cr4.applied_to(CR4)),
        (Field::Cr0Mask, 0),
        (Field::Cr0Shadow, 0),
        (Field::Cr4Mask, VMXE),
        (Field::Cr4Shadow, 0),
        (Field::GuestCr3, PAGE_TABLES),
        (Field::GuestRip, PROGRAM),
        (Field::GuestRsp, STACK),
        // IF: external interrupts exit whatever it is, but Bochs 3.0 looks at it (docs/surprises.md).
        (Field::GuestRflags, 0x202),
        (Field::GuestEfer, EFER),
        (Field::GuestDr7, 0x400),
        (Field::LinkPointer, !0),
        (Field::GuestDebugctl, 0),
        (Field::GuestGdtrBase, GDT),
        (Field::GuestGdtrLimit, TABLE_LIMIT),
        (Field::GuestIdtrBase, IDT),
        (Field::GuestIdtrLimit, TABLE_LIMIT),
        (Field::GuestInterruptibility, 0),
        (Field::GuestActivity, 0),
        (Field::GuestPendingDebug, 0),
        (Field::GuestSysenterCs, 0),
        (Field::GuestSysenterEsp, 0),
        (Field::GuestSysenterEip, 0),
    ] {
        vmcs.write(field, value);
    }
}
