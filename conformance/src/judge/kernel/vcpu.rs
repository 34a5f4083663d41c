//! `KVM_SET_XSAVE` and `KVM_GET_XSAVE2` on a vCPU that never runs, so that what is read back is what
//! was written and not what a CPU made of it.

use std::fmt;
use std::os::fd::AsRawFd;

use fpstate_arch::ComponentSet;
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_xsave};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use nix::errno::Errno;

use super::guarded::Guarded;
use crate::judge::answer::{Answer, Side, Verdict};

/// Length of `kvm_xsave` in bytes.
pub const KVM_XSAVE_LEN: usize = 4096;

nix::ioctl_write_ptr!(
    /// `KVM_SET_XSAVE`.
    kvm_set_xsave, 0xae, 0xa5, kvm_xsave
);
nix::ioctl_read!(
    /// `KVM_GET_XSAVE2`.
    kvm_get_xsave2, 0xae, 0xcf, kvm_xsave
);

/// A vCPU of a virtual machine of its own.
#[derive(Debug)]
pub struct Vcpu {
    vcpu: VcpuFd,
    _vm: VmFd,
    kvm: Kvm,
    image: Guarded,
}

/// Why there is no vCPU.
#[derive(Debug)]
pub enum NoVcpu {
    /// The kernel said no.
    Refused(kvm_ioctls::Error),
    /// Images are longer than the judge's buffers.
    Longer(i32),
}

impl fmt::Display for NoVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "/dev/kvm: {error}"),
            Self::Longer(len) => write!(f, "KVM_CAP_XSAVE2 says {len} bytes"),
        }
    }
}

impl std::error::Error for NoVcpu {}

impl From<kvm_ioctls::Error> for NoVcpu {
    fn from(error: kvm_ioctls::Error) -> Self {
        Self::Refused(error)
    }
}

impl Vcpu {
    /// A vCPU that has not been told its CPUID.
    ///
    /// # Errors
    /// There is no KVM here, or its images are longer than 4096 bytes.
    pub fn without_cpuid() -> Result<Self, NoVcpu> {
        let kvm = Kvm::new()?;
        let vm = kvm.create_vm()?;
        let vcpu = vm.create_vcpu(0)?;
        // 0: a kernel without KVM_GET_XSAVE2, which has no longer images either.
        let len = kvm.check_extension_int(Cap::Xsave2);
        if usize::try_from(len).is_ok_and(|len| len > KVM_XSAVE_LEN) {
            return Err(NoVcpu::Longer(len));
        }
        Ok(Self {
            vcpu,
            _vm: vm,
            kvm,
            image: Guarded::with_room_for(KVM_XSAVE_LEN),
        })
    }

    /// A vCPU with all of this machine's CPUID.
    ///
    /// # Errors
    /// As [`without_cpuid`](Self::without_cpuid).
    pub fn new() -> Result<Self, NoVcpu> {
        let vcpu = Self::without_cpuid()?;
        vcpu.set_cpuid()?;
        Ok(vcpu)
    }

    /// `KVM_SET_CPUID2` with what `KVM_GET_SUPPORTED_CPUID` says.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_cpuid(&self) -> Result<(), NoVcpu> {
        let cpuid = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        self.vcpu.set_cpuid2(&cpuid)?;
        Ok(())
    }

    /// The components that guests can be offered: CPUID.(0DH,0) of `KVM_GET_SUPPORTED_CPUID`.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn supported_components(&self) -> ComponentSet {
        let cpuid = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.expect("KVM_GET_SUPPORTED_CPUID");
        let entry = cpuid
            .as_slice()
            .iter()
            .find(|it| (it.function, it.index) == (0xd, 0));
        entry.map_or(ComponentSet::EMPTY, |it| {
            ComponentSet::from_halves(it.eax, it.edx)
        })
    }

    /// `KVM_CAP_XSAVE2` of the system.
    #[must_use]
    pub fn xsave2_len(&self) -> i32 {
        self.kvm.check_extension_int(Cap::Xsave2)
    }

    /// `KVM_SET_XSAVE`. The memory behind `image` cannot be read.
    ///
    /// # Panics
    /// If `image` is longer than 4096 bytes.
    pub fn set_xsave(&mut self, image: &[u8]) -> Verdict {
        let argument = self.image.hold(image).cast().as_ptr();
        // SAFETY: KVM reads the structure only, and answers EFAULT where it cannot.
        match unsafe { kvm_set_xsave(self.vcpu.as_raw_fd(), argument) } {
            Ok(_) => Verdict::Taken,
            Err(errno) => Verdict::Refused(errno as i32),
        }
    }

    /// `KVM_GET_XSAVE2`.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn xsave(&self) -> Vec<u8> {
        // Not zeros: the kernel is to write every byte.
        let mut bytes = vec![0xcc; KVM_XSAVE_LEN];
        let argument = bytes.as_mut_ptr().cast::<kvm_xsave>();
        // SAFETY: KVM writes what KVM_CAP_XSAVE2 says, which is not more than 4096 bytes.
        let answer: Result<_, Errno> = unsafe { kvm_get_xsave2(self.vcpu.as_raw_fd(), argument) };
        answer.expect("KVM_GET_XSAVE2");
        bytes
    }
}

impl Side for Vcpu {
    fn begin(&mut self, image: &[u8]) {
        let mut whole = image.to_vec();
        whole.resize(KVM_XSAVE_LEN, 0);
        assert_eq!(self.set_xsave(&whole), Verdict::Taken);
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        let verdict = self.set_xsave(image);
        let after = self.xsave();
        Answer { verdict, after }
    }
}
