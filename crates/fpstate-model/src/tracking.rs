//! What the processor remembers in order to save less (SDM 1, 13.6).

use fpstate_arch::ComponentSet;

use crate::control_state::Privilege;
use crate::cpu::ModelCpu;

/// Which optimisations of SDM 1, 13.6 the processor has. The architecture leaves both to the
/// implementation, so code must be right under the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Optimisation {
    /// XINUSE is always 1: every save writes all of RFBM. No CPU with XSAVEC is known to do this;
    /// emulators do.
    None,
    /// XSAVEOPT, XSAVEC and XSAVES do not write components in their initial configuration.
    Initial,
    /// And XSAVEOPT and XSAVES do not write components unmodified since the XRSTOR or XRSTORS from
    /// the same area. Seen on Zen 4 for XSAVEOPT; the SDM describes it, so expect it on Intel.
    InitialAndModified,
    /// As [`InitialAndModified`](Self::InitialAndModified), and each wrong reliance on it shows:
    ///
    /// - XSAVEOPT, XSAVEC and XSAVES fill what they do not write of an initial component with
    ///   [`POISON`](crate::POISON). No processor does this: those bytes are whatever was in
    ///   memory, and software has no business with them while XSTATE_BV\[i\] is 0.
    /// - In half of the saves, the same half in every run, XINUSE is 1 for an initial component,
    ///   which is then announced in XSTATE_BV and written (SDM 1, 13.6 allows 0 and 1).
    ///   [`in_use`](crate::ModelCpu::in_use) and XGETBV(1) do not waver.
    ///
    /// Software that is right under the others and wrong under this one reads components without
    /// asking XSTATE_BV, or takes XSTATE_BV\[i\] = 1 for "not initial".
    Poisoning,
}

/// XRSTOR_INFO without its VMX bit: what the last XRSTOR or XRSTORS was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct XrstorInfo {
    pub(crate) privilege: Privilege,
    /// Of byte 0 of the area.
    pub(crate) linear_address: usize,
    pub(crate) xcomp_bv: u64,
}

/// XINUSE, XMODIFIED and XRSTOR_INFO.
#[derive(Clone, Debug)]
pub(crate) struct Tracking {
    in_use: ComponentSet,
    modified: ComponentSet,
    xrstor_info: Option<XrstorInfo>,
}

impl Tracking {
    pub(crate) const AFTER_RESET: Self = Self {
        in_use: ComponentSet::EMPTY,
        modified: ALL,
        xrstor_info: None,
    };

    /// XINUSE as [`InUseTracking::SinceWritten`](crate::InUseTracking) finds it.
    pub(crate) const fn in_use(&self) -> ComponentSet {
        self.in_use
    }

    /// XMODIFIED, for a save that would overwrite the area described by `save`.
    pub(crate) fn modified_since(&self, save: XrstorInfo) -> ComponentSet {
        if self.xrstor_info == Some(save) {
            self.modified
        } else {
            ALL
        }
    }

    /// An instruction wrote registers of `components`.
    pub(crate) fn wrote(&mut self, components: ComponentSet) {
        self.in_use = self.in_use.union(components);
        self.modified = self.modified.union(components);
    }

    /// An instruction changed `components` in a way that XINUSE does not see: MXCSR, or FNINIT,
    /// which leaves the data registers.
    pub(crate) fn modified(&mut self, components: ComponentSet) {
        self.modified = self.modified.union(components);
    }

    /// The processor no longer knows `components` to be in their initial configuration.
    pub(crate) fn presumed_in_use(&mut self, components: ComponentSet) {
        self.in_use = self.in_use.union(components);
    }

    /// An instruction other than XRSTOR put `components` into their initial configuration.
    pub(crate) fn initialised(&mut self, components: ComponentSet) {
        self.in_use = self.in_use.difference(components);
        self.modified = self.modified.union(components);
    }

    /// XRSTOR, XRSTORS or FXRSTOR was stopped by a fault after it had put `loaded` from memory and
    /// `initialised` into their initial configuration. XRSTOR_INFO still names the restore before.
    pub(crate) fn restored_in_part(&mut self, loaded: ComponentSet, initialised: ComponentSet) {
        self.wrote(loaded);
        self.initialised(initialised);
    }

    /// XRSTOR or XRSTORS (SDM 1, 13.8.3): of `rfbm`, those in `restored` came from memory and the
    /// others became initial.
    pub(crate) fn restored(
        &mut self,
        rfbm: ComponentSet,
        restored: ComponentSet,
        info: XrstorInfo,
    ) {
        self.in_use = self.in_use.difference(rfbm).union(restored);
        self.modified = ALL.difference(rfbm);
        self.xrstor_info = Some(info);
    }
}

const ALL: ComponentSet = ComponentSet::from_bits(!0);

/// What a processor remembers in order to save less; for checkers that compare whole machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tracked {
    /// XINUSE as [`InUseTracking::SinceWritten`](crate::InUseTracking) finds it.
    pub in_use: ComponentSet,
    /// XMODIFIED, for a save to the area of `restored_from`.
    pub modified: ComponentSet,
    /// XRSTOR_INFO: address of byte 0 of the area and its XCOMP_BV.
    pub restored_from: Option<(usize, u64)>,
}

