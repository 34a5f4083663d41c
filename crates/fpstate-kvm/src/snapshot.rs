//! A vCPU's extended state as it is stored and sent: the image, the registers that give it meaning,
//! and the CPU whose layout it has.

use fpstate_arch::{ComponentSet, XsaveHeader};

use crate::cpu_record::CpuRecord;
use crate::format_version::{FormatVersion, UnknownVersion};

/// The extended state of one vCPU.
///
/// It holds what `KVM_GET_XSAVE2`, `KVM_GET_XCRS` and three MSRs say. PKRU is in the image, and announced
/// there by `capture`. It does not hold the MSRs of shadow stacks (`IA32_U_CET`,
/// `IA32_PL3_SSP` and so on) and not a #NM that waits to be delivered: they travel in the VMM's list of
/// MSRs and in `KVM_GET_VCPU_EVENTS`.
///
/// It may come from a file or another machine, so nothing in it is believed before
/// [`check`](crate::check::check) or `restore` looked at it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VcpuExtendedState {
    // First: a reader must find out about another version before it reads on.
    version: FormatVersion,
    cpu: CpuRecord,
    xcr0: u64,
    xss: u64,
    xfd: u64,
    xfd_err: u64,
    xsave: Vec<u8>,
}

/// What a [`VcpuExtendedState`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The CPU whose layout the image has.
    pub cpu: CpuRecord,
    /// XCR0.
    pub xcr0: ComponentSet,
    /// IA32_XSS; empty where the guest has none.
    pub xss: ComponentSet,
    /// IA32_XFD; empty where the guest has none.
    pub xfd: ComponentSet,
    /// IA32_XFD_ERR; empty where the guest has none.
    pub xfd_err: ComponentSet,
    /// The image of `KVM_GET_XSAVE2`, standard format.
    pub xsave: Vec<u8>,
}

impl VcpuExtendedState {
    /// The snapshot of `parts`, which were kept by other means, in the current format.
    #[must_use]
    pub fn from_parts(parts: Parts) -> Self {
        Self {
            version: FormatVersion::CURRENT,
            cpu: parts.cpu,
            xcr0: parts.xcr0.bits(),
            xss: parts.xss.bits(),
            xfd: parts.xfd.bits(),
            xfd_err: parts.xfd_err.bits(),
            xsave: parts.xsave,
        }
    }

    /// The same for parts that were stored with the number of their format.
    ///
    /// # Errors
    /// [`UnknownVersion`].
    pub fn from_versioned_parts(version: u32, parts: Parts) -> Result<Self, UnknownVersion> {
        let version = FormatVersion::try_from(version)?;
        Ok(Self {
            version,
            ..Self::from_parts(parts)
        })
    }

    /// Its parts.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        Parts {
            xcr0: self.xcr0(),
            xss: self.xss(),
            xfd: self.xfd(),
            xfd_err: self.xfd_err(),
            cpu: self.cpu,
            xsave: self.xsave,
        }
    }

    /// The format it is written in.
    #[must_use]
    pub const fn version(&self) -> FormatVersion {
        self.version
    }

    /// The CPU whose layout the image has.
    #[must_use]
    pub const fn cpu(&self) -> &CpuRecord {
        &self.cpu
    }

    /// XCR0.
    #[must_use]
    pub const fn xcr0(&self) -> ComponentSet {
        ComponentSet::from_bits(self.xcr0)
    }

    /// IA32_XSS.
    #[must_use]
    pub const fn xss(&self) -> ComponentSet {
        ComponentSet::from_bits(self.xss)
    }

    /// IA32_XFD.
    #[must_use]
    pub const fn xfd(&self) -> ComponentSet {
        ComponentSet::from_bits(self.xfd)
    }

    /// IA32_XFD_ERR.
    #[must_use]
    pub const fn xfd_err(&self) -> ComponentSet {
        ComponentSet::from_bits(self.xfd_err)
    }

    /// The image: standard format, in the layout of [`cpu`](Self::cpu).
    #[must_use]
    pub fn xsave(&self) -> &[u8] {
        &self.xsave
    }

    /// XSTATE_BV of the image without what IA32_XFD disables, which is no state: the components that
    /// are not in their initial configuration. Empty where the image is too short for a header.
    #[must_use]
    pub fn live(&self) -> ComponentSet {
        xstate_bv(&self.xsave).difference(self.xfd())
    }
}

/// XSTATE_BV of an image; empty where it is too short for a header.
pub(crate) fn xstate_bv(image: &[u8]) -> ComponentSet {
    image
        .get(512..)
        .and_then(<[u8]>::first_chunk)
        .map_or(ComponentSet::EMPTY, |header| {
            XsaveHeader::from_bytes(header).xstate_bv
        })
}
