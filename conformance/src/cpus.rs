//! Recorded CPUs, one of each kind that switches differently.
//!
//! The figures are those of the model's [`Profile`]s, dumps of real machines. Where a kind is older
//! than those, the leaves that its own CPUID would have are written down instead.

use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{ComponentSet, CpuidRegisters, Enumeration, Xcr0, Xss};
use fpstate_model::{ModelCpu, Profile, X87Pointers};

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
    source: Source,
}

/// Where a CPU's leaves come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Written down here.
    Written(&'static [Leaf]),
    /// As recorded.
    Profile(Profile),
    /// As recorded, but XSAVES and with it all supervisor components are hidden.
    WithoutXsaves(Profile),
}

/// FXSAVE and SSE, no XSAVE: as a Pentium III; no dump.
pub const FXSAVE_ONLY: RecordedCpu = RecordedCpu {
    name: "FXSAVE only",
    source: Source::Written(&[INTEL, leaf(1, 0, [0x6b1, 0, 0, 0x0383_fbff])]),
};

/// XSAVE and AVX without XSAVEOPT: as AMD family 15H, its LWP (component 62) left out; no dump. Without
/// leaf 80000008H it has no `XSaveErPtr` either, as that family.
pub const XSAVE_ONLY: RecordedCpu = RecordedCpu {
    name: "XSAVE without XSAVEOPT",
    source: Source::Written(&[
        AMD,
        leaf(1, 0, [0x0060_0f12, 0x0008_0800, 0x1e98_220b, 0x178b_fbff]),
        leaf(0xd, 0, [0x7, 0x340, 0x340, 0]),
        leaf(0xd, 2, [0x100, 0x240, 0, 0]),
    ]),
};

/// XSAVEOPT: a Xeon E5-4669 v3.
pub const HASWELL: RecordedCpu = RecordedCpu {
    name: "XSAVEOPT (Haswell)",
    source: Source::Profile(Profile::HASWELL_EP),
};

/// XSAVEC without XSAVES: Genoa as a hypervisor without supervisor state would show it.
pub const GENOA_WITHOUT_XSAVES: RecordedCpu = RecordedCpu {
    name: "XSAVEC (Genoa without XSAVES)",
    source: Source::WithoutXsaves(Profile::GENOA),
};

/// XSAVES with AVX-512, PKRU and CET: an EPYC 9654.
pub const GENOA: RecordedCpu = RecordedCpu {
    name: "XSAVES (Genoa)",
    source: Source::Profile(Profile::GENOA),
};

/// XSAVES with MPX, AVX-512, PKRU and PT: a Xeon Platinum 8160.
pub const SKYLAKE_SP: RecordedCpu = RecordedCpu {
    name: "XSAVES with MPX (Skylake-SP)",
    source: Source::Profile(Profile::SKYLAKE_SP),
};

/// XSAVES with AMX, XFD and CET: a Xeon w7-2475X.
pub const SAPPHIRE_RAPIDS: RecordedCpu = RecordedCpu {
    name: "XSAVES with AMX (Sapphire Rapids)",
    source: Source::Profile(Profile::SAPPHIRE_RAPIDS),
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
    /// The CPU of a profile.
    #[must_use]
    pub const fn of(profile: Profile) -> Self {
        Self {
            name: profile.name(),
            source: Source::Profile(profile),
        }
    }

    /// Its CPUID.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        match self.source {
            Source::Written(leaves) => leaves.to_vec(),
            Source::Profile(profile) => profile.leaves(),
            Source::WithoutXsaves(profile) => without_xsaves(profile.leaves()),
        }
    }

    /// Leaf 0DH as data.
    #[must_use]
    pub fn enumeration(&self) -> Enumeration {
        Enumeration::read(RecordedLeaves(&self.leaves()))
    }

    /// A CPU of this kind in software, as after RESET.
    #[must_use]
    pub fn model(&self) -> ModelCpu {
        ModelCpu::new(&self.leaves())
    }

    /// Whether it stores the x87 error pointers always.
    #[must_use]
    pub fn error_pointers(&self) -> ErrorPointers {
        match self.model().vendor_differences().x87_pointers {
            X87Pointers::Always => ErrorPointers::Kept,
            X87Pointers::WhileExceptionPending | X87Pointers::LeftAlone => {
                ErrorPointers::OnlyWithException
            }
        }
    }
}

fn without_xsaves(mut leaves: Vec<Leaf>) -> Vec<Leaf> {
    const XSAVES: u32 = 1 << 3;
    const SUPERVISOR: u32 = 1;
    leaves.retain(|(leaf, subleaf, registers)| {
        *leaf != 0xd || *subleaf < 2 || registers.ecx & SUPERVISOR == 0
    });
    for (leaf, subleaf, registers) in &mut leaves {
        if (*leaf, *subleaf) == (0xd, 1) {
            (registers.eax, registers.ecx) = (registers.eax & !XSAVES, 0);
        }
    }
    leaves
}

/// Every XCR0 that XSETBV accepts on `enumeration`'s CPU, in ascending order.
#[must_use]
pub fn legal_xcr0s(enumeration: &Enumeration) -> Vec<Xcr0> {
    let supported = enumeration.user_components();
    subsets(supported)
        .filter_map(|subset| Xcr0::new(subset, supported).ok())
        .collect()
}

/// Every IA32_XSS that WRMSR accepts on `enumeration`'s CPU, in ascending order; 0 where there is no
/// such register.
#[must_use]
pub fn legal_xsss(enumeration: &Enumeration) -> Vec<Xss> {
    let supported = enumeration.supervisor_components();
    subsets(supported)
        .filter_map(|subset| Xss::new(subset, supported).ok())
        .collect()
}

fn subsets(set: ComponentSet) -> impl Iterator<Item = ComponentSet> {
    let bits = set.bits();
    std::iter::successors(Some(0), move |&subset: &u64| {
        (subset != bits).then(|| subset.wrapping_sub(bits) & bits)
    })
    .map(ComponentSet::from_bits)
}

/// CET: the supervisor components that the tests enable where there are any.
pub const CET: ComponentSet = ComponentSet::EMPTY
    .with(fpstate_arch::Component::CetU)
    .with(fpstate_arch::Component::CetS);