impl Tracking {
    const fn tracked(&self) -> Tracked {
        Tracked {
            in_use: self.in_use,
            modified: self.modified,
            restored_from: match self.xrstor_info {
                Some(info) => Some((info.linear_address, info.xcomp_bv)),
                None => None,
            },
        }
    }
}

impl ModelCpu {
    /// What it remembers in order to save less.
    #[must_use]
    pub const fn tracked(&self) -> Tracked {
        self.tracking.tracked()
    }

    /// In a copy of a whole machine areas lie elsewhere: from here on XRSTOR_INFO names the area at
    /// `address`, if it names one, and everything else that it says stays.
    pub const fn relocate_restored_area(&mut self, address: usize) {
        if let Some(info) = &mut self.tracking.xrstor_info {
            info.linear_address = address;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::ModelCpu;
    use crate::recorded_cpus::{Area, emerald_rapids, generator};
    use fpstate_arch::{Component, Fault, Mxcsr, Processor};

    type Save = fn(&mut ModelCpu, &mut [u8], ComponentSet) -> Result<(), Fault>;
    const SAVES: [Save; 4] = [
        ModelCpu::xsave,
        ModelCpu::xsaveopt,
        ModelCpu::xsavec,
        ModelCpu::xsaves,
    ];
    const X87: ComponentSet = ComponentSet::only(Component::X87);
    const SSE: ComponentSet = ComponentSet::only(Component::Sse);
    const AVX: ComponentSet = ComponentSet::only(Component::Avx);
    const ST0_OFFSET: usize = 32;
    const XMM0_OFFSET: usize = 160;
    const AVX_OFFSET: usize = 576;

    /// Restores AVX and SSE from an area, scribbles over the area, lets `between` act and saves to
    /// the area: whether XMM0 and AVX were written.
    fn written_after(
        cpu: &mut ModelCpu,
        save: Save,
        mut area: Area,
        between: fn(&mut ModelCpu),
    ) -> (u8, u8) {
        let rfbm = SSE.union(AVX);
        cpu.registers_mut().fill(rfbm, || 0x1111_1111_1111_1111);
        cpu.registers_mut().set_mxcsr(Mxcsr::INITIAL);
        save(cpu, &mut area.0, rfbm).unwrap();
        cpu.xrstor(&area.0, rfbm).unwrap();
        area.0[XMM0_OFFSET] = 0x77;
        area.0[AVX_OFFSET] = 0x77;
        between(cpu);
        save(cpu, &mut area.0, rfbm).unwrap();
        assert_eq!(area.xstate_bv(), 0x6);
        (area.0[XMM0_OFFSET], area.0[AVX_OFFSET])
    }

    #[test]
    fn xsaveopt_and_xsaves_do_not_write_what_was_not_modified_since_the_restore() {
        for (save, unmodified) in SAVES.into_iter().zip([0x11, 0x77, 0x11, 0x77]) {
            let mut cpu = emerald_rapids();
            let written = written_after(&mut cpu, save, Area::standard(0), |_| ());
            assert_eq!(written, (unmodified, unmodified));
            let write_xmm: fn(&mut ModelCpu) = |cpu| cpu.registers_mut().xmm()[3] = [2; 16];
            let written = written_after(&mut cpu, save, Area::standard(0), write_xmm);
            assert_eq!(written, (0x11, unmodified));
        }
    }

    #[test]
    fn the_modified_optimisation_can_be_absent() {
        for optimisation in [Optimisation::None, Optimisation::Initial] {
            let mut cpu = emerald_rapids();
            cpu.set_optimisation(optimisation);
            for save in SAVES {
                let written = written_after(&mut cpu, save, Area::standard(0), |_| ());
                assert_eq!(written, (0x11, 0x11));
            }
        }
    }

    #[test]
    fn xsaves_stores_a_changed_mxcsr_after_a_restore() {
        // To MXCSR 1F80H, which by itself is no reason for XSAVES to store SSE.
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(SSE, generator(1));
        cpu.registers_mut().set_mxcsr(Mxcsr::from_bits(0x1fa0));
        let mut area = Area::of(0);
        cpu.xsaves(&mut area.0, SSE).unwrap();
        cpu.xrstors(&area.0, SSE).unwrap();
        cpu.ldmxcsr(Mxcsr::INITIAL).unwrap();
        cpu.xsaves(&mut area.0, SSE).unwrap();
        assert_eq!(area.u32_at(24), 0x1f80);
    }

    #[test]
    fn a_save_to_another_address_privilege_or_format_writes_everything() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(AVX, || 0x1111_1111_1111_1111);
        let mut area = Area::of(0);
        cpu.xsavec(&mut area.0, AVX).unwrap();
        let saved = area.clone();
        let mut elsewhere = Area::of(0);
        let mut save_after_restore = |between: fn(&mut ModelCpu), save: Save, rfbm| {
            area.0 = saved.0;
            cpu.set_cpl(Privilege::Ring0);
            cpu.xrstor(&area.0, AVX).unwrap();
            area.0[AVX_OFFSET] = 0x77;
            between(&mut cpu);
            save(&mut cpu, &mut area.0, rfbm).unwrap();
            area.0[AVX_OFFSET]
        };
        // XCOMP_BV of the restore: AVX. The same, then another, then 0 for XSAVEOPT.
        assert_eq!(save_after_restore(|_| (), ModelCpu::xsaves, AVX), 0x77);
        let both = AVX.union(SSE);
        assert_eq!(save_after_restore(|_| (), ModelCpu::xsaves, both), 0x11);
        assert_eq!(save_after_restore(|_| (), ModelCpu::xsaveopt, AVX), 0x11);
        cpu.xsaves(&mut elsewhere.0, AVX).unwrap();
        assert_eq!(elsewhere.0[AVX_OFFSET], 0x11);
    }

    #[test]
    fn a_restore_at_another_privilege_does_not_count() {
        for (privilege, avx) in [(Privilege::Ring3, 0x77), (Privilege::Ring0, 0x11)] {
            let mut cpu = emerald_rapids();
            cpu.registers_mut().fill(AVX, || 0x1111_1111_1111_1111);
            let mut area = Area::of(0);
            cpu.xsave(&mut area.0, AVX).unwrap();
            cpu.set_cpl(Privilege::Ring3);
            cpu.xrstor(&area.0, AVX).unwrap();
            area.0[AVX_OFFSET] = 0x77;
            cpu.set_cpl(privilege);
            cpu.xsaveopt(&mut area.0, AVX).unwrap();
            assert_eq!(area.0[AVX_OFFSET], avx);
        }
    }

    /// As seen on Zen 4 after MOVAPS with ZMM_Hi256 in use; docs/surprises.md.
    #[test]
    fn a_component_in_use_and_unmodified_is_announced_and_not_written() {
        let mut cpu = emerald_rapids();
        let mut area = Area::standard(0x2);
        area.put(AVX_OFFSET, &[0x77; 256]);
        cpu.xrstor(&area.0, AVX.union(SSE)).unwrap();
        cpu.registers_mut().presume_in_use(AVX);
        cpu.xsaveopt(&mut area.0, AVX.union(SSE)).unwrap();
        assert_eq!((area.xstate_bv(), area.0[AVX_OFFSET]), (0x6, 0x77));
    }

    #[test]
    fn a_component_outside_the_restores_rfbm_counts_as_modified() {
        let mut cpu = emerald_rapids();
        let mut area = Area::standard(0x6);
        area.put(AVX_OFFSET, &[0x11; 256]);
        cpu.xrstor(&area.0, AVX.union(SSE)).unwrap();
        cpu.xrstor(&area.0, SSE).unwrap();
        area.0[AVX_OFFSET] = 0x77;
        cpu.xsaveopt(&mut area.0, AVX.union(SSE)).unwrap();
        assert_eq!(area.0[AVX_OFFSET], 0x11);
    }

    #[test]
    fn fxrstor_and_fninit_count_as_modifications() {
        let mut cpu = emerald_rapids();
        let mut area = Area::standard(0x3);
        let x87_and_sse = X87.union(SSE);
        cpu.xrstor(&area.0, x87_and_sse).unwrap();
        area.put(ST0_OFFSET, &[0x77]);
        area.put(XMM0_OFFSET, &[0x77]);
        cpu.fninit().unwrap();
        cpu.xsaveopt(&mut area.0, x87_and_sse).unwrap();
        assert_eq!((area.0[ST0_OFFSET], area.0[XMM0_OFFSET]), (0, 0x77));
        cpu.xrstor(&area.0, x87_and_sse).unwrap();
        cpu.fxrstor(&Area::standard(0).0).unwrap();
        cpu.xsaveopt(&mut area.0, x87_and_sse).unwrap();
        assert_eq!((area.0[ST0_OFFSET], area.0[XMM0_OFFSET]), (0, 0));
    }

    #[test]
    fn fxrstor_puts_x87_and_sse_in_use_and_fninit_does_not_end_it() {
        let mut cpu = emerald_rapids();
        cpu.fxrstor(&Area::standard(0).0).unwrap();
        assert_eq!(cpu.in_use(), ComponentSet::LEGACY);
        cpu.fninit().unwrap();
        assert_eq!(cpu.in_use(), ComponentSet::LEGACY);
    }

    #[test]
    fn xsaves_writes_an_unmodified_sse_while_mxcsr_is_not_initial() {
        let mut cpu = emerald_rapids();
        let mut area = Area::compacted(0x2, 0x2);
        area.put(24, &0x1fa0_u32.to_le_bytes());
        cpu.xrstors(&area.0, SSE).unwrap();
        area.put(XMM0_OFFSET, &[0x77]);
        cpu.xsaves(&mut area.0, SSE).unwrap();
        assert_eq!(area.0[XMM0_OFFSET], 0); // SDM 2, XSAVES, "Operation"
    }
}
