//! `KVM_GET_XSAVE2` and `KVM_SET_XSAVE` with a buffer of the right size, and the reason when an image
//! is refused.

#![expect(
    unsafe_code,
    reason = "kvm-ioctls leaves the length of the buffer to its callers"
)]

use std::fmt;
use std::ops::Range;

use fpstate::{ImageError, LayoutError};
use fpstate_arch::ComponentSet;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Xsave, kvm_xsave, kvm_xsave2};
use kvm_ioctls::{Cap, Error, VcpuFd, VmFd};

use crate::guest_cpuid::user_components;
use crate::host::Host;
use crate::image_faults::{image_faults, image_layout};
use crate::permission::SystemError;
use crate::snapshot::xstate_bv;
use crate::vcpu_registers::read_xfd;

/// `struct kvm_xsave` before it had an end that grows: what `KVM_GET_XSAVE` writes.
const LEN_BEFORE_XSAVE2: usize = size_of::<kvm_xsave>();
const _: () = assert!(LEN_BEFORE_XSAVE2 == 4096);
const WORD: usize = size_of::<u32>();
/// Bytes 519:512 of an image.
const XSTATE_BV: Range<usize> = 512..520;

/// One vCPU's XSAVE image, in both directions.
///
/// The buffers that the kernel gets are as long as the longest image it could have: `KVM_CAP_XSAVE2` of
/// the VM, and never less than CPUID.(0DH,0):ECX of the CPU, which bounds every image of every process.
/// So no permission that another thread obtains meanwhile makes them too short, and the calls are safe.
#[derive(Clone, Copy, Debug)]
pub struct VcpuXsave<'v> {
    host: &'v Host,
    vcpu: &'v VcpuFd,
    call: Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Linux before 5.17: 4096 bytes.
    Xsave,
    /// The length that the VM's `KVM_CAP_XSAVE2` says, 4096 or more.
    Xsave2(usize),
}

impl<'v> VcpuXsave<'v> {
    /// The images of `vcpu`, a vCPU of `vm`. After the vCPU was made, because its making freezes the
    /// permissions on which the length depends.
    #[must_use]
    pub fn of(host: &'v Host, vm: &VmFd, vcpu: &'v VcpuFd) -> Self {
        let call = match usize::try_from(vm.check_extension_int(Cap::Xsave2)) {
            Ok(0) | Err(_) => Call::Xsave,
            Ok(len) => Call::Xsave2(len.max(LEN_BEFORE_XSAVE2)),
        };
        Self { host, vcpu, call }
    }

