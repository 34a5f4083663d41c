//! Which instructions a CPU switches with, chosen from CPUID at run time.

use fpstate_arch::component::ComponentSet;
use fpstate_arch::enumeration::{Enumeration, Instruction};
use fpstate_arch::error_pointers::ErrorPointers;
use fpstate_arch::xsave_header::Format;

use crate::layout::{Layout, LayoutError};
use crate::save_and_restore::{RestoreInstruction, SaveInstruction};
use crate::strategy::{RegisterMoves, RestoreMask, Strategy};

/// What tells which components are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ToldBy {
    /// XGETBV(1), at any time.
    Xgetbv,
    /// XSTATE_BV, right after a save.
    Saves,
}

impl ToldBy {
    const fn on(enumeration: &Enumeration) -> Self {
        if enumeration.has(Instruction::XgetbvInUse) {
            Self::Xgetbv
        } else {
            Self::Saves
        }
    }
}

/// The pair of instructions a CPU switches with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SwitchInstructions {
    save: SaveInstruction,
    moves: RegisterMoves,
    mask: RestoreMask,
    told_by: ToldBy,
    xfd: bool,
    /// Components that somebody else keeps disabled, or switches.
    withheld: ComponentSet,
    /// Components that only guests' states have.
    guest_only: ComponentSet,
    error_pointers: ErrorPointers,
}

impl SwitchInstructions {
    /// The best pair in ring 0: XSAVES, else what [`for_user_mode`](Self::for_user_mode) takes.
    #[must_use]
    #[inline]
    pub const fn for_ring0(enumeration: &Enumeration) -> Self {
        Self {
            save: if enumeration.has(Instruction::Xsaves) {
                SaveInstruction::Xsaves
            } else {
                Self::best_without_xsaves(enumeration)
            },
            moves: RegisterMoves::Never,
            mask: RestoreMask::InUse,
            told_by: ToldBy::on(enumeration),
            xfd: enumeration.has(Instruction::Xfd),
            withheld: ComponentSet::EMPTY,
            guest_only: ComponentSet::EMPTY,
            error_pointers: enumeration.error_pointers(),
        }
    }

    /// FXSAVE and FXRSTOR: the pair of a CPU on which XSAVE must not be used, though it may be
    /// there. CR4.OSXSAVE stays 0.
    #[must_use]
    #[inline]
    pub const fn fxsave_only(enumeration: &Enumeration) -> Self {
        Self {
            save: SaveInstruction::Fxsave,
            moves: RegisterMoves::Never,
            mask: RestoreMask::InUse,
            told_by: ToldBy::on(enumeration),
            xfd: false,
            withheld: ComponentSet::EMPTY,
            guest_only: ComponentSet::EMPTY,
            error_pointers: enumeration.error_pointers(),
        }
    }

    /// The same pair; `withheld` is not switched, `guest_only` is switched for guests alone.
    #[must_use]
    pub(crate) const fn with_roles(self, withheld: ComponentSet, guest_only: ComponentSet) -> Self {
        Self {
            withheld,
            guest_only,
            ..self
        }
    }

    /// The best pair at CPL 3: XSAVEC, XSAVEOPT, XSAVE, FXSAVE. IA32_XFD cannot be reached there:
    /// components that it can disable are not switched, because the operating system keeps them
    /// disabled until the process asks for them.
    #[must_use]
    pub fn for_user_mode(enumeration: &Enumeration) -> Self {
        let save = Self::best_without_xsaves(enumeration);
        Self {
            save,
            moves: RegisterMoves::Never,
            mask: RestoreMask::InUse,
            told_by: ToldBy::on(enumeration),
            xfd: false,
            withheld: enumeration.xfd_components(),
            guest_only: ComponentSet::EMPTY,
            error_pointers: enumeration.error_pointers(),
        }
    }

    const fn best_without_xsaves(enumeration: &Enumeration) -> SaveInstruction {
        // A CPU with AVX-512 has XSAVEC; if it does not say so, something hides it, and on one such
        // CPU XSAVEOPT announces stale bytes as AVX (docs/surprises.md). XSAVE cannot.
        let avx512 = enumeration
            .user_components()
            .intersects(ComponentSet::AVX512);
        if enumeration.has(Instruction::Xsavec) {
            SaveInstruction::Xsavec
        } else if enumeration.has(Instruction::Xsaveopt) && !avx512 {
            SaveInstruction::Xsaveopt
        } else if enumeration.has(Instruction::Xsave) {
            SaveInstruction::Xsave
        } else {
            SaveInstruction::Fxsave
        }
    }

