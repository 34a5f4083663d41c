//! CPUID (SDM 2, CPUID).

use core::arch::asm;

use fpstate_arch::CpuidRegisters;

/// CPUID with EAX = `leaf`, ECX = `subleaf`, on the CPU that executes this.
///
/// It is a [`CpuidSource`](fpstate_arch::CpuidSource): `Enumeration::read(cpuid)`. Under a
/// hypervisor, or in a process whose kernel intercepts it, the answer is theirs.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidRegisters {
    let (eax, ebx, ecx, edx);
    // SAFETY: every x86-64 CPU has CPUID; it changes EAX, EBX, ECX, EDX and nothing else. LLVM keeps
    // RBX for itself, so RBX takes its result through another register and has its value back after.
    unsafe {
        asm!(
            "mov {saved:r}, rbx",
            "cpuid",
            "xchg {saved:r}, rbx",
            saved = out(reg) ebx,
            inout("eax") leaf => eax,
            inout("ecx") subleaf => ecx,
            out("edx") edx,
            options(nostack, preserves_flags, nomem),
        );
    }
    CpuidRegisters { eax, ebx, ecx, edx }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::Enumeration;

    #[test]
    fn the_vendor_is_twelve_printable_letters() {
        let CpuidRegisters { ebx, ecx, edx, .. } = cpuid(0, 0);
        let vendor = [ebx, edx, ecx].map(u32::to_le_bytes);
        assert!(vendor.as_flattened().iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn the_sub_leaf_reaches_the_instruction() {
        let enumeration = Enumeration::read(cpuid);
        for component in enumeration.components().iter().skip(2) {
            let leaf = cpuid(0xd, u32::from(component.number()));
            assert_eq!(enumeration.entry(component).map(|e| e.len), Some(leaf.eax));
        }
    }
}
