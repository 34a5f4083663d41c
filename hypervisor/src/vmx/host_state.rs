//! What the CPU has again after an exit: the registers of the CPU that enters.

use core::arch::asm;

use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment as _};
use x86_64::instructions::tables::{sgdt, sidt};
use x86_64::registers::control::{Cr0, Cr3, Cr4};
use x86_64::registers::model_specific::{Efer, FsBase, GsBase};

use super::field::Field;
use super::vmcs::CurrentVmcs;

/// Writes the host's fields, all but RSP and RIP.
pub fn write(vmcs: &mut CurrentVmcs<'_>) {
    let (frame, _) = Cr3::read_raw();
    let tr = task_register();
    for (field, value) in [
        (Field::HostCr0, Cr0::read_raw()),
        (Field::HostCr3, frame.start_address().as_u64()),
        (Field::HostCr4, Cr4::read_raw()),
        (Field::HostEfer, Efer::read_raw()),
        (Field::HostCs, u64::from(CS::get_reg().0)),
        (Field::HostSs, u64::from(SS::get_reg().0)),
        (Field::HostDs, u64::from(DS::get_reg().0)),
        (Field::HostEs, u64::from(ES::get_reg().0)),
        (Field::HostFs, u64::from(FS::get_reg().0)),
        (Field::HostGs, u64::from(GS::get_reg().0)),
        (Field::HostTr, u64::from(tr)),
        (Field::HostFsBase, FsBase::read().as_u64()),
        (Field::HostGsBase, GsBase::read().as_u64()),
        (Field::HostTrBase, tss_base(tr)),
        (Field::HostGdtrBase, sgdt().base.as_u64()),
        (Field::HostIdtrBase, sidt().base.as_u64()),
        (Field::HostSysenterCs, 0),
        (Field::HostSysenterEsp, 0),
        (Field::HostSysenterEip, 0),
    ] {
        vmcs.write(field, value);
    }
}

/// The selector in TR.
fn task_register() -> u16 {
    let selector;
    // SAFETY: it reads a register.
    unsafe { asm!("str {:x}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    selector
}

/// Where the TSS of `selector` is: its descriptor has 16 bytes in this CPU's GDT.
fn tss_base(selector: u16) -> u64 {
    let descriptor = sgdt()
        .base
        .as_ptr::<u64>()
        .wrapping_add(usize::from(selector >> 3));
    // SAFETY: the descriptor that TR was loaded from is in the GDT, which lives for ever.
    let low = unsafe { descriptor.read_unaligned() };
    // SAFETY: as above.
    let high = unsafe { descriptor.wrapping_add(1).read_unaligned() };
    low >> 16 & 0xff_ffff | (low >> 56) << 24 | high << 32
}
