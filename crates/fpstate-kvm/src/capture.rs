//! A vCPU's extended state is taken.

use fpstate_arch::{Component, ComponentSet};
use kvm_ioctls::Error;

use crate::guest_cpuid::user_components;
use crate::restore_order::Msr;
use crate::snapshot::{Parts, VcpuExtendedState, xstate_bv};
use crate::vcpu_registers::{read_msr, read_xcr0};
use crate::xsave2::{VcpuXsave, with_xstate_bv};

impl VcpuExtendedState {
    /// The state of a vCPU that does not run. If its last exit was for a port or memory access, let it
    /// complete first (`KVM_RUN` with `immediate_exit`): until then the registers are not the guest's.
    ///
    /// The image announces PKRU wherever the guest's CPUID has it, see [`announce_pkru`].
    ///
    /// # Errors
    /// KVM's. An MSR that the vCPU lacks is none; it has its value after RESET.
    pub fn capture(vcpu: &VcpuXsave<'_>) -> Result<Self, Error> {
        let fd = vcpu.vcpu();
        let offered = user_components(&vcpu.cpuid()?).intersection(vcpu.host().offered());
        Ok(Self::from_parts(Parts {
            cpu: vcpu.host().record().clone(),
            xcr0: read_xcr0(fd)?,
            xss: read_msr(fd, Msr::Xss)?,
            xfd: read_msr(fd, Msr::Xfd)?,
            xfd_err: read_msr(fd, Msr::XfdErr)?,
            xsave: announce_pkru(vcpu.get_xsave()?, offered),
        }))
    }
}

/// `image` with PKRU in XSTATE_BV where the guest is `offered` it.
///
/// KVM writes the vCPU's PKRU into the image whatever XSTATE_BV says, and XSTATE_BV by what the *host's*
/// register was when the guest's state was saved. `KVM_SET_XSAVE` keeps the former PKRU where the bit is
/// clear, so without this a guest could go on with the rights of whoever had the vCPU before.
#[must_use]
pub fn announce_pkru(image: Vec<u8>, offered: ComponentSet) -> Vec<u8> {
    if !offered.contains(Component::Pkru) {
        return image;
    }
    let announced = xstate_bv(&image).with(Component::Pkru);
    with_xstate_bv(image, announced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkru_is_announced_where_the_guest_has_it_and_nothing_else_is_changed() {
        let image: Vec<u8> = vec![5; 4096];
        let pkru = ComponentSet::only(Component::Pkru);
        assert_eq!(announce_pkru(image.clone(), ComponentSet::LEGACY), image);
        let mut expected = image.clone();
        expected[513] |= 2;
        assert_eq!(announce_pkru(image, pkru), expected);
    }
}
