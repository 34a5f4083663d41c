//! The controls of a VMCS: what exits, and what an entry and an exit load.

use fpstate_arch::{Enumeration, Instruction};
use fpstate_native::cpuid;

use super::field::Field;
use super::msr;
use super::operation::Unavailable;
use super::vmcs::CurrentVmcs;

/// A group of controls: a field, and the MSR that says which bits it can have.
#[derive(Clone, Copy, Debug)]
struct Group {
    name: &'static str,
    field: Field,
    /// Behind the first of `IA32_VMX_TRUE_*`; the secondary controls have an MSR of their own.
    place: Option<u32>,
    wanted: &'static [u32],
}

const GROUPS: [Group; 5] = [
    Group {
        name: "pin-based",
        field: Field::PinControls,
        place: Some(0),
        wanted: &[
            0, // external interrupts exit
            3, // NMIs exit
        ],
    },
    Group {
        name: "processor-based",
        field: Field::ProcessorControls,
        place: Some(1),
        wanted: &[
            7,  // HLT exits
            24, // IN and OUT exit
            28, // MSR bitmaps
            31, // secondary controls
        ],
    },
    Group {
        name: "secondary",
        field: Field::SecondaryControls,
        place: None,
        wanted: &[
            1, // EPT
        ],
    },
    Group {
        name: "exit",
        field: Field::ExitControls,
        place: Some(2),
        wanted: &[
            9,  // the host is in 64-bit mode
            20, // save IA32_EFER
            21, // load IA32_EFER
        ],
    },
    Group {
        name: "entry",
        field: Field::EntryControls,
        place: Some(3),
        wanted: &[
            9,  // the guest is in 64-bit mode
            15, // load IA32_EFER
        ],
    },
];

impl Group {
    /// The value of the field: what is wanted, and what cannot be 0.
    ///
    /// # Safety
    /// 1. CPL is 0, and the CPU has VMX with secondary controls.
    unsafe fn value(self) -> Result<u64, Unavailable> {
        // SAFETY: 1: the caller's.
        let has_true_controls = unsafe { msr::read(msr::BASIC) } & 1 << 55 != 0;
        let capability = match self.place {
            None => msr::SECONDARY,
            Some(place) if has_true_controls => msr::TRUE_CONTROLS + place,
            Some(place) => msr::CONTROLS + place,
        };
        // SAFETY: 1: the caller's; the line above has chosen one that is there.
        let allowed = unsafe { msr::read(capability) };
        let (mut value, may_be_ones) = (allowed & 0xffff_ffff, allowed >> 32);
        for &bit in self.wanted {
            if may_be_ones & 1 << bit == 0 {
                return Err(Unavailable::Control(self.name, bit));
            }
            value |= 1 << bit;
        }
        Ok(value)
    }
}

/// XSAVES and XRSTORS do not raise #UD: a secondary control of CPUs that have them.
const XSAVES: u64 = 1 << 20;
const DEVICE_NOT_AVAILABLE: u64 = 1 << 7;
const MACHINE_CHECK: u64 = 1 << 18;

/// Writes all controls. #NM and #MC exit; XSAVES and XRSTORS never do: whatever a guest has in IA32_XSS the
/// host has too.
///
/// # Errors
/// [`Unavailable::Control`].
///
/// # Safety
/// 1. CPL is 0, and the CPU has VMX.
pub unsafe fn write(vmcs: &mut CurrentVmcs<'_>) -> Result<(), Unavailable> {
    for group in GROUPS {
        // SAFETY: 1: the caller's; the secondary controls come after the bit that says they exist.
        let value = unsafe { group.value() }?;
        vmcs.write(group.field, value);
    }
    if Enumeration::read(cpuid).has(Instruction::Xsaves) {
        let secondary = vmcs.read(Field::SecondaryControls);
        vmcs.write(Field::SecondaryControls, secondary | XSAVES);
        vmcs.write(Field::XssExitingBitmap, 0);
    }
    vmcs.write(Field::ExceptionBitmap, DEVICE_NOT_AVAILABLE | MACHINE_CHECK);
    for zero in [
        Field::PageFaultMask,
        Field::PageFaultMatch,
        Field::Cr3TargetCount,
        Field::ExitMsrStoreCount,
        Field::ExitMsrLoadCount,
        Field::EntryMsrLoadCount,
        Field::EntryInterruption,
    ] {
        vmcs.write(zero, 0);
    }
    Ok(())
}
