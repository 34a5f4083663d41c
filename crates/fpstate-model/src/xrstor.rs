//! XRSTOR and XRSTORS (SDM 1, 13.8 and 13.12; SDM 2, "Operation" of each).

use alloc::vec::Vec;

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::{COMPACTED_BIT, EXTENDED_REGION_OFFSET};
use fpstate_arch::{Component, ComponentSet, Fault, Instruction, LegacyRegion, Mxcsr, XsaveHeader};

use crate::cpu::ModelCpu;
use crate::legacy_region::{is_loadable, restored_x87};
use crate::memory::XSAVE_ALIGNMENT;
use crate::offsets::{self, Placed, require_reach};
use crate::tracking::XrstorInfo;
use crate::xrstor_header::{require_compacted, require_standard};

/// What makes the standard form load MXCSR: SSE or AVX (SDM 1, 13.8.1).
const RESTORED_WITH_MXCSR: ComponentSet = ComponentSet::only(Component::Sse).with(Component::Avx);

/// An execution whose header has been accepted.
pub(crate) struct Restore {
    pub(crate) rfbm: ComponentSet,
    pub(crate) to_be_restored: ComponentSet,
    /// `None` keeps MXCSR.
    pub(crate) mxcsr: Option<Mxcsr>,
    /// The components to be restored, where they lie.
    pub(crate) placed: Vec<Placed>,
    pub(crate) xcomp_bv: u64,
}

impl ModelCpu {
    pub(crate) fn execute_xrstor(
        &mut self,
        area: &[u8],
        instruction_mask: ComponentSet,
    ) -> Result<(), Fault> {
        self.require(Instruction::Xsave)?;
        self.require_task_not_switched()?;
        self.require_aligned(area, XSAVE_ALIGNMENT)?;
        let enabled = self.xcr0.components();
        let rfbm = enabled.intersection(instruction_mask);
        let (region, header) = fixed_parts(area)?;
        self.require_present(area, LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET)?;
        let restore = if header.xcomp_bv & COMPACTED_BIT == 0 {
            require_standard(&header, enabled)?;
            self.standard_form(rfbm, &region, &header)
        } else {
            if !self.enumeration.has(Instruction::Xsavec) {
                return Err(Fault::GeneralProtection);
            }
            require_compacted(&header, enabled)?;
            self.compacted_form(rfbm, &region, &header)
        };
        self.restore(area, &region, &restore)
    }

    pub(crate) fn execute_xrstors(
        &mut self,
        area: &[u8],
        instruction_mask: ComponentSet,
    ) -> Result<(), Fault> {
        self.require(Instruction::Xsaves)?;
        self.require_task_not_switched()?;
        self.require_ring_0()?;
        self.require_aligned(area, XSAVE_ALIGNMENT)?;
        let enabled = self.enabled_components();
        let rfbm = enabled.intersection(instruction_mask);
        let (region, header) = fixed_parts(area)?;
        self.require_present(area, LEGACY_REGION_LEN..EXTENDED_REGION_OFFSET)?;
        if header.xcomp_bv & COMPACTED_BIT == 0 {
            return Err(Fault::GeneralProtection);
        }
        require_compacted(&header, enabled)?;
        let restore = self.compacted_form(rfbm, &region, &header);
        self.restore(area, &region, &restore)
    }

