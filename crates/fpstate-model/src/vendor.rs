//! Where processors that all follow the architecture differ, each difference with a name.

use fpstate_arch::Fault;

/// How a processor finds XINUSE\[i\] (SDM 1, 13.6 leaves it open for a component that is in its
/// initial configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InUseTracking {
    /// 1 from the first write, or from a restore with XSTATE_BV\[i\] = 1 whatever the value, until
    /// an instruction initialises the component: the SDM's description of XRSTOR.
    SinceWritten,
    /// 1 exactly while the component is not in its initial configuration. Seen on Zen 4: after an
    /// XRSTOR of zeros with XSTATE_BV\[i\] = 1, or VXORPS of the one YMM register in use,
    /// XGETBV(1) has bit i clear. XINUSE\[1\] is no exception.
    ByContents,
}

/// When FIP, FDP and FOP are saved and restored. An x87 that becomes initial, by FNINIT or because
/// XSTATE_BV\[0\] is 0, loses them in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum X87Pointers {
    /// By every save and restore.
    Always,
    /// Only while an unmasked exception is pending; otherwise they are stored and restored as 0.
    /// AMD with CPUID.80000008H:EBX\[2\]; seen on Zen 4 for XSAVE and FXSAVE.
    WhileExceptionPending,
    /// Only while an unmasked exception is pending; otherwise a save does not write the three
    /// fields and a restore leaves the registers as they were, so one thread sees where another
    /// executed x87 instructions (CVE-2006-1056). AMD without CPUID.80000008H:EBX\[2\] (AMD APM, FXSAVE
    /// and FXRSTOR); not seen.
    LeftAlone,
}

/// How many bits of FIP and FDP a restore loads; the manual gives both fields 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum X87PointerWidth {
    /// All 64.
    Whole,
    /// The low 57, sign-extended: a linear address of five-level paging, whether that is enabled or
    /// not. Seen on Zen 4 for XRSTOR and FXRSTOR.
    LinearAddress57,
    /// The low 48, sign-extended; not seen yet.
    LinearAddress48,
}

impl X87PointerWidth {
    /// What becomes of `pointer` on its way through the register.
    #[must_use]
    pub(crate) fn held(self, pointer: u64) -> u64 {
        let unused = match self {
            Self::Whole => 0,
            Self::LinearAddress57 => 64 - 57,
            Self::LinearAddress48 => 64 - 48,
        };
        let sign_extended = pointer
            .wrapping_shl(unused)
            .cast_signed()
            .wrapping_shr(unused);
        sign_extended.cast_unsigned()
    }
}

/// What XGETBV with ECX = 1 says of SSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportedInUse {
    /// XINUSE\[1\], which is about the XMM registers alone: the SDM's description.
    Xinuse,
    /// 1 also if MXCSR is not 1F80H, the rule by which XSAVEC decides whether to save SSE. Seen on
    /// Zen 4, where XSAVE writes XSTATE_BV\[1\] = 0 in the same state.
    XinuseOrMxcsr,
}

/// What an #NM by IA32_XFD does to IA32_XFD_ERR. Software that clears the register whenever it handles
/// one is right under both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XfdErrUpdate {
    /// It is loaded with IA32_XFD AND the components that the instruction needs: SDM 1, 13.14.
    Loaded,
    /// The same bits are set and others stay. Not what the manual says, and not seen yet.
    Accumulated,
}

/// Which misaligned areas a processor answers with #AC while alignment checking is on; all others
/// get #GP(0). SDM 2, XSAVE and FXSAVE, "#AC": signalling it is not guaranteed, and the width of the
/// check may vary. Not part of [`VendorDifferences`], because no processor was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlignmentCheckWidth {
    /// None: always #GP(0).
    Never,
    /// Those at odd addresses.
    Bytes2,
    /// Those not at a multiple of 4.
    Bytes4,
    /// Those not at a multiple of 8.
    Bytes8,
    /// Those not at a multiple of 16; for FXSAVE and FXRSTOR this is every misaligned area.
    Bytes16,
    /// Every misaligned area.
    Operand,
}

impl AlignmentCheckWidth {
    /// What an area at `address`, which is misaligned, gets.
    pub(crate) const fn fault_at(self, address: usize) -> Fault {
        let within_width = match self {
            Self::Never => true,
            Self::Bytes2 => address.is_multiple_of(2),
            Self::Bytes4 => address.is_multiple_of(4),
            Self::Bytes8 => address.is_multiple_of(8),
            Self::Bytes16 => address.is_multiple_of(16),
            Self::Operand => false,
        };
        if within_width {
            Fault::GeneralProtection
        } else {
            Fault::AlignmentCheck
        }
    }
}

/// The differences of one vendor's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VendorDifferences {
    /// How XINUSE is found.
    pub in_use: InUseTracking,
    /// What XGETBV(1) reports.
    pub reported_in_use: ReportedInUse,
    /// When the x87 error pointers are stored.
    pub x87_pointers: X87Pointers,
    /// How wide they are.
    pub x87_pointer_width: X87PointerWidth,
    /// What IA32_XFD_ERR becomes.
    pub xfd_err_update: XfdErrUpdate,
    /// MXCSR_MASK, and with it the reserved bits of MXCSR.
    pub mxcsr_mask: u32,
}

impl VendorDifferences {
    /// What the SDM describes.
    pub const INTEL: Self = Self {
        in_use: InUseTracking::SinceWritten,
        reported_in_use: ReportedInUse::Xinuse,
        x87_pointers: X87Pointers::Always,
        x87_pointer_width: X87PointerWidth::Whole,
        xfd_err_update: XfdErrUpdate::Loaded,
        mxcsr_mask: 0xffff,
    };
    /// As seen on Zen 4 (family 19H, model 11H). MXCSR\[17\] is the misaligned exception mask.
    pub const AMD: Self = Self {
        in_use: InUseTracking::ByContents,
        reported_in_use: ReportedInUse::XinuseOrMxcsr,
        x87_pointers: X87Pointers::WhileExceptionPending,
        x87_pointer_width: X87PointerWidth::LinearAddress57,
        xfd_err_update: XfdErrUpdate::Loaded,
        mxcsr_mask: 0x2_ffff,
    };
}
