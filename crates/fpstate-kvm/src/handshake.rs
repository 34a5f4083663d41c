//! The handshake itself. Only who went through it, and holds a [`Permitted`], gets a supported CPUID
//! and a VM from this crate, so neither can come before it.

use fpstate_arch::{Component, ComponentSet};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Error, Kvm, VmFd};

use crate::permission::{Kernel, Outcome, ask};
use crate::this_kernel::ThisKernel;

/// KVM, after this process asked for the on-demand components of its guests.
///
/// ```
/// use fpstate_arch::{Component, ComponentSet};
/// use fpstate_kvm::Permitted;
/// use kvm_ioctls::Kvm;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let Ok(kvm) = Kvm::new() else {
///     eprintln!("skipped: no /dev/kvm");
///     return Ok(());
/// };
/// let tiles = ComponentSet::only(Component::TileData);
/// let permitted = Permitted::ask(&kvm, tiles);
/// for (component, outcome) in permitted.outcomes() {
///     println!("{component}: {outcome}"); // AMX tile data: the kernel does not manage it here ...
/// }
/// let cpuid = permitted.supported_cpuid()?; // never half of AMX
/// let vm = permitted.create_vm()?; // its first vCPU freezes the permissions
/// # let _ = (cpuid, vm);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Permitted<'k> {
    kvm: &'k Kvm,
    outcomes: Vec<(Component, Outcome)>,
}

impl<'k> Permitted<'k> {
    /// Asks for `wanted`, one component after the other. That one is refused is no error: a guest
    /// without AMX runs, and [`outcomes`](Self::outcomes) says why it has none.
    #[must_use]
    pub fn ask(kvm: &'k Kvm, wanted: ComponentSet) -> Self {
        let mut kernel = ThisKernel::of(kvm);
        let outcomes = wanted
            .iter()
            .map(|component| (component, ask(&mut kernel, component)))
            .collect();
        Self { kvm, outcomes }
    }

    /// Asks for nothing: guests have no on-demand component.
    #[must_use]
    pub const fn without_asking(kvm: &'k Kvm) -> Self {
        Self {
            kvm,
            outcomes: Vec::new(),
        }
    }

    /// What became of each component asked for.
    #[must_use]
    pub fn outcomes(&self) -> &[(Component, Outcome)] {
        &self.outcomes
    }

    /// The on-demand components that guests of this process may have now, whoever asked for them.
    #[must_use]
    pub fn permitted(&self) -> ComponentSet {
        // Before 5.17 the question itself is unknown, and nothing on demand is permitted.
        let permitted = ThisKernel::of(self.kvm).permitted();
        permitted.map_or(ComponentSet::EMPTY, |components| {
            components.intersection(ON_DEMAND)
        })
    }

    /// KVM, for what this crate does not do.
    #[must_use]
    pub const fn kvm(&self) -> &'k Kvm {
        self.kvm
    }

    /// `KVM_GET_SUPPORTED_CPUID`, without what contradicts itself: from 5.17 to 6.3 a process without
    /// permission is told of the tile configuration and not of the tiles, and a guest that believes it
    /// faults at XSETBV. Here tiles are offered whole or not at all, their feature bits included.
    ///
    /// # Errors
    /// KVM's.
    pub fn supported_cpuid(&self) -> Result<CpuId, Error> {
        let mut cpuid = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        withhold_half_of_the_tiles(cpuid.as_mut_slice());
        Ok(cpuid)
    }

    /// `KVM_CREATE_VM`.
    ///
    /// # Errors
    /// KVM's.
    pub fn create_vm(&self) -> Result<VmFd, Error> {
        self.kvm.create_vm()
    }
}

/// What Linux lends on demand (`XFEATURE_MASK_USER_DYNAMIC`).
pub(crate) const ON_DEMAND: ComponentSet = ComponentSet::only(Component::TileData);

/// CPUID.(07H,0):EDX: AMX-BF16, AMX-TILE, AMX-INT8.
const AMX_7_0_EDX: u32 = 1 << 22 | 1 << 24 | 1 << 25;
/// CPUID.(07H,1):EAX: AMX-FP16. EDX: AMX-COMPLEX.
const AMX_7_1_EAX: u32 = 1 << 21;
const AMX_7_1_EDX: u32 = 1 << 8;

fn withhold_half_of_the_tiles(entries: &mut [kvm_cpuid_entry2]) {
    let main = entries
        .iter()
        .find(|entry| (entry.function, entry.index) == (0xd, 0));
    let offered = main.map_or(ComponentSet::EMPTY, |entry| {
        ComponentSet::from_halves(entry.eax, entry.edx)
    });
    if offered.contains_all(ComponentSet::TILES) {
        return;
    }
    let (kept, _) = offered.difference(ComponentSet::TILES).halves();
    for entry in entries {
        match (entry.function, entry.index) {
            (0x7, 0) => entry.edx &= !AMX_7_0_EDX,
            (0x7, 1) => {
                entry.eax &= !AMX_7_1_EAX;
                entry.edx &= !AMX_7_1_EDX;
            }
            (0xd, 0) => entry.eax = kept,
            (0xd, 17 | 18) | (0x1d | 0x1e, _) => {
                (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves of an Emerald Rapids as KVM passes them on, with these user components.
    fn leaves(components: u32) -> Vec<kvm_cpuid_entry2> {
        let entry = |function, index, [eax, ebx, ecx, edx]: [u32; 4]| kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        };
        vec![
            entry(0x7, 0, [1, 0xf3bf_bfff, 0xfb41_7fee, 0xffdd_4432]),
            entry(0x7, 1, [0x20_1c30, 0, 0, 0x100]),
            entry(0xd, 0, [components, 0x2b00, 0x2b00, 0]),
            entry(0xd, 2, [0x100, 0x240, 0, 0]),
            entry(0xd, 17, [0x40, 0xac0, 2, 0]),
            entry(0xd, 18, [0x2000, 0xb00, 6, 0]),
            entry(0x1d, 1, [0x0400_2000, 0x0008_0040, 0x10, 0]),
            entry(0x1e, 0, [0, 0x4010, 0, 0]),
        ]
    }

    #[test]
    fn a_guest_without_permission_sees_nothing_of_the_tiles() {
        // 5.17 to 6.3: bit 17 without 18; from 6.4: neither, and the feature bits stay.
        for components in [0x202e7, 0x2e7] {
            let mut entries = leaves(components);
            withhold_half_of_the_tiles(&mut entries);
            assert_eq!(entries[0].edx & AMX_7_0_EDX, 0);
            assert_eq!((entries[1].eax, entries[1].edx), (0x1c30, 0));
            assert_eq!(entries[2].eax, 0x2e7);
            assert_eq!(entries[3], leaves(components)[3], "AVX is none of it");
            assert!(entries[4..].iter().all(|e| (e.eax, e.ebx) == (0, 0)));
        }
    }

    #[test]
    fn a_guest_with_permission_sees_all_of_them() {
        let mut entries = leaves(0x602e7);
        withhold_half_of_the_tiles(&mut entries);
        assert_eq!(entries, leaves(0x602e7));
    }
}
