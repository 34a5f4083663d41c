//! The plans that a processor made last.

use fpstate_arch::processor::TOLD_BY_XINUSE;
use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Format};

use super::plan::{ErrorPointersLeft, MovePlan, MovingCpu};
use crate::reach::{header_words, require_alignment};
use crate::recent::Recent;
use crate::xsave_family::XSAVE_ALIGNMENT;

// What is longer is copied by a call of `memcpy`, which in a process may use ZMM16 to ZMM23, between a
// restore and the next save: they would be saved and restored from then on (docs/surprises.md).
const _: () = assert!(size_of::<((u64, ComponentSet), Option<MovePlan>)>() <= 128);

/// One cache per direction: what a restore is asked for need not be what the image has room for.
#[derive(Debug)]
pub(crate) struct MovePlans {
    movable: ComponentSet,
    mxcsr_mask: u32,
    error_pointers: ErrorPointersLeft,
    counted_when_zeroed: ComponentSet,
    saves: Recent<(Format, ComponentSet), Option<MovePlan>>,
    restores: Recent<(u64, ComponentSet), Option<MovePlan>>,
}

/// No component: nothing is covered.
const NO_SAVE: (Format, ComponentSet) = (Format::Fxsave, ComponentSet::EMPTY);
const NO_RESTORE: (u64, ComponentSet) = (0, ComponentSet::EMPTY);

impl MovePlans {
    /// For this CPU; `where_they_stay` is for one whose XGETBV(1) says nothing of the x87 error
    /// pointers.
    pub(crate) fn new(mxcsr_mask: u32, where_they_stay: ErrorPointersLeft) -> Self {
        Self {
            movable: MovingCpu::movable(),
            mxcsr_mask,
            error_pointers: ErrorPointersLeft::on_this_cpu(where_they_stay),
            counted_when_zeroed: MovingCpu::counted_when_zeroed(),
            saves: Recent::starting_with(NO_SAVE, None),
            restores: Recent::starting_with(NO_RESTORE, None),
        }
    }

    /// As [`Processor::told_by_xinuse`](fpstate_arch::Processor::told_by_xinuse).
    #[inline]
    pub(crate) const fn told_by_xinuse(&self) -> ComponentSet {
        match self.error_pointers {
            ErrorPointersLeft::Initial | ErrorPointersLeft::Kept => {
                TOLD_BY_XINUSE.with(Component::X87)
            }
            ErrorPointersLeft::Zeroed | ErrorPointersLeft::Replaced => TOLD_BY_XINUSE,
        }
    }

    /// XCR0 is another one.
    pub(crate) const fn forget(&mut self) {
        self.saves = Recent::starting_with(NO_SAVE, None);
        self.restores = Recent::starting_with(NO_RESTORE, None);
    }

    /// Without its XCR0.
    const fn cpu(&self) -> MovingCpu {
        MovingCpu {
            xcr0: ComponentSet::EMPTY,
            movable: self.movable,
            mxcsr_mask: self.mxcsr_mask,
            error_pointers: self.error_pointers,
            counted_when_zeroed: self.counted_when_zeroed,
        }
    }

    /// The plan for a save of `rfbm` to `area`, which is aligned and has room for it.
    #[inline]
    pub(crate) fn save(
        &mut self,
        enumeration: &Enumeration,
        xcr0: impl FnOnce() -> ComponentSet,
        area: &[u8],
        (format, rfbm): (Format, ComponentSet),
    ) -> Result<Option<&MovePlan>, Fault> {
        require_alignment(area, XSAVE_ALIGNMENT)?;
        let cpu = self.cpu();
        let plan = self
            .saves
            .get((format, rfbm), || {
                MovePlan::for_saves(
                    MovingCpu {
                        xcr0: xcr0(),
                        ..cpu
                    },
                    enumeration,
                    format,
                    rfbm,
                )
            })
            .as_ref();
        match plan {
            Some(plan) if plan.reach() > area.len() => Err(Fault::OutsideArea {
                reach: plan.reach(),
                len: area.len(),
            }),
            plan => Ok(plan),
        }
    }

    /// The plan for a restore of `rfbm` from `area`, which is aligned and has all that the plan
    /// touches.
    #[inline]
    pub(crate) fn restore(
        &mut self,
        enumeration: &Enumeration,
        xcr0: impl FnOnce() -> ComponentSet,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<Option<&MovePlan>, Fault> {
        require_alignment(area, XSAVE_ALIGNMENT)?;
        let (_, xcomp_bv) = header_words(area)?;
        let cpu = self.cpu();
        let plan = self
            .restores
            .get((xcomp_bv, rfbm), || {
                MovePlan::for_restores(
                    MovingCpu {
                        xcr0: xcr0(),
                        ..cpu
                    },
                    enumeration,
                    xcomp_bv,
                    rfbm,
                )
            })
            .as_ref();
        Ok(plan.filter(|plan| plan.reach() <= area.len()))
    }
}