    /// The same pair, behind plain moves or not. They are never tried with FXSAVE, nor where a restore
    /// leaves FIP, FDP and FOP alone (what is in use says nothing of these).
    #[must_use]
    pub const fn with_moves(self, moves: RegisterMoves) -> Self {
        let possible = !matches!(self.save, SaveInstruction::Fxsave)
            && matches!(self.error_pointers, ErrorPointers::Restored);
        Self {
            moves: if possible {
                moves
            } else {
                RegisterMoves::Never
            },
            ..self
        }
    }

    /// The same pair, the one that restores being asked for what `mask` says. FXRSTOR has no mask.
    #[must_use]
    pub const fn with_mask(self, mask: RestoreMask) -> Self {
        let mask = match self.save {
            SaveInstruction::Fxsave => RestoreMask::InUse,
            SaveInstruction::Xsave
            | SaveInstruction::Xsaveopt
            | SaveInstruction::Xsavec
            | SaveInstruction::Xsaves => mask,
        };
        Self { mask, ..self }
    }

    /// Another save instruction, and the restore for it, in place of the best: for a caller that
    /// measured, or that wants a certain one.
    ///
    /// # Errors
    /// [`NotThisInstruction`]: the CPU does not have it, or it is out of reach where the pair was
    /// chosen for.
    pub const fn with_save(
        self,
        enumeration: &Enumeration,
        save: SaveInstruction,
    ) -> Result<Self, NotThisInstruction> {
        let found = match save {
            SaveInstruction::Fxsave => true,
            SaveInstruction::Xsave => enumeration.has(Instruction::Xsave),
            SaveInstruction::Xsaveopt => enumeration.has(Instruction::Xsaveopt),
            SaveInstruction::Xsavec => enumeration.has(Instruction::Xsavec),
            SaveInstruction::Xsaves => self.reaches_xss(),
        };
        // XSAVEOPT: see `best_without_xsaves`. XFD and supervisor components need XSAVES or a CPU
        // without: what only XSAVES saves would be lost.
        let avx512 = enumeration
            .user_components()
            .intersects(ComponentSet::AVX512);
        let trusted = !(matches!(save, SaveInstruction::Xsaveopt) && avx512);
        if found && trusted {
            let pair = Self { save, ..self };
            Ok(pair.with_moves(self.moves).with_mask(self.mask))
        } else {
            Err(NotThisInstruction {
                save,
                best: self.save,
            })
        }
    }

    /// The instruction and the moves, without what else is known of the CPU.
    #[must_use]
    pub const fn strategy(self) -> Strategy {
        let Self {
            save, moves, mask, ..
        } = self;
        Strategy { save, moves, mask }
    }

    /// What the instruction that restores is asked for.
    #[must_use]
    #[inline]
    pub const fn mask(self) -> RestoreMask {
        self.mask
    }

    /// What tells which components are in use.
    #[inline]
    pub(crate) const fn told_by(self) -> ToldBy {
        self.told_by
    }

    /// Whether plain moves are tried first.
    #[must_use]
    #[inline]
    pub const fn moves(self) -> RegisterMoves {
        self.moves
    }

    /// The same pair; IA32_XFD is left alone, because nothing is on demand.
    #[must_use]
    pub(crate) const fn without_xfd(self) -> Self {
        Self { xfd: false, ..self }
    }

    /// What the instruction that restores does with FIP, FDP and FOP.
    #[must_use]
    #[inline]
    pub const fn error_pointers(self) -> ErrorPointers {
        self.error_pointers
    }

    /// The instruction that saves.
    #[must_use]
    #[inline]
    pub const fn save(self) -> SaveInstruction {
        self.save
    }

