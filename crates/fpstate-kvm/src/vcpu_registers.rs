//! The registers that give an image its meaning: XCR0, IA32_XSS, IA32_XFD, IA32_XFD_ERR.

use fpstate_arch::{Component, ComponentSet};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_xcr, kvm_xcrs};
use kvm_ioctls::{Error, VcpuFd};

use crate::restore_order::Msr;

/// The value of `msr`; the one after RESET where the vCPU does not have it: the guest cannot have
/// written it then.
pub(crate) fn read_msr(vcpu: &VcpuFd, msr: Msr) -> Result<ComponentSet, Error> {
    let mut msrs = entry(msr, ComponentSet::EMPTY)?;
    let read = vcpu.get_msrs(&mut msrs)?;
    let value = msrs.as_slice().first().filter(|_| read == 1);
    Ok(value.map_or(ComponentSet::EMPTY, |entry| {
        ComponentSet::from_bits(entry.data)
    }))
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// The vCPU lacks the MSR, or lacks this value.
    Refused,
}

pub(crate) fn write_msr(vcpu: &VcpuFd, msr: Msr, value: ComponentSet) -> Result<Written, Error> {
    match vcpu.set_msrs(&entry(msr, value)?)? {
        1 => Ok(Written::Yes),
        _ => Ok(Written::Refused),
    }
}

fn entry(msr: Msr, value: ComponentSet) -> Result<Msrs, Error> {
    let entry = kvm_msr_entry {
        index: msr.number(),
        data: value.bits(),
        ..kvm_msr_entry::default()
    };
    Msrs::from_entries(&[entry]).map_err(|_| Error::new(libc::ENOMEM))
}

pub(crate) fn read_xfd(vcpu: &VcpuFd) -> Result<ComponentSet, Error> {
    read_msr(vcpu, Msr::Xfd)
}

/// XCR0 after RESET, and for ever where the host has no XSAVE: KVM answers EINVAL there.
const AFTER_RESET: ComponentSet = ComponentSet::only(Component::X87);

pub(crate) fn read_xcr0(vcpu: &VcpuFd) -> Result<ComponentSet, Error> {
    let xcrs = match vcpu.get_xcrs() {
        Err(error) if error.errno() == libc::EINVAL => return Ok(AFTER_RESET),
        answer => answer?,
    };
    let count = usize::try_from(xcrs.nr_xcrs).unwrap_or(0);
    let mut listed = xcrs.xcrs.iter().take(count);
    Ok(listed
        .find(|register| register.xcr == 0)
        .map_or(AFTER_RESET, |register| {
            ComponentSet::from_bits(register.value)
        }))
}

pub(crate) fn write_xcr0(vcpu: &VcpuFd, value: ComponentSet) -> Result<(), Error> {
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..kvm_xcrs::default()
    };
    if let Some(first) = xcrs.xcrs.first_mut() {
        *first = kvm_xcr {
            xcr: 0,
            reserved: 0,
            value: value.bits(),
        };
    }
    match vcpu.set_xcrs(&xcrs) {
        // What it has already needs no XSAVE on the host.
        Err(error) if error.errno() == libc::EINVAL && read_xcr0(vcpu)? == value => Ok(()),
        answer => answer,
    }
}