    /// The host it was made for.
    #[must_use]
    pub const fn host(&self) -> &'v Host {
        self.host
    }

    /// The vCPU.
    #[must_use]
    pub const fn vcpu(&self) -> &'v VcpuFd {
        self.vcpu
    }

    /// Bytes of an image.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no image is empty")]
    pub const fn len(&self) -> usize {
        match self.call {
            Call::Xsave => LEN_BEFORE_XSAVE2,
            Call::Xsave2(len) => len,
        }
    }

    /// The vCPU's image: `KVM_GET_XSAVE2`, or `KVM_GET_XSAVE` before Linux 5.17.
    ///
    /// # Errors
    /// KVM's.
    pub fn get_xsave(&self) -> Result<Vec<u8>, Error> {
        let mut image = match self.call {
            Call::Xsave => {
                let region = self.vcpu.get_xsave()?.region;
                region.iter().flat_map(|word| word.to_ne_bytes()).collect()
            }
            Call::Xsave2(_) => {
                let mut buffer = self.buffer(&[])?;
                // SAFETY: the kernel writes as many bytes as the vCPU's image has, and the buffer has
                // room for the longest that a vCPU on this CPU can have (the type's comment).
                unsafe { self.vcpu.get_xsave2(&mut buffer) }?;
                bytes_of(&buffer)
            }
        };
        image.truncate(self.len());
        Ok(image)
    }

    /// The components that an image for this vCPU may have: what KVM offers, of the on-demand ones those
    /// that the vCPU's CPUID has. `KVM_SET_XSAVE` judges by no more of the guest's CPUID than that.
    ///
    /// # Errors
    /// KVM's, to `KVM_GET_CPUID2`.
    pub fn allowed(&self) -> Result<ComponentSet, Error> {
        let on_demand = self.host.enumeration().xfd_components();
        let always = self.host.offered().difference(on_demand);
        let of_guest = user_components(&self.cpuid()?);
        Ok(always.union(
            of_guest
                .intersection(on_demand)
                .intersection(self.host.offered()),
        ))
    }

    /// The CPUID that the vCPU was given; empty before `KVM_SET_CPUID2`.
    pub(crate) fn cpuid(&self) -> Result<CpuId, Error> {
        self.vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES)
    }

    /// Gives the vCPU `image`: `KVM_SET_XSAVE`. The library judges it first, so a refusal has a reason.
    ///
    /// A shorter image is filled up with zeros, the initial configuration of what it leaves out as far as
    /// XSTATE_BV goes. A longer one is accepted if there is nothing but zeros where the vCPU has no room.
    /// What the vCPU's IA32_XFD disables is dropped from XSTATE_BV, as Linux 7.0 does; an older kernel
    /// would keep it and fault when it restores it (CVE-2026-23005).
    ///
    /// # Errors
    /// The first reason found, by the library or, with the library's verdict, by the kernel. The vCPU is
    /// as it was then.
    pub fn set_xsave(&self, image: &[u8]) -> Result<(), SetXsaveError> {
        let xfd = read_xfd(self.vcpu).map_err(SetXsaveError::kvm)?;
        let allowed = self.allowed().map_err(SetXsaveError::kvm)?;
        let enumeration = self.host.enumeration();
        let layout = image_layout(enumeration, allowed).map_err(SetXsaveError::Layout)?;
        self.refuse_bytes_beyond(image)?;
        let mut faults = image_faults(image, &layout, xfd, self.host.mxcsr_mask());
        if let Some(error) = faults.next() {
            return Err(SetXsaveError::Image(error));
        }
        self.set_unjudged(image, xfd).map_err(|error| {
            match SystemError::from_number(error.errno()) {
                SystemError::EINVAL => SetXsaveError::Disagreement {
                    error,
                    allowed,
                    found: xstate_bv(image),
                },
                _ => SetXsaveError::kvm(error),
            }
        })
    }

    /// `KVM_SET_XSAVE` without a judgement of the library's, to hear the kernel's alone.
    ///
    /// # Errors
    /// KVM's; EINVAL for every reason there is.
    pub fn set_xsave_unjudged(&self, image: &[u8]) -> Result<(), Error> {
        self.set_unjudged(image, read_xfd(self.vcpu)?)
    }

    fn set_unjudged(&self, image: &[u8], xfd: ComponentSet) -> Result<(), Error> {
        let image = image.get(..self.len()).unwrap_or(image);
        let buffer = self.buffer(&without(image, xfd))?;
        // SAFETY: the kernel reads as many bytes as the vCPU's image has, and the buffer has as many as
        // the longest that a vCPU on this CPU can have (the type's comment).
        unsafe { self.vcpu.set_xsave2(&buffer) }
    }

    fn refuse_bytes_beyond(&self, image: &[u8]) -> Result<(), SetXsaveError> {
        let beyond = image.iter().zip(0..).skip(self.len());
        match beyond.into_iter().find(|(byte, _)| **byte != 0) {
            None => Ok(()),
            Some((&value, offset)) => Err(SetXsaveError::Beyond {
                offset,
                value,
                len: self.len(),
            }),
        }
    }

    /// A buffer for the kernel that begins with `image`, as long as the type's comment says.
    fn buffer(&self, image: &[u8]) -> Result<Xsave, Error> {
        let of_cpu = usize::try_from(self.host.enumeration().standard_len()).unwrap_or(0);
        buffer_of(image, self.len().max(of_cpu))
    }
}

