//! Saves and restores by plain moves: the same images, and registers that were written, not restored.

use fpstate_arch::moved::MOVABLE;
use fpstate_arch::{Component, ComponentSet, Fault, Format, Instruction, Moved};

use crate::cpu::ModelCpu;
use crate::memory::XSAVE_ALIGNMENT;

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
        if !MOVABLE.contains_all(saved) {
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
        if !MOVABLE.contains_all(restore.to_be_restored.union(in_use.intersection(rfbm))) {
            let in_use = Some(in_use);
            return Ok(Moved::NotCovered { in_use });
        }
        // What is said not to be in use is not written: a caller that is wrong finds it as it was. MXCSR,
        // which goes with SSE, always is.
        let written = MOVABLE
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
