//! What this machine's kernel says to an image.

use fpstate_arch::ComponentSet;

/// The answer of `KVM_SET_XSAVE` on a fresh vCPU that has every component KVM offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelAnswer {
    /// Its name and release.
    pub(crate) kernel: String,
    /// The components that an image for that vCPU may have.
    pub(crate) allowed: ComponentSet,
    /// The error it answered; `None` where it took the image.
    pub(crate) refusal: Option<String>,
}

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error("/dev/kvm: {0}")]
    NoKvm(kvm_ioctls::Error),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error("making a vCPU to ask: {0}")]
    NoVcpu(kvm_ioctls::Error),
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    #[error("KVM's images are x86-64's, and this machine is no x86-64 Linux")]
    NotHere,
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use here::ask;

/// Asks the kernel; `image` is all that it gets, filled up with zeros to the length it reads.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) fn ask(_image: &[u8]) -> Result<KernelAnswer, KernelError> {
    Err(KernelError::NotHere)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod here {
    use std::ffi::CStr;
    use std::fs;

    use fpstate_arch::ComponentSet;
    use fpstate_kvm::{Host, Permitted, SystemError, VcpuXsave};
    use kvm_ioctls::{Error, Kvm};

    use super::{KernelAnswer, KernelError};

    const KVM: &CStr = c"/dev/kvm";

    /// Asks the kernel; `image` is all that it gets, filled up with zeros to the length it reads.
    pub(crate) fn ask(image: &[u8]) -> Result<KernelAnswer, KernelError> {
        ask_at(KVM, image)
    }

    fn ask_at(device: &CStr, image: &[u8]) -> Result<KernelAnswer, KernelError> {
        let kvm = Kvm::new_with_path(device).map_err(KernelError::NoKvm)?;
        ask_fresh_vcpu(&kvm, image).map_err(KernelError::NoVcpu)
    }

    fn ask_fresh_vcpu(kvm: &Kvm, image: &[u8]) -> Result<KernelAnswer, Error> {
        let permitted = Permitted::ask(kvm, ComponentSet::TILES);
        let (host, cpuid) = (Host::read(&permitted)?, permitted.supported_cpuid()?);
        let vm = permitted.create_vm()?;
        let vcpu = vm.create_vcpu(0)?;
        vcpu.set_cpuid2(&cpuid)?;
        let xsave = VcpuXsave::of(&host, &vm, &vcpu);
        let refusal = xsave.set_xsave_unjudged(image).err();
        Ok(KernelAnswer {
            kernel: kernel(),
            allowed: xsave.allowed()?,
            refusal: refusal.map(|error| SystemError::from_number(error.errno()).to_string()),
        })
    }

    fn kernel() -> String {
        match fs::read_to_string("/proc/sys/kernel/osrelease") {
            Ok(release) => format!("Linux {}", release.trim()),
            Err(_) => "Linux".to_owned(),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn without_the_device_the_error_is_one_line() {
            let error = ask_at(c"/nowhere/kvm", &[0; 4096]).unwrap_err().to_string();
            assert!(error.starts_with("/dev/kvm: No such file"), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
