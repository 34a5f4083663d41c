//! Registers to memory and back, in the way that a CPU switches.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::error_pointers::ErrorPointers;
use fpstate_arch::fault::Fault;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::moved::{MOVABLE, Moved};
use fpstate_arch::processor::Processor;
use fpstate_arch::xsave_header::XsaveHeader;

use crate::instructions::{SwitchInstructions, ToldBy};
use crate::save_and_restore::SaveInstruction;
use crate::strategy::{RegisterMoves, RestoreMask};

/// The components that are not [`MOVABLE`], in the registers, since these changed hands last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeyondMoves {
    /// Nothing was found out.
    Unknown,
    /// They were initial: the restore was by moves, and had none of them.
    Initial,
}

// By reference: where moves are tried, a copy on the stack for the cold functions cost the others 5 cycles.
impl SwitchInstructions {
    /// Saves the components in `rfbm`, by moves where these are tried and cover them. Gives what may have
    /// been in use, if that was found on the way: [`restore_registers`](Self::restore_registers) right
    /// after it need not ask again.
    ///
    /// # Errors
    /// The fault of the instruction or the moves.
    #[inline(always)]
    pub fn save_registers(
        &self,
        processor: &mut impl Processor,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<Option<ComponentSet>, Fault> {
        match self.moves() {
            RegisterMoves::Never => {
                self.save().execute(processor, area, rfbm)?;
                Ok(self.told_by_save(area, rfbm))
            }
            RegisterMoves::WhereCovered => {
                match processor.save_by_moves(area, self.save().format(), rfbm)? {
                    Moved::Done { in_use } => Ok(Some(in_use)),
                    Moved::NotCovered { in_use } => {
                        self.save_uncovered(processor, area, rfbm)?;
                        Ok(in_use)
                    }
                }
            }
        }
    }

    /// By the instruction, after moves that were in vain.
    #[cold]
    #[inline(never)]
    fn save_uncovered(
        &self,
        processor: &mut impl Processor,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        self.save().execute(processor, area, rfbm)
    }

    /// Restores the components in `rfbm`, by moves where these are tried and cover them; `in_use` is what
    /// a save has just found in use.
    ///
    /// # Errors
    /// The fault of the instruction or the moves.
    #[inline]
    pub fn restore_registers(
        &self,
        processor: &mut impl Processor,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<(), Fault> {
        self.restore_and_tell(processor, area, rfbm, in_use)
            .map(drop)
    }

    /// The same; tells what the registers hold then of what moves do not cover.
    #[inline(always)]
    pub(crate) fn restore_and_tell(
        &self,
        processor: &mut impl Processor,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<BeyondMoves, Fault> {
        match self.moves() {
            RegisterMoves::Never => {
                self.restore_by_instruction(processor, area, rfbm, in_use)?;
                Ok(BeyondMoves::Unknown)
            }
            RegisterMoves::WhereCovered => match processor.restore_by_moves(area, rfbm, in_use)? {
                Moved::Done { .. } => Ok(self.after_moves(area)),
                Moved::NotCovered { in_use: found } => {
                    self.restore_uncovered(processor, area, rfbm, found.or(in_use))?;
                    Ok(BeyondMoves::Unknown)
                }
            },
        }
    }

    /// Moves loaded the state in `area`.
    #[inline(always)]
    fn after_moves(&self, area: &[u8]) -> BeyondMoves {
        match self.xstate_bv(area) {
            Some(xstate_bv) if MOVABLE.contains_all(xstate_bv) => BeyondMoves::Initial,
            Some(_) | None => BeyondMoves::Unknown,
        }
    }

    /// By the instruction, after moves that were in vain.
    #[cold]
    #[inline(never)]
    fn restore_uncovered(
        &self,
        processor: &mut impl Processor,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<(), Fault> {
        self.restore_by_instruction(processor, area, rfbm, in_use)
    }

    #[inline(always)]
    fn restore_by_instruction(
        &self,
        processor: &mut impl Processor,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<(), Fault> {
        let asked_for = self.asked_for(processor, area, rfbm, in_use)?;
        self.restore().execute(processor, area, asked_for)
    }

    /// What may be in use after a save of `rfbm` to `area`: by its XSTATE_BV, and what was not saved.
    #[inline(always)]
    fn told_by_save(&self, area: &[u8], rfbm: ComponentSet) -> Option<ComponentSet> {
        if self.mask() == RestoreMask::Switched {
            return None;
        }
        let not_saved = ComponentSet::from_bits(!rfbm.bits());
        self.xstate_bv(area).map(|found| found.union(not_saved))
    }

    /// Of an area in XSAVE's formats.
    #[inline(always)]
    fn xstate_bv(&self, area: &[u8]) -> Option<ComponentSet> {
        if self.save() == SaveInstruction::Fxsave {
            return None;
        }
        let header = area.get(LEGACY_REGION_LEN..)?.first_chunk()?;
        Some(XsaveHeader::from_bytes(header).xstate_bv)
    }

    /// What of `rfbm` the instruction is asked to restore from `area`.
    #[inline(always)]
    fn asked_for(
        &self,
        processor: &mut impl Processor,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<ComponentSet, Fault> {
        let (RestoreMask::InUse, Some(xstate_bv)) = (self.mask(), self.xstate_bv(area)) else {
            return Ok(rfbm);
        };
        let in_use = match in_use {
            Some(in_use) => in_use,
            None => match self.told_by() {
                ToldBy::Xgetbv => processor.xgetbv_in_use()?,
                ToldBy::Saves => return Ok(rfbm),
            },
        };
        let told = match self.error_pointers() {
            ErrorPointers::Restored => processor.told_by_xinuse(),
            // They were just overwritten, by an instruction of x87.
            ErrorPointers::LeftAlone => processor.told_by_xinuse().without(Component::X87),
        };
        Ok(RestoreMask::narrowed(rfbm, told, in_use, xstate_bv))
    }
}
