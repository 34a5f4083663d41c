//! VMX operation: a CPU is in it from its first guest on, until it goes offline.

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use fpstate_native::cpuid;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

use super::msr::{self, Fixed};
use crate::page::{PAGE_LEN, physical};
use crate::trap::{MOST_CPUS, cpu_number};

/// What the CPU keeps for itself while it is in VMX operation: its revision in the first word, and
/// what it likes behind it.
#[repr(C, align(4096))]
struct VmxonRegion([AtomicU64; PAGE_LEN / 8]);

/// One for each CPU, for each time that it enters VMX operation.
static REGIONS: [VmxonRegion; MOST_CPUS] =
    [const { VmxonRegion([const { AtomicU64::new(0) }; PAGE_LEN / 8]) }; MOST_CPUS];

/// Why there are no guests by VMX on this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// CPUID does not announce VMX.
    NotAnnounced,
    /// The firmware has locked `IA32_FEATURE_CONTROL` without VMX.
    LockedByFirmware,
    /// VMXON failed.
    VmxonFailed,
    /// A control that this kernel needs is not there: its group, its bit.
    Control(&'static str, u32),
    /// EPT without 2 MB pages, 4 levels, write-back tables or INVEPT of everything.
    Ept,
    /// The VMCS could not be made current.
    Vmcs,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnnounced => f.write_str("the CPU has no VMX"),
            Self::LockedByFirmware => f.write_str("the firmware has disabled VMX"),
            Self::VmxonFailed => f.write_str("VMXON failed"),
            Self::Control(group, bit) => write!(f, "VMX lacks {group} control {bit}"),
            Self::Ept => f.write_str("VMX lacks a feature of EPT"),
            Self::Vmcs => f.write_str("VMPTRLD failed"),
        }
    }
}

/// Whether CPUID announces VMX.
#[must_use]
pub fn is_announced() -> bool {
    cpuid(1, 0).ecx & 1 << 5 != 0
}

/// The first word of a VMXON region and of a VMCS.
///
/// # Safety
/// 1. CPL is 0, and the CPU has VMX.
#[must_use]
pub unsafe fn revision() -> u64 {
    // SAFETY: 1: the caller's.
    unsafe { msr::read(msr::BASIC) & 0x7fff_ffff }
}

/// Enters VMX operation, if this CPU is not in it: nobody else sets CR4.VMXE.
///
/// # Errors
/// [`Unavailable`].
pub fn begin() -> Result<(), Unavailable> {
    if !is_announced() {
        return Err(Unavailable::NotAnnounced);
    }
    if Cr4::read().contains(Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS) {
        return Ok(());
    }
    unlock()?;
    fix_control_registers();
    let region = &REGIONS[cpu_number()];
    // SAFETY: 1: the kernel; `is_announced`.
    region.0[0].store(unsafe { revision() }, Ordering::Relaxed);
    let address = physical(region);
    let failed: u8;
    // SAFETY: CR4.VMXE is set, IA32_FEATURE_CONTROL allows it, and the region is this CPU's and lives
    // for ever.
    unsafe {
        asm!("vmxon [{}]", "setbe {}", in(reg) &raw const address, lateout(reg_byte) failed);
    }
    match failed {
        0 => Ok(()),
        _ => {
            disable();
            Err(Unavailable::VmxonFailed)
        }
    }
}

/// Leaves VMX operation, if this CPU is in it: it holds INIT back (SDM 3, 24.8).
pub fn end() {
    if Cr4::read().contains(Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS) {
        // SAFETY: CR4.VMXE says that `begin` came before; no VMCS is current between two entries.
        unsafe { asm!("vmxoff") };
        disable();
    }
}

/// Clears CR4.VMXE, outside VMX operation.
fn disable() {
    // SAFETY: nothing but VMX operation needs it.
    unsafe { Cr4::update(|cr4| cr4.remove(Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS)) };
}

fn unlock() -> Result<(), Unavailable> {
    const LOCKED: u64 = 1 << 0;
    const VMX_OUTSIDE_SMX: u64 = 1 << 2;
    let mut control = Msr::new(msr::FEATURE_CONTROL);
    // SAFETY: the kernel; a CPU with VMX has the register.
    let found = unsafe { control.read() };
    if found & LOCKED == 0 {
        // SAFETY: as above; it is not locked.
        unsafe { control.write(found | LOCKED | VMX_OUTSIDE_SMX) };
        Ok(())
    } else if found & VMX_OUTSIDE_SMX == 0 {
        Err(Unavailable::LockedByFirmware)
    } else {
        Ok(())
    }
}

/// Sets the bits of CR0 and CR4 that VMX operation wants.
fn fix_control_registers() {
    // SAFETY: the kernel; the CPU has VMX.
    let fixed = unsafe { Fixed::of(msr::CR0_FIXED) };
    let cr0 = fixed.applied_to(Cr0::read_raw());
    // SAFETY: protection, paging and CR0.NE are on already; nothing else is fixed.
    unsafe { Cr0::write(Cr0Flags::from_bits_retain(cr0)) };
    // SAFETY: as the first.
    let fixed = unsafe { Fixed::of(msr::CR4_FIXED) };
    let cr4 = fixed.applied_to(Cr4::read_raw());
    // SAFETY: CR4.VMXE alone is fixed.
    unsafe { Cr4::write(Cr4Flags::from_bits_retain(cr4)) };
}