    /// The legacy region and what XRSTOR of `rfbm` would do, if it would not refuse `area`.
    pub(crate) fn movable_image(
        &self,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<Option<(LegacyRegion, Restore)>, Fault> {
        let (region, header) = fixed_parts(area)?;
        let enabled = self.xcr0.components();
        let restore = if header.xcomp_bv & COMPACTED_BIT == 0 {
            require_standard(&header, enabled).map(|()| self.standard_form(rfbm, &region, &header))
        } else {
            require_compacted(&header, enabled)
                .map(|()| self.compacted_form(rfbm, &region, &header))
        };
        let Ok(restore) = restore else {
            return Ok(None);
        };
        require_reach(area, offsets::reach(&restore.placed))?;
        let loadable = restore
            .mxcsr
            .is_none_or(|mxcsr| is_loadable(mxcsr, self.vendor));
        Ok(loadable.then_some((region, restore)))
    }

    fn standard_form(
        &self,
        rfbm: ComponentSet,
        region: &LegacyRegion,
        header: &XsaveHeader,
    ) -> Restore {
        let to_be_restored = rfbm.intersection(header.xstate_bv);
        Restore {
            rfbm,
            to_be_restored,
            // Whatever XSTATE_BV says.
            mxcsr: rfbm.intersects(RESTORED_WITH_MXCSR).then_some(region.mxcsr),
            placed: offsets::standard(&self.table, to_be_restored),
            xcomp_bv: header.xcomp_bv,
        }
    }

    fn compacted_form(
        &self,
        rfbm: ComponentSet,
        region: &LegacyRegion,
        header: &XsaveHeader,
    ) -> Restore {
        let to_be_restored = rfbm.intersection(header.xstate_bv);
        let mut placed = offsets::compacted(&self.table, header.xcomp_bv_components());
        placed.retain(|placed| to_be_restored.contains(placed.component));
        let mxcsr = if to_be_restored.contains(Component::Sse) {
            Some(region.mxcsr)
        } else {
            // SDM 1, 13.8.2; RFBM[2] has no say here.
            rfbm.contains(Component::Sse).then_some(Mxcsr::INITIAL)
        };
        Restore {
            rfbm,
            to_be_restored,
            mxcsr,
            placed,
            xcomp_bv: header.xcomp_bv,
        }
    }

    /// The conditions that follow those of the header, then the registers.
    ///
    /// Only what is to be restored counts for the reach: a component that becomes initial is not
    /// operated on in memory (SDM 1, 13.13).
    fn restore(
        &mut self,
        area: &[u8],
        region: &LegacyRegion,
        restore: &Restore,
    ) -> Result<(), Fault> {
        self.require_not_disabled(restore.to_be_restored)?;
        require_reach(area, offsets::reach(&restore.placed))?;
        let mxcsr = restore.mxcsr;
        if mxcsr.is_some_and(|mxcsr| !is_loadable(mxcsr, self.vendor))
            && self.mxcsr_is_present(area)
        {
            return Err(Fault::GeneralProtection);
        }
        if let Some(stop) = self.first_stop(area, restore) {
            return self.restore_until(stop, area, region, restore);
        }
        self.restore_registers(area, region, restore, ComponentSet::from_bits(!0))?;
        let info = XrstorInfo {
            privilege: self.control.privilege,
            linear_address: area.as_ptr().addr(),
            xcomp_bv: restore.xcomp_bv,
        };
        self.tracking
            .restored(restore.rfbm, restore.to_be_restored, info);
        Ok(())
    }

    /// What the execution does to the registers of `reached`. MXCSR goes with SSE.
    pub(crate) fn restore_registers(
        &mut self,
        area: &[u8],
        region: &LegacyRegion,
        restore: &Restore,
        reached: ComponentSet,
    ) -> Result<(), Fault> {
        let loaded = restore.to_be_restored.intersection(reached);
        let requested = restore.rfbm.intersection(reached);
        self.registers.initialise(requested.difference(loaded));
        for Placed { component, range } in &restore.placed {
            if !loaded.contains(*component) {
                continue;
            }
            let from = area.get(range.clone()).ok_or(Fault::OutsideArea {
                reach: range.end,
                len: area.len(),
            })?;
            let to = self.registers.component_mut(*component).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        if loaded.contains(Component::X87) {
            self.registers.x87 = restored_x87(region, &self.registers.x87, self.vendor);
        }
        if loaded.contains(Component::Sse) {
            self.registers.sse.xmm = region.xmm;
        }
        if let Some(mxcsr) = restore.mxcsr
            && reached.contains(Component::Sse)
        {
            self.registers.sse.mxcsr = mxcsr;
        }
        Ok(())
    }
}

/// The legacy region and the header.
fn fixed_parts(area: &[u8]) -> Result<(LegacyRegion, XsaveHeader), Fault> {
    let too_short = Fault::OutsideArea {
        reach: EXTENDED_REGION_OFFSET,
        len: area.len(),
    };
    let (legacy_region, rest) = area.split_first_chunk().ok_or(too_short)?;
    let header = rest.first_chunk().ok_or(too_short)?;
    Ok((
        LegacyRegion::from_bytes(legacy_region),
        XsaveHeader::from_bytes(header),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::{Osxsave, TaskSwitched};
    use crate::recorded_cpus::{
        ALL, Area, EMERALD_RAPIDS, GENOA, cpu_with_avx, cpu_with_everything_enabled,
        emerald_rapids, generator, set,
    };
    use crate::tracking::Optimisation;
    use fpstate_arch::{Processor, Xfd, XfdErr};

    type Restoring = fn(&mut ModelCpu, &[u8], ComponentSet) -> Result<(), Fault>;
    const RESTORES: [Restoring; 2] = [ModelCpu::xrstor, ModelCpu::xrstors];
    const REFUSED: Result<(), Fault> = Err(Fault::GeneralProtection);

    #[test]
    fn without_xsavec_xrstor_refuses_the_compacted_format() {
        let mut leaves = GENOA;
        leaves[3].2.eax = 0x1;
        let mut cpu = ModelCpu::new(&leaves);
        assert_eq!(cpu.xrstor(&Area::compacted(0x1, 0x1).0, ALL), REFUSED);
        assert_eq!(cpu.xrstor(&Area::standard(0x1).0, ALL), Ok(()));
        let xrstors = cpu.xrstors(&Area::compacted(0x1, 0x1).0, ALL);
        assert_eq!(xrstors, Err(Fault::InvalidOpcode));
    }

    #[test]
    fn every_restore_is_refused_without_osxsave_with_ts_set_or_misaligned() {
        for restore in RESTORES {
            let mut cpu = emerald_rapids();
            let mut area = Area::of(0);
            area.put(32 + 520, &(1_u64 << 63 | 0x7).to_le_bytes());
            assert_eq!(restore(&mut cpu, &area.0[32..], ALL), REFUSED);
            cpu.set_cr0_ts(TaskSwitched::Set);
            let not_available = Err(Fault::DeviceNotAvailable);
            assert_eq!(restore(&mut cpu, &area.0[32..], ALL), not_available);
            assert_eq!(cpu.read_xfd_err(), Ok(XfdErr::NOTHING));
            cpu.set_cr4_osxsave(Osxsave::Clear);
            let invalid = Err(Fault::InvalidOpcode);
            assert_eq!(restore(&mut cpu, &area.0[32..], ALL), invalid);
        }
    }

    #[test]
    fn reserved_bits_of_mxcsr_are_refused_exactly_when_mxcsr_would_be_loaded() {
        // (XSTATE_BV, RFBM, standard form refuses, compacted form refuses): SDM 1, 13.8.1 and
        // 13.8.2; seen so on Zen 4.
        for (xstate_bv, rfbm, standard, compacted) in [
            (0x7, 0x7, true, true),
            (0x0, 0x7, true, false),
            (0x0, 0x4, true, false),
            (0x6, 0x4, true, false),
            (0x3, 0x1, false, false),
        ] {
            let areas = [
                (Area::standard(xstate_bv), standard),
                (Area::compacted(xstate_bv, 0x7), compacted),
            ];
            for (mut area, refused) in areas {
                area.put(24, &u32::MAX.to_le_bytes());
                let mut cpu = cpu_with_avx();
                let before = cpu.registers().clone();
                let result = cpu.xrstor(&area.0, ComponentSet::from_bits(rfbm));
                assert_eq!(result == REFUSED, refused, "{xstate_bv:#x} {rfbm:#x}");
                assert_eq!(*cpu.registers() == before, refused);
            }
        }
    }

    #[test]
    fn mxcsr_comes_from_memory_from_reset_or_stays() {
        const KEPT: u32 = 0x1f90;
        const MEMORY: u32 = 0x1fa0;
        const RESET: u32 = 0x1f80;
        // (RFBM, XSTATE_BV, after the standard form, after the compacted form)
        for (rfbm, xstate_bv, standard, compacted) in [
            (0x1, 0x7, KEPT, KEPT),
            (0x2, 0x0, MEMORY, RESET),
            (0x2, 0x2, MEMORY, MEMORY),
            (0x2, 0x4, MEMORY, RESET),
            (0x4, 0x0, MEMORY, KEPT),
            (0x4, 0x7, MEMORY, KEPT),
            (0x6, 0x4, MEMORY, RESET),
        ] {
            for (mut area, expected) in [
                (Area::standard(xstate_bv), standard),
                (Area::compacted(xstate_bv, 0x7), compacted),
            ] {
                area.put(24, &MEMORY.to_le_bytes());
                let mut cpu = emerald_rapids();
                cpu.ldmxcsr(Mxcsr::from_bits(KEPT)).unwrap();
                cpu.xrstor(&area.0, ComponentSet::from_bits(rfbm)).unwrap();
                assert_eq!(cpu.stmxcsr().unwrap().bits(), expected);
            }
        }
    }

    #[test]
    fn a_component_becomes_initial_if_requested_and_clear_in_xstate_bv() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(ALL, generator(2));
        let before = cpu.registers().clone();
        // Room for x87 alone: AVX becomes initial although XCOMP_BV does not list it.
        let rfbm = ComponentSet::from_bits(0x5);
        cpu.xrstor(&Area::compacted(0x1, 0x1).0, rfbm).unwrap();
        assert!(cpu.registers().is_initial(Component::Avx));
        assert_eq!(cpu.registers().sse, before.sse);
        assert!(!cpu.in_use().contains(Component::Avx));
        assert!(
            cpu.in_use()
                .contains_all(set(&[Component::X87, Component::Sse]))
        );
    }

    #[test]
    fn what_the_area_holds_of_a_component_clear_in_xstate_bv_is_not_read() {
        let mut area = Area::compacted(0x1, 0x5);
        area.put(576, &[1; 256]);
        let mut cpu = cpu_with_avx();
        // 576 bytes are enough: AVX is not operated on in memory (SDM 1, 13.13).
        assert_eq!(cpu.xrstor(&area.0[..576], ALL), Ok(()));
        cpu.registers_mut().fill(ALL, generator(5));
        cpu.xrstor(&area.0, ALL).unwrap();
        assert!(cpu.registers().is_initial(Component::Avx));
    }

    #[test]
    fn a_restore_that_does_not_fit_changes_nothing() {
        let mut area = Area::standard(0x4);
        area.put(576, &[1; 256]);
        let mut cpu = cpu_with_avx();
        let before = cpu.registers().clone();
        for len in [0, 511, 575] {
            let refused = Err(Fault::OutsideArea { reach: 576, len });
            assert_eq!(cpu.xrstor(&area.0[..len], ALL), refused);
        }
        let refused = Err(Fault::OutsideArea {
            reach: 832,
            len: 831,
        });
        assert_eq!(cpu.xrstor(&area.0[..831], ALL), refused);
        assert_eq!(*cpu.registers(), before);
        assert_eq!(cpu.xrstor(&area.0[..832], ALL), Ok(()));
        // Nothing to be read beyond the header: the components become initial.
        assert_eq!(cpu.xrstor(&Area::standard(0).0[..576], ALL), Ok(()));
    }

    /// SDM 1, 13.14, for each form: (the instruction, XSTATE_BV, format).
    #[test]
    fn restoring_a_disabled_component_raises_device_not_available_and_names_it() {
        let tile_data = set(&[Component::TileData]);
        let [xrstor, xrstors] = RESTORES;
        for (restore, area, loads_tile_data) in [
            (xrstor, Area::standard(0x6_0000), true),
            (xrstor, Area::compacted(0x4_0000, 0x6_0000), true),
            (xrstors, Area::compacted(0x4_0000, 0x6_0000), true),
            (xrstor, Area::standard(0x2_0000), false),
            (xrstor, Area::compacted(0x2_0000, 0x6_0000), false),
            (xrstors, Area::compacted(0x2_0000, 0x6_0000), false),
        ] {
            let mut cpu = emerald_rapids();
            cpu.registers_mut().fill(ALL, generator(4));
            let before = cpu.registers().clone();
            let xfd = Xfd::new(tile_data, tile_data).unwrap();
            cpu.write_xfd(xfd).unwrap();
            let result = restore(&mut cpu, &area.0, ComponentSet::TILES);
            let error = cpu.read_xfd_err().unwrap().components();
            if loads_tile_data {
                assert_eq!(result, Err(Fault::DeviceNotAvailable));
                assert_eq!(error, tile_data);
                assert_eq!(*cpu.registers(), before);
                // Not asked for, it does not matter.
                let config = set(&[Component::TileConfig]);
                assert_eq!(restore(&mut cpu, &area.0, config), Ok(()));
            } else {
                assert_eq!((result, error), (Ok(()), ComponentSet::EMPTY));
                assert!(cpu.registers().is_initial(Component::TileData));
                assert!(!cpu.in_use().contains(Component::TileData));
            }
        }
    }

    #[test]
    fn task_switched_comes_before_ia32_xfd_and_leaves_its_error_register_alone() {
        let tile_data = set(&[Component::TileData]);
        for restore in RESTORES {
            let mut cpu = emerald_rapids();
            cpu.write_xfd(Xfd::new(tile_data, tile_data).unwrap())
                .unwrap();
            let area = Area::compacted(0x4_0000, 0x6_0000);
            cpu.set_cr0_ts(TaskSwitched::Set);
            let not_available = Err(Fault::DeviceNotAvailable);
            assert_eq!(restore(&mut cpu, &area.0, ALL), not_available);
            assert_eq!(cpu.read_xfd_err(), Ok(XfdErr::NOTHING));
            cpu.set_cr0_ts(TaskSwitched::Clear);
            assert_eq!(restore(&mut cpu, &area.0, ALL), not_available);
            assert_eq!(cpu.read_xfd_err().unwrap().components(), tile_data);
        }
    }

    #[test]
    fn what_was_saved_comes_back_in_both_formats() {
        type Save = fn(&mut ModelCpu, &mut [u8], ComponentSet) -> Result<(), Fault>;
        let pairs: [(Save, Restoring); 5] = [
            (ModelCpu::xsave, ModelCpu::xrstor),
            (ModelCpu::xsaveopt, ModelCpu::xrstor),
            (ModelCpu::xsavec, ModelCpu::xrstor),
            (ModelCpu::xsavec, ModelCpu::xrstors),
            (ModelCpu::xsaves, ModelCpu::xrstors),
        ];
        for leaves in [&EMERALD_RAPIDS[..], &GENOA[..]] {
            for optimisation in [
                Optimisation::None,
                Optimisation::Initial,
                Optimisation::InitialAndModified,
            ] {
                for (save, restore) in pairs {
                    round_trip(leaves, optimisation, save, restore);
                }
            }
        }
    }

    fn round_trip(
        leaves: &[crate::recorded_cpus::Leaf],
        optimisation: Optimisation,
        save: fn(&mut ModelCpu, &mut [u8], ComponentSet) -> Result<(), Fault>,
        restore: Restoring,
    ) {
        let mut cpu = cpu_with_everything_enabled(leaves);
        cpu.set_optimisation(optimisation);
        let user = cpu.enumeration().user_components();
        for (seed, in_use) in [(1, ALL), (2, ComponentSet::from_bits(0x6)), (3, user)] {
            cpu.registers_mut().initialise(ALL);
            cpu.registers_mut().set_mxcsr(Mxcsr::INITIAL);
            cpu.registers_mut()
                .fill(in_use.intersection(user), generator(seed));
            if cpu.vendor == crate::VendorDifferences::AMD {
                // No exception is pending, so they would not come back.
                let x87 = cpu.registers_mut().x87();
                (x87.fop, x87.fip, x87.fdp) = (0, 0, 0);
            }
            let before = cpu.registers().clone();
            let mut area = Area::of(0);
            save(&mut cpu, &mut area.0, user).unwrap();
            cpu.registers_mut().fill(user, generator(seed + 100));
            restore(&mut cpu, &area.0, user).unwrap();
            assert_eq!(*cpu.registers(), before);
        }
    }
}
