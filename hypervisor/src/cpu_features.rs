//! CR0 and CR4 as `Ring0Processor::assume_ring0` wants them, before it is made.

use fpstate_arch::{Enumeration, Instruction};
use fpstate_native::cpuid;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

/// Sets CR0.MP and CR0.NE, clears CR0.EM and CR0.TS; sets CR4.OSFXSR and CR4.OSXMMEXCPT, and CR4.OSXSAVE
/// and CR4.PKE where the CPU has them. Once per CPU, before anything else of this kernel uses
/// extended state.
pub fn enable() {
    let enumeration = Enumeration::read(cpuid);
    let mut cr0 = Cr0::read() | Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR;
    cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
    // SAFETY: only the bits of extended state change, and no code uses it yet.
    unsafe { Cr0::write(cr0) };
    let mut cr4 = Cr4::read() | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    if enumeration.has(Instruction::Xsave) {
        cr4 |= Cr4Flags::OSXSAVE;
    }
    if cpuid(7, 0).ecx & 1 << 3 != 0 {
        cr4 |= Cr4Flags::PROTECTION_KEY_USER;
    }
    // SAFETY: as above; the CPU has what is set.
    unsafe { Cr4::write(cr4) };
}
