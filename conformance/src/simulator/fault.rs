//! What is broken on purpose, by name: a check that cannot fail is worth nothing.

use fpstate_arch::Component;

use crate::broken::Defect;
use crate::growth_world::GrowthNegligence;

/// What a kernel or its processors do wrong.
///
/// A defect of a processor is one of every instruction of its kind: one of every seventh would be
/// another one's after the first action was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    name: &'static str,
    /// The kernel's.
    pub negligence: GrowthNegligence,
    /// The processors'.
    pub defect: Defect,
}

impl Fault {
    /// Nothing is wrong.
    pub const NONE: Self = Self::of_kernel("none", GrowthNegligence::None);

    /// Everything that can be.
    pub const ALL: &'static [Self] = &[
        Self::of_kernel("loses-former-memory", GrowthNegligence::LosesFormerMemory),
        Self::of_kernel(
            "returns-former-memory-twice",
            GrowthNegligence::ReturnsFormerMemoryTwice,
        ),
        Self::of_kernel(
            "forgets-supervisor-state",
            GrowthNegligence::ForgetsSupervisorState,
        ),
        Self::of_kernel("enables-without-room", GrowthNegligence::EnablesWithoutRoom),
        Self::of_kernel(
            "grows-without-permission",
            GrowthNegligence::GrowsWithoutPermission,
        ),
        Self::of_kernel(
            "keeps-expansion-at-exec",
            GrowthNegligence::KeepsExpansionAtExec,
        ),
        Self::of_kernel("wakes-without-resume", GrowthNegligence::WakesWithoutResume),
        Self::of_processors("skips-saves", Defect::SkipsSaves(1)),
        Self::of_processors("skips-restores", Defect::SkipsRestores(1)),
        Self::of_processors(
            "restores-only-what-the-area-has",
            Defect::RestoresOnlyWhatTheAreaHas,
        ),
        Self::of_processors("saves-without-avx", Defect::SavesWithout(Component::Avx)),
        Self::of_processors(
            "saves-without-tile-data",
            Defect::SavesWithout(Component::TileData),
        ),
        Self::of_processors(
            "restores-without-avx",
            Defect::RestoresWithout(Component::Avx),
        ),
        Self::of_processors(
            "restores-without-tile-data",
            Defect::RestoresWithout(Component::TileData),
        ),
        Self::of_processors(
            "restores-the-previous-image",
            Defect::RestoresThePreviousImage(1),
        ),
        Self::of_processors("keeps-mxcsr", Defect::KeepsMxcsr),
        Self::of_processors("forgets-xcomp-bv", Defect::ForgetsXcompBv),
        Self::of_processors("loses-xfd-writes", Defect::LosesXfdWrites(1)),
    ];

    const fn of_kernel(name: &'static str, negligence: GrowthNegligence) -> Self {
        Self {
            name,
            negligence,
            defect: Defect::None,
        }
    }

    const fn of_processors(name: &'static str, defect: Defect) -> Self {
        Self {
            name,
            negligence: GrowthNegligence::None,
            defect,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The fault with this name, `none` among them.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().chain([&Self::NONE]);
        all.find(|fault| fault.name == name).copied()
    }
}
