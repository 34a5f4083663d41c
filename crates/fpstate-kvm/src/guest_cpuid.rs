//! What a guest's CPUID offers: leaf 0DH of KVM's entries.

use fpstate_arch::ComponentSet;
use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// CPUID.(0DH,1):EAX: XSAVES, and IA32_XSS with it.
const XSAVES: u32 = 1 << 3;

/// User components: CPUID.(0DH,0):EDX:EAX; none where the leaf is absent.
pub(crate) fn user_components(cpuid: &CpuId) -> ComponentSet {
    sub_leaf(cpuid, 0).map_or(ComponentSet::EMPTY, |entry| {
        ComponentSet::from_halves(entry.eax, entry.edx)
    })
}

/// Supervisor components: CPUID.(0DH,1):EDX:ECX; none where XSAVES is absent.
pub(crate) fn supervisor_components(cpuid: &CpuId) -> ComponentSet {
    sub_leaf(cpuid, 1)
        .filter(|entry| entry.eax & XSAVES != 0)
        .map_or(ComponentSet::EMPTY, |entry| {
            ComponentSet::from_halves(entry.ecx, entry.edx)
        })
}

fn sub_leaf(cpuid: &CpuId, number: u32) -> Option<&kvm_cpuid_entry2> {
    let mut entries = cpuid.as_slice().iter();
    entries.find(|entry| (entry.function, entry.index) == (0xd, number))
}
