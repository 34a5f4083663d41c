//! Recorded CPUs, one of each kind that switches differently.
//!
//! The figures are those of CPUID register dumps of real machines; the dump is named in parentheses.
//! Where a kind is older than the dumps, the leaves that its own CPUID would have are written down
//! instead.

use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{ComponentSet, CpuidRegisters, Enumeration};
use fpstate_model::{ModelCpu, X87Pointers};

use crate::generators::ErrorPointers;

/// `(leaf, sub-leaf, registers)`.
pub type Leaf = (u32, u32, CpuidRegisters);

const fn leaf(leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
    (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
}

const INTEL: Leaf = leaf(0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]);
const AMD: Leaf = leaf(0, 0, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65]);

/// A kind of CPU.
#[derive(Clone, Copy, Debug)]
pub struct RecordedCpu {
    /// What it is, for failure messages.
    pub name: &'static str,
    /// Its CPUID.
    pub leaves: &'static [Leaf],
}

/// FXSAVE and SSE, no XSAVE: as a Pentium III; no dump.
pub const FXSAVE_ONLY: RecordedCpu = RecordedCpu {
    name: "FXSAVE only",
    leaves: &[INTEL, leaf(1, 0, [0x6b1, 0, 0, 0x0383_fbff])],
};

/// XSAVE and AVX without XSAVEOPT: as AMD family 15H, its LWP (component 62) left out; no dump.
pub const XSAVE_ONLY: RecordedCpu = RecordedCpu {
    name: "XSAVE without XSAVEOPT",
    leaves: &[
        AMD,
        leaf(1, 0, [0x0060_0f12, 0x0008_0800, 0x1e98_220b, 0x178b_fbff]),
        leaf(0xd, 0, [0x7, 0x340, 0x340, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
    ],
};

/// XSAVEOPT: a Xeon E5-4669 v3 (haswell-ep).
pub const HASWELL: RecordedCpu = RecordedCpu {
    name: "XSAVEOPT (Haswell)",
    leaves: &[
        INTEL,
        leaf(1, 0, [0x0003_06f2, 0x0040_0800, 0x7ffe_fbff, 0xbfeb_fbff]),
        leaf(0xd, 0, [0x7, 0x340, 0x340, 0]),
        leaf(0xd, 1, [0x1, 0, 0, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
    ],
};

/// XSAVEC without XSAVES: Genoa (genoa) as a hypervisor without supervisor state would show it.
pub const GENOA_WITHOUT_XSAVES: RecordedCpu = RecordedCpu {
    name: "XSAVEC (Genoa without XSAVES)",
    leaves: &[
        AMD,
        leaf(1, 0, [0x00a1_0f11, 0x00c0_0800, 0x7efa_320b, 0x178b_fbff]),
        leaf(0xd, 0, [0x2e7, 0x980, 0x988, 0]),
        leaf(0xd, 1, [0x7, 0x988, 0, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
        leaf(0xd, 5, [0x40, 0x340, 0, 0]),
        leaf(0xd, 6, [0x200, 0x380, 0, 0]),
        leaf(0xd, 7, [0x400, 0x580, 0, 0]),
        leaf(0xd, 9, [0x8, 0x980, 0, 0]),
    ],
};

/// XSAVES with AVX-512, PKRU and CET: an EPYC 9654 (genoa).
pub const GENOA: RecordedCpu = RecordedCpu {
    name: "XSAVES (Genoa)",
    leaves: &[
        AMD,
        leaf(1, 0, [0x00a1_0f11, 0x00c0_0800, 0x7efa_320b, 0x178b_fbff]),
        leaf(0xd, 0, [0x2e7, 0x980, 0x988, 0]),
        leaf(0xd, 1, [0xf, 0x990, 0x1800, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
        leaf(0xd, 5, [0x40, 0x340, 0, 0]),
        leaf(0xd, 6, [0x200, 0x380, 0, 0]),
        leaf(0xd, 7, [0x400, 0x580, 0, 0]),
        leaf(0xd, 9, [0x8, 0x980, 0, 0]),
        leaf(0xd, 11, [0x10, 0, 1, 0]),
        leaf(0xd, 12, [0x18, 0, 1, 0]),
    ],
};

/// XSAVES with MPX, AVX-512, PKRU and PT: a Xeon Platinum 8160 (skylake-sp).
pub const SKYLAKE_SP: RecordedCpu = RecordedCpu {
    name: "XSAVES with MPX (Skylake-SP)",
    leaves: &[
        INTEL,
        leaf(1, 0, [0x0005_0654, 0x0040_0800, 0x7ffe_fbff, 0xbfeb_fbff]),
        leaf(0xd, 0, [0x2ff, 0xa80, 0xa88, 0]),
        leaf(0xd, 1, [0xf, 0xa80, 0x100, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
        leaf(0xd, 3, [0x40, 0x3c0, 0, 0]),
        leaf(0xd, 4, [0x40, 0x400, 0, 0]),
        leaf(0xd, 5, [0x40, 0x440, 0, 0]),
        leaf(0xd, 6, [0x200, 0x480, 0, 0]),
        leaf(0xd, 7, [0x400, 0x680, 0, 0]),
        leaf(0xd, 8, [0x80, 0, 1, 0]),
        leaf(0xd, 9, [0x8, 0xa80, 0, 0]),
    ],
};

/// XSAVES with AMX, XFD and CET: a Xeon w7-2475X (sapphire-rapids).
pub const SAPPHIRE_RAPIDS: RecordedCpu = RecordedCpu {
    name: "XSAVES with AMX (Sapphire Rapids)",
    leaves: &[
        INTEL,
        leaf(1, 0, [0x0008_06f8, 0x0080_0800, 0x7ffe_fbff, 0xbfeb_fbff]),
        leaf(0xd, 0, [0x602e7, 0x2b00, 0x2b00, 0]),
        leaf(0xd, 1, [0x1f, 0x2a80, 0xdd00, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
        leaf(0xd, 5, [0x40, 0x440, 0, 0]),
        leaf(0xd, 6, [0x200, 0x480, 0, 0]),
        leaf(0xd, 7, [0x400, 0x680, 0, 0]),
        leaf(0xd, 8, [0x80, 0, 1, 0]),
        leaf(0xd, 9, [0x8, 0xa80, 0, 0]),
        leaf(0xd, 10, [0x8, 0, 1, 0]),
        leaf(0xd, 11, [0x10, 0, 1, 0]),
        leaf(0xd, 12, [0x18, 0, 1, 0]),
        leaf(0xd, 14, [0x30, 0, 1, 0]),
        leaf(0xd, 15, [0x328, 0, 1, 0]),
        leaf(0xd, 17, [0x40, 0xac0, 2, 0]),
        leaf(0xd, 18, [0x2000, 0xb00, 6, 0]),
    ],
};

/// Every kind.
pub const ALL: [RecordedCpu; 7] = [
    FXSAVE_ONLY,
    XSAVE_ONLY,
    HASWELL,
    GENOA_WITHOUT_XSAVES,
    GENOA,
    SKYLAKE_SP,
    SAPPHIRE_RAPIDS,
];

/// Every kind with XSAVE.
#[must_use]
pub fn with_xsave() -> &'static [RecordedCpu] {
    const { ALL.split_first().unwrap().1 }
}

impl RecordedCpu {
    /// Leaf 0DH as data.
    #[must_use]
    pub fn enumeration(&self) -> Enumeration {
        Enumeration::read(RecordedLeaves(self.leaves))
    }

    /// A CPU of this kind in software, as after RESET.
    #[must_use]
    pub fn model(&self) -> ModelCpu {
        ModelCpu::new(self.leaves)
    }

    /// Whether it stores the x87 error pointers always.
    #[must_use]
    pub fn error_pointers(&self) -> ErrorPointers {
        let differences = if self.leaves.contains(&AMD) {
            fpstate_model::VendorDifferences::AMD
        } else {
            fpstate_model::VendorDifferences::INTEL
        };
        match differences.x87_pointers {
            X87Pointers::Always => ErrorPointers::Kept,
            X87Pointers::WhileExceptionPending => ErrorPointers::OnlyWithException,
        }
    }
}

/// CET: the supervisor components that the tests enable where there are any.
pub const CET: ComponentSet = ComponentSet::EMPTY
    .with(fpstate_arch::Component::CetU)
    .with(fpstate_arch::Component::CetS);