    /// The instruction that restores what [`save`](Self::save) wrote.
    #[must_use]
    #[inline]
    pub const fn restore(self) -> RestoreInstruction {
        match self.save {
            SaveInstruction::Fxsave => RestoreInstruction::Fxrstor,
            SaveInstruction::Xsave | SaveInstruction::Xsaveopt | SaveInstruction::Xsavec => {
                RestoreInstruction::Xrstor
            }
            SaveInstruction::Xsaves => RestoreInstruction::Xrstors,
        }
    }

    /// Components in XCR0 or IA32_XSS that are not switched: whoever keeps them disabled, or
    /// switches them, is somebody else.
    #[must_use]
    #[inline]
    pub const fn withheld(self) -> ComponentSet {
        self.withheld
    }

    /// Components in IA32_XSS that are a guest's and never a thread's: guests' states have room for
    /// them, and while a thread runs they are in their initial configuration.
    #[must_use]
    #[inline]
    pub const fn guest_only(self) -> ComponentSet {
        self.guest_only
    }

    /// Whether IA32_XSS is there and in reach.
    #[must_use]
    #[inline]
    pub const fn reaches_xss(self) -> bool {
        match self.save {
            SaveInstruction::Xsaves => true,
            SaveInstruction::Fxsave
            | SaveInstruction::Xsave
            | SaveInstruction::Xsaveopt
            | SaveInstruction::Xsavec => false,
        }
    }

    /// Whether IA32_XFD is there and in reach.
    #[must_use]
    #[inline]
    pub const fn has_xfd(self) -> bool {
        self.xfd
    }
}

/// A save instruction was asked for that the CPU lacks, that its ring cannot execute, or that is not
/// to be trusted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotThisInstruction {
    /// The one asked for.
    pub save: SaveInstruction,
    /// The best one there.
    pub best: SaveInstruction,
}

impl core::fmt::Display for NotThisInstruction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { save, best } = self;
        write!(f, "{save} cannot be used here; the best that can is {best}")
    }
}

impl core::error::Error for NotThisInstruction {}

