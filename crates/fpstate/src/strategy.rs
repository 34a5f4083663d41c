//! A way to switch, as a value with a name: the instruction that saves, and what is done to make less of
//! it necessary.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};

use crate::save_and_restore::SaveInstruction;

/// Whether a CPU tries plain moves before the instructions: microcode, not memory, is what the
/// instructions cost. Which components moves cover, and whether there are others at the moment, the
/// [`Processor`](fpstate_arch::Processor) finds out each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterMoves {
    /// Instructions alone.
    #[default]
    Never,
    /// Moves where they cover what is in use and what is to be restored.
    WhereCovered,
}

/// Which components the instruction that restores is asked for: its requested-feature bitmap.
///
/// Microcode takes time for each component that RFBM names, even where it is in its initial
/// configuration in the registers and in the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestoreMask {
    /// Every component that the CPU switches, as kernels do.
    Switched,
    /// Without those that are initial before and after: XSTATE_BV of the save just made tells of the
    /// registers, or XGETBV(1) where none was, and XSTATE_BV of the image of what is restored.
    #[default]
    InUse,
}

impl RestoreMask {
    /// What of `rfbm` has to be restored from an image with `xstate_bv`, if nothing is in use that
    /// `in_use` does not have. `told` are the components of which such a set says everything:
    /// [`Processor::told_by_xinuse`](fpstate_arch::Processor::told_by_xinuse).
    ///
    /// Below a component that is loaded none is left out but x87: Bochs 3.0 looks for what is loaded from
    /// a compacted image as if it had no room for what is not asked for (docs/surprises.md).
    #[inline]
    pub(crate) const fn narrowed(
        rfbm: ComponentSet,
        told: ComponentSet,
        in_use: ComponentSet,
        xstate_bv: ComponentSet,
    ) -> ComponentSet {
        let initial = told.difference(in_use.union(xstate_bv));
        let loaded = xstate_bv.intersection(rfbm);
        let left_out = initial.intersection(above(loaded).with(Component::X87));
        rfbm.difference(left_out)
    }
}

/// The components behind the last of `components`.
#[inline]
const fn above(components: ComponentSet) -> ComponentSet {
    match u64::MAX.checked_shr(components.bits().leading_zeros()) {
        Some(up_to_the_last) => ComponentSet::from_bits(!up_to_the_last),
        None => ComponentSet::from_bits(u64::MAX),
    }
}

/// How registers are saved and restored: an instruction and the one that restores for it, behind plain
/// moves or alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strategy {
    /// The instruction that saves, alone or where moves do not cover something.
    pub save: SaveInstruction,
    /// Whether moves are tried first.
    pub moves: RegisterMoves,
    /// What the instruction that restores is asked for.
    pub mask: RestoreMask,
}

impl Strategy {
    /// `save` and what restores for it, of what is in use.
    #[must_use]
    pub const fn alone(save: SaveInstruction) -> Self {
        Self {
            save,
            moves: RegisterMoves::Never,
            mask: RestoreMask::InUse,
        }
    }

    /// The same behind moves.
    #[must_use]
    pub const fn behind_moves(save: SaveInstruction) -> Self {
        Self {
            moves: RegisterMoves::WhereCovered,
            ..Self::alone(save)
        }
    }

    /// `save` and what restores for it, of every component that is switched: as Linux does.
    #[must_use]
    pub const fn of_all(save: SaveInstruction) -> Self {
        Self {
            mask: RestoreMask::Switched,
            ..Self::alone(save)
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.moves {
            RegisterMoves::Never => "",
            RegisterMoves::WhereCovered => "moves+",
        })?;
        f.write_str(match (self.mask, self.save) {
            (RestoreMask::InUse, _) | (_, SaveInstruction::Fxsave) => "",
            (RestoreMask::Switched, _) => "all+",
        })?;
        write!(f, "{}", self.save)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_initial_on_both_sides_and_behind_what_is_loaded() {
        // x87, AVX, opmask, ZMM_Hi256 and Hi16_ZMM of what an AVX-512 CPU with CET_U switches.
        const TOLD: u64 = 0xe5;
        for (in_use, xstate_bv, asked_for) in [
            (0x2, 0x2, 0x802),
            (0x0, 0x0, 0x802),
            (0x6, 0x2, 0x806),
            (0x2, 0x6, 0x806),
            (0x7, 0x2, 0x807),
            (0x2, 0x3, 0x803),
            (0x42, 0x2, 0x842),
            // Loaded: what is below stays, but for x87.
            (0x2, 0x42, 0x866),
            (0x2, 0x82, 0x8e6),
            (0x2, 0x802, 0x8e6),
            // Not asked for, so not loaded.
            (0x2, 0x20_0002, 0x802),
            (0xe7, 0x0, 0x8e7),
            (!0, 0x0, 0x8e7),
        ] {
            let [rfbm, told, in_use, xstate_bv] =
                [0x8e7, TOLD, in_use, xstate_bv].map(ComponentSet::from_bits);
            let found = RestoreMask::narrowed(rfbm, told, in_use, xstate_bv);
            assert_eq!(found.bits(), asked_for, "{in_use} {xstate_bv}");
        }
    }

    #[test]
    fn behind_the_last_of_none_are_all() {
        for (set, behind) in [(0, !0), (1, !1), (1 << 62 | 4, 1 << 63), (1 << 63, 0)] {
            assert_eq!(above(ComponentSet::from_bits(set)).bits(), behind);
        }
    }
}
