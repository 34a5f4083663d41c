//! This machine's kernel, asked: `arch_prctl(2)` and the attributes of `/dev/kvm`.

#![expect(
    unsafe_code,
    reason = "neither call has a safe wrapper: libc has no arch_prctl, kvm-ioctls no attributes of /dev/kvm"
)]

use std::os::fd::AsRawFd;

use fpstate_arch::{Component, ComponentSet};
use kvm_bindings::{KVM_X86_XCOMP_GUEST_SUPP, kvm_device_attr};
use kvm_ioctls::Kvm;

use crate::permission::{Kernel, SystemError};

/// `arch/x86/include/uapi/asm/prctl.h`, Linux 5.16 and 5.17.
const ARCH_GET_XCOMP_SUPP: libc::c_int = 0x1021;
const ARCH_GET_XCOMP_GUEST_PERM: libc::c_int = 0x1024;
const ARCH_REQ_XCOMP_GUEST_PERM: libc::c_int = 0x1025;
/// `_IOW(KVMIO, 0xe2, struct kvm_device_attr)`, `include/uapi/linux/kvm.h`.
const KVM_GET_DEVICE_ATTR: libc::c_ulong = 0x4018_aee2;
const _: () = assert!(size_of::<kvm_device_attr>() == 0x18);

/// The kernel of this machine and its KVM.
#[derive(Debug)]
pub struct ThisKernel<'k>(&'k Kvm);

impl<'k> ThisKernel<'k> {
    /// The kernel that `kvm` is open in.
    #[must_use]
    pub const fn of(kvm: &'k Kvm) -> Self {
        Self(kvm)
    }
}

impl Kernel for ThisKernel<'_> {
    fn managed(&mut self) -> Result<ComponentSet, SystemError> {
        components_by(ARCH_GET_XCOMP_SUPP)
    }

    fn offered_by_kvm(&mut self) -> Result<ComponentSet, SystemError> {
        let mut components = 0_u64;
        let attribute = kvm_device_attr {
            flags: 0,
            group: 0,
            attr: u64::from(KVM_X86_XCOMP_GUEST_SUPP),
            addr: (&raw mut components).expose_provenance() as u64,
        };
        // SAFETY: the kernel reads the structure and writes eight bytes to `addr`, `components`, which
        // outlives the call.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                KVM_GET_DEVICE_ATTR as libc::Ioctl,
                &raw const attribute,
            )
        };
        answer(result.into())?;
        Ok(ComponentSet::from_bits(components))
    }

    fn request(&mut self, component: Component) -> Result<(), SystemError> {
        let number = libc::c_ulong::from(component.number());
        // SAFETY: the kernel takes the second argument as a number and touches no memory of ours.
        let result =
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, number) };
        answer(result)
    }

    fn permitted(&mut self) -> Result<ComponentSet, SystemError> {
        components_by(ARCH_GET_XCOMP_GUEST_PERM)
    }
}

fn components_by(option: libc::c_int) -> Result<ComponentSet, SystemError> {
    let mut components = 0_u64;
    // SAFETY: the kernel writes eight bytes to `components` or nothing.
    let result = unsafe { libc::syscall(libc::SYS_arch_prctl, option, &raw mut components) };
    answer(result)?;
    Ok(ComponentSet::from_bits(components))
}

fn answer(result: libc::c_long) -> Result<(), SystemError> {
    if result == 0 {
        return Ok(());
    }
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    Err(SystemError::from_number(number))
}
