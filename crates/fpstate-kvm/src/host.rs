//! What this host's KVM judges an image by.

#![expect(unsafe_code, reason = "MXCSR_MASK can be read by FXSAVE only")]

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{ComponentSet, Enumeration, LegacyRegion, Mxcsr};
use fpstate_native::cpuid;
use fpstate_native::fxsave::fxsave64;
use kvm_ioctls::Error;

use crate::cpu_record::CpuRecord;
use crate::guest_cpuid::{supervisor_components, user_components};
use crate::handshake::Permitted;
use crate::permission::Kernel;
use crate::this_kernel::ThisKernel;

/// This host: its CPU, and what its KVM offers.
///
/// The CPU's figures are those of the instruction CPUID and not of `KVM_GET_SUPPORTED_CPUID`: KVM lays
/// images out by its own CPUID, and some KVMs offer leaf 0DH and hide the bit of leaf 1 that announces
/// XSAVE (docs/surprises.md).
#[derive(Clone, Debug)]
pub struct Host {
    record: CpuRecord,
    enumeration: Enumeration,
    offered: ComponentSet,
    offered_supervisor: ComponentSet,
    permitted: ComponentSet,
    mxcsr_mask: u32,
}

impl Host {
    /// Asks the CPU and KVM.
    ///
    /// # Errors
    /// KVM's answer to `KVM_GET_SUPPORTED_CPUID`.
    pub fn read(permitted: &Permitted<'_>) -> Result<Self, Error> {
        let of_guests = permitted.supported_cpuid()?;
        let from_cpuid = user_components(&of_guests);
        // The attribute knows of components that lack permission; before 5.17 there is none.
        let attribute = ThisKernel::of(permitted.kvm()).offered_by_kvm();
        let offered = attribute.unwrap_or(ComponentSet::EMPTY).union(from_cpuid);
        let (record, enumeration) = CpuRecord::read(cpuid);
        Ok(Self {
            record,
            enumeration,
            offered: offered.union(ComponentSet::LEGACY),
            offered_supervisor: supervisor_components(&of_guests),
            permitted: permitted.permitted(),
            mxcsr_mask: mxcsr_mask(),
        })
    }

    /// The CPUID leaves that lay out its images.
    #[must_use]
    pub const fn record(&self) -> &CpuRecord {
        &self.record
    }

    /// The same, read.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// User components that KVM can give a guest, permission or not; x87 and SSE always.
    #[must_use]
    pub const fn offered(&self) -> ComponentSet {
        self.offered
    }

    /// Supervisor components that KVM lets a guest enable in IA32_XSS.
    #[must_use]
    pub const fn offered_supervisor(&self) -> ComponentSet {
        self.offered_supervisor
    }

    /// On-demand components that guests of this process may have.
    #[must_use]
    pub const fn permitted(&self) -> ComponentSet {
        self.permitted
    }

    /// The bits MXCSR may have.
    #[must_use]
    pub const fn mxcsr_mask(&self) -> u32 {
        self.mxcsr_mask
    }
}

#[repr(align(16))]
struct FxsaveArea([u8; LEGACY_REGION_LEN]);

fn mxcsr_mask() -> u32 {
    let mut area = FxsaveArea([0; LEGACY_REGION_LEN]);
    // SAFETY:
    // 1, 2: 512 bytes, aligned to 16.
    // 3: a Linux process on x86-64 has FXSAVE enabled; without it no floating-point code would run.
    unsafe { fxsave64(area.0.as_mut_ptr()) };
    match LegacyRegion::from_bytes(&area.0).mxcsr_mask {
        0 => Mxcsr::DEFAULT_MASK,
        mask => mask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_has_every_bit_of_the_initial_mxcsr() {
        assert!(Mxcsr::INITIAL.is_valid_under(mxcsr_mask()));
    }
}