/// `image`, and zeros up to `len` bytes or a little more; never less than 4096.
fn buffer_of(image: &[u8], len: usize) -> Result<Xsave, Error> {
    let mut words = image.chunks(WORD).map(word_of).chain(std::iter::repeat(0));
    let mut header = kvm_xsave::default();
    header.region.fill_with(|| words.next().unwrap_or(0));
    let no_memory = |_| Error::new(libc::ENOMEM);
    let mut buffer = Xsave::from_header(kvm_xsave2::from(header)).map_err(no_memory)?;
    let behind = len.saturating_sub(LEN_BEFORE_XSAVE2).div_ceil(WORD);
    for word in words.take(behind) {
        buffer.push(word).map_err(no_memory)?;
    }
    Ok(buffer)
}

/// Up to four bytes of an image as the kernel's word; what is missing reads 0.
fn word_of(bytes: &[u8]) -> u32 {
    let mut word = [0; WORD];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u32::from_ne_bytes(word)
}

fn bytes_of(buffer: &Xsave) -> Vec<u8> {
    let region = &buffer.as_fam_struct_ref().xsave.region;
    let words = region.iter().chain(buffer.as_slice());
    words.flat_map(|word| word.to_ne_bytes()).collect()
}

/// `image` with this XSTATE_BV, if it has room for one.
pub(crate) fn with_xstate_bv(mut image: Vec<u8>, xstate_bv: ComponentSet) -> Vec<u8> {
    if let Some(bytes) = image.get_mut(XSTATE_BV) {
        bytes.copy_from_slice(&xstate_bv.bits().to_le_bytes());
    }
    image
}

/// `image` with `components` taken out of XSTATE_BV.
pub(crate) fn without(image: &[u8], components: ComponentSet) -> Vec<u8> {
    with_xstate_bv(image.to_vec(), xstate_bv(image).difference(components))
}

/// Why a vCPU did not take an image.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SetXsaveError {
    /// The image breaks a rule; the kernel was not asked.
    Image(ImageError),
    /// Where the vCPU has no room the image has something.
    Beyond {
        /// Offset of the first such byte from byte 0 of the image.
        offset: usize,
        /// Its value.
        value: u8,
        /// Bytes of an image of this vCPU.
        len: usize,
    },
    /// The CPU's figures make no layout.
    Layout(LayoutError),
    /// The library accepts the image and the kernel answered EINVAL. One of them is wrong; please
    /// report both.
    Disagreement {
        /// The kernel's answer.
        error: Error,
        /// The image's XSTATE_BV.
        found: ComponentSet,
        /// The components the library allowed.
        allowed: ComponentSet,
    },
    /// KVM failed for a reason that is none of the image's.
    Kvm(SystemError),
}

impl SetXsaveError {
    fn kvm(error: Error) -> Self {
        Self::Kvm(SystemError::from_number(error.errno()))
    }
}

impl fmt::Display for SetXsaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Beyond { offset, value, len } => write!(
                f,
                "byte {offset} is {value:#x}, beyond the {len} bytes of the vCPU's image; allowed: 0"
            ),
            Self::Layout(error) => error.fmt(f),
            Self::Disagreement {
                error,
                found,
                allowed,
            } => write!(
                f,
                "the library accepts the image (it has {found}; allowed: {allowed}), the kernel answered {error}"
            ),
            Self::Kvm(error) => write!(f, "KVM answered {error}"),
        }
    }
}

impl std::error::Error for SetXsaveError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_image_and_then_zeros() {
        let image: Vec<u8> = (1..=251).cycle().take(11_007).collect();
        for (taken, len, expected) in [
            (0, 0, 4096),
            (100, 4096, 4096),
            (4096, 4097, 4100),
            (4099, 4096 + 3, 4100),
            (11_007, 11_008, 11_008),
            (2696, 11_008, 11_008),
        ] {
            let bytes = bytes_of(&buffer_of(&image[..taken], len).unwrap());
            assert_eq!(bytes.len(), expected);
            assert_eq!(bytes[..taken], image[..taken]);
            assert!(bytes[taken..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn what_xfd_disables_is_taken_out_of_xstate_bv_and_nothing_else() {
        let mut image = vec![0xff; 576];
        let dropped = without(&image, ComponentSet::TILES);
        image[514] = !0x06;
        assert_eq!(dropped, image);
        assert_eq!(without(&[7; 515], ComponentSet::TILES), [7; 515]);
    }
}