impl<'e> Layout<'e> {
    /// The layout of the areas that `instructions` write, with room for `components`.
    ///
    /// # Errors
    /// As the constructor for the format; FXSAVE has room for x87 and SSE only.
    pub fn for_instructions(
        enumeration: &'e Enumeration,
        instructions: SwitchInstructions,
        components: ComponentSet,
    ) -> Result<Self, LayoutError> {
        match instructions.save().format() {
            Format::Standard => Self::standard(enumeration, components),
            Format::Compacted => Self::compacted(enumeration, components),
            Format::Fxsave => {
                let missing = components.difference(ComponentSet::LEGACY);
                if missing.is_empty() {
                    Self::fxsave(enumeration)
                } else {
                    Err(LayoutError::NotEnumerated { missing })
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use fpstate_arch::cpuid::CpuidRegisters;
    use std::string::ToString;

    fn cpu(xsave: u32, sub_leaf_1: u32) -> Enumeration {
        Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: xsave << 26,
                edx: 1 << 24,
                ..Default::default()
            },
            (0xd, 0) => CpuidRegisters {
                eax: 3,
                ..Default::default()
            },
            (0xd, 1) => CpuidRegisters {
                eax: sub_leaf_1,
                ..Default::default()
            },
            _ => CpuidRegisters::default(),
        })
    }

    #[test]
    fn the_newest_instruction_the_cpu_and_the_ring_have_is_chosen() {
        use SaveInstruction::{Fxsave, Xsave, Xsavec, Xsaveopt, Xsaves};
        for (xsave, sub_leaf_1, ring0, user) in [
            (0, 0x0, Fxsave, Fxsave),
            (1, 0x0, Xsave, Xsave),
            (1, 0x1, Xsaveopt, Xsaveopt),
            (1, 0x7, Xsavec, Xsavec),
            (1, 0xf, Xsaves, Xsavec),
        ] {
            let cpu = cpu(xsave, sub_leaf_1);
            assert_eq!(SwitchInstructions::for_ring0(&cpu).save(), ring0);
            assert_eq!(SwitchInstructions::for_user_mode(&cpu).save(), user);
        }
    }

    #[test]
    fn xsaveopt_is_not_chosen_where_avx512_says_that_xsavec_is_hidden() {
        let masked = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: 1 << 26,
                ..Default::default()
            },
            (0xd, 0) => CpuidRegisters {
                eax: 0xe7,
                ..Default::default()
            },
            (0xd, 1) => CpuidRegisters {
                eax: 0x1,
                ..Default::default()
            },
            _ => CpuidRegisters::default(),
        });
        assert_eq!(
            SwitchInstructions::for_ring0(&masked).save(),
            SaveInstruction::Xsave
        );
    }

    #[test]
    fn where_xsave_must_not_be_used_only_the_legacy_pair_is_left() {
        let instructions = SwitchInstructions::fxsave_only(&cpu(1, 0x1f));
        assert_eq!(instructions.save(), SaveInstruction::Fxsave);
        assert_eq!(instructions.restore(), RestoreInstruction::Fxrstor);
        assert!(!instructions.has_xfd() && !instructions.reaches_xss());
    }

    #[test]
    fn roles_change_what_is_switched_and_not_the_instructions() {
        let (lbr, cet_s) = (
            ComponentSet::from_bits(1 << 15),
            ComponentSet::from_bits(1 << 12),
        );
        let plain = SwitchInstructions::for_ring0(&cpu(1, 0xf));
        assert_eq!((plain.withheld(), plain.guest_only()), Default::default());
        let with_roles = plain.with_roles(lbr, cet_s);
        assert_eq!(
            (with_roles.withheld(), with_roles.guest_only()),
            (lbr, cet_s)
        );
        assert_eq!(with_roles.save(), plain.save());
    }

    #[test]
    fn xfd_is_out_of_reach_in_user_mode() {
        let cpu = cpu(1, 0x1f);
        assert!(SwitchInstructions::for_ring0(&cpu).has_xfd());
        assert!(!SwitchInstructions::for_user_mode(&cpu).has_xfd());
    }

    #[test]
    fn moves_are_tried_with_xsave_and_where_a_restore_leaves_no_error_pointers() {
        use RegisterMoves::{Never, WhereCovered};
        // AMD without XSaveErPtr, CPUID.80000008H:EBX[2] (APM 2, 11.5).
        let amd = |xsave: u32| {
            Enumeration::read(move |leaf, subleaf| match (leaf, subleaf) {
                (0, _) => CpuidRegisters {
                    ebx: u32::from_le_bytes(*b"Auth"),
                    ..Default::default()
                },
                (1, _) => CpuidRegisters {
                    ecx: xsave << 26,
                    edx: 1 << 24,
                    ..Default::default()
                },
                (0xd, 0) => CpuidRegisters {
                    eax: 3,
                    ..Default::default()
                },
                _ => CpuidRegisters::default(),
            })
        };
        for (cpu, possible) in [
            (cpu(1, 0), WhereCovered),
            (cpu(0, 0), Never),
            (amd(1), Never),
            (amd(0), Never),
        ] {
            let instructions = SwitchInstructions::for_ring0(&cpu);
            assert_eq!(instructions.with_moves(WhereCovered).moves(), possible);
            assert_eq!(instructions.with_moves(Never).moves(), Never);
        }
    }

    #[test]
    fn an_instruction_that_cannot_be_used_is_named_beside_the_best_that_can() {
        let cpu = cpu(1, 0x7);
        let refused = SwitchInstructions::for_ring0(&cpu).with_save(&cpu, SaveInstruction::Xsaves);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "XSAVES cannot be used here; the best that can is XSAVEC"
        );
    }

    #[test]
    fn each_instruction_is_shown_as_the_manual_writes_it() {
        for (shown, sentence) in [
            (SaveInstruction::Fxsave.to_string(), "FXSAVE"),
            (SaveInstruction::Xsave.to_string(), "XSAVE"),
            (SaveInstruction::Xsaveopt.to_string(), "XSAVEOPT"),
            (SaveInstruction::Xsavec.to_string(), "XSAVEC"),
            (SaveInstruction::Xsaves.to_string(), "XSAVES"),
            (RestoreInstruction::Fxrstor.to_string(), "FXRSTOR"),
            (RestoreInstruction::Xrstor.to_string(), "XRSTOR"),
            (RestoreInstruction::Xrstors.to_string(), "XRSTORS"),
        ] {
            assert_eq!(shown, sentence);
        }
    }
}
