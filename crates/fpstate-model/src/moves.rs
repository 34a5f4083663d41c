//! Saves and restores by plain moves: the same images, and registers that were written, not restored.

use fpstate_arch::moved::COVERED;
use fpstate_arch::processor::TOLD_BY_XINUSE;
use fpstate_arch::{Component, ComponentSet, Fault, Format, Instruction, Moved};

use crate::cpu::ModelCpu;
use crate::memory::XSAVE_ALIGNMENT;
use crate::vendor::{InUseTracking, X87Pointers};

/// FXRSTOR loads XMM with x87, whatever XSTATE_BV says of it.
fn is_x87_alone(components: ComponentSet) -> bool {
    components.intersection(ComponentSet::LEGACY) == ComponentSet::only(Component::X87)
}

impl ModelCpu {
    pub(crate) fn execute_save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        if !self.tells_what_is_in_use(rfbm) {
            return Ok(Moved::NOTHING);
        }
        self.require_task_not_switched()?;
        self.require_aligned(area, XSAVE_ALIGNMENT)?;
        let in_use = self.in_use_with_mxcsr();
        let saved = in_use.intersection(rfbm);
        if !COVERED.contains_all(saved) {
            let in_use = Some(in_use);
            return Ok(Moved::NotCovered { in_use });
        }
        match format {
            Format::Compacted => self.save_compacted(area, rfbm, saved, saved)?,
            Format::Standard => self.save_standard(area, rfbm, saved, saved)?,
            Format::Fxsave => return Ok(Moved::NOTHING),
        }
        Ok(Moved::Done { in_use })
    }

    pub(crate) fn execute_restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        if !self.tells_what_is_in_use(rfbm) {
            return Ok(Moved::NOTHING);
        }
        self.require_task_not_switched()?;
        self.require_aligned(area, XSAVE_ALIGNMENT)?;
        let in_use = in_use.unwrap_or_else(|| self.in_use_with_mxcsr());
        let Some((region, restore)) = self.movable_image(area, rfbm)? else {
            let in_use = Some(in_use);
            return Ok(Moved::NotCovered { in_use });
        };
        let touched = restore.to_be_restored.union(in_use.intersection(rfbm));
        let initialised = touched.difference(restore.to_be_restored);
        if !COVERED.contains_all(touched)
            || is_x87_alone(restore.to_be_restored)
            || !self.covers_initialising(initialised)
        {
            let in_use = Some(in_use);
            return Ok(Moved::NotCovered { in_use });
        }
        // What is said not to be in use is not written: a caller that is wrong finds it as it was. MXCSR,
        // which goes with SSE, always is.
        let written = COVERED
            .intersection(in_use.union(restore.to_be_restored))
            .with(Component::Sse);
        self.restore_registers(area, &region, &restore, written)?;
        // Plain instructions wrote them: XRSTOR_INFO names the restore before.
        let initialised = written
            .intersection(rfbm)
            .difference(restore.to_be_restored);
        self.tracking
            .restored_in_part(restore.to_be_restored, initialised);
        Ok(Moved::Done { in_use })
    }

    /// Where FIP, FDP and FOP outlive a pending exception, x87 can be initial with those of the last
    /// owner (docs/surprises.md, "XGETBV(1) on Zen 4").
    pub(crate) const fn told_by_xinuse_of_vendor(&self) -> ComponentSet {
        match self.vendor.x87_pointers {
            X87Pointers::Always => TOLD_BY_XINUSE.with(Component::X87),
            X87Pointers::WhileExceptionPending | X87Pointers::LeftAlone => TOLD_BY_XINUSE,
        }
    }

    /// FXRSTOR of the initial configuration leaves x87 in use where that does not go by contents: each
    /// owner from then on would have it.
    const fn covers_initialising(&self, components: ComponentSet) -> bool {
        match self.vendor.in_use {
            InUseTracking::ByContents => true,
            InUseTracking::SinceWritten => !components.contains(Component::X87),
        }
    }

    /// XGETBV(1) leaves the components in IA32_XSS out.
    fn tells_what_is_in_use(&self, rfbm: ComponentSet) -> bool {
        self.enumeration.has(Instruction::XgetbvInUse) && self.xcr0.components().contains_all(rfbm)
    }

    /// What XGETBV(1) finds in use, and SSE with an MXCSR that is not initial.
    fn in_use_with_mxcsr(&self) -> ComponentSet {
        let in_use = self.in_use().union(self.mxcsr_as_component());
        in_use.intersection(self.xcr0.components())
    }
}
