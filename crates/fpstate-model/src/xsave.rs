//! XSAVE, XSAVEOPT, XSAVEC and XSAVES (SDM 1, 13.7 and 13.9 to 13.11; SDM 2, "Operation" of each).

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::{COMPACTED_BIT, EXTENDED_REGION_OFFSET, XSAVE_HEADER_LEN};
use fpstate_arch::{Component, ComponentSet, Fault, Instruction, LegacyRegion, XsaveHeader};

use crate::cpu::ModelCpu;
use crate::legacy_region::{save_mxcsr, save_x87};
use crate::memory::XSAVE_ALIGNMENT;
use crate::offsets::{self, Placed};
use crate::poisoning::Format;
use crate::register_file::initial_configuration;
use crate::tracking::{Optimisation, XrstorInfo};

/// What keeps MXCSR and MXCSR_MASK in a standard-format area: SSE or AVX (SDM 1, 13.7).
const SAVED_WITH_MXCSR: ComponentSet = ComponentSet::only(Component::Sse).with(Component::Avx);

impl ModelCpu {
    pub(crate) fn execute_xsave(
        &mut self,
        area: &mut [u8],
        instruction_mask: ComponentSet,
    ) -> Result<(), Fault> {
        self.require_save(Instruction::Xsave, area)?;
        let rfbm = self.xcr0.components().intersection(instruction_mask);
        let in_use = self.in_use_for_save();
        self.save_standard(area, rfbm, in_use.announced(), rfbm)
    }

    pub(crate) fn execute_xsaveopt(
        &mut self,
        area: &mut [u8],
        instruction_mask: ComponentSet,
    ) -> Result<(), Fault> {
        self.require_save(Instruction::Xsaveopt, area)?;
        let rfbm = self.xcr0.components().intersection(instruction_mask);
        let in_use = self.in_use_for_save();
        let modified = self.modified_since_restore_from(area, 0);
        let to_be_saved = rfbm
            .intersection(in_use.announced())
            .intersection(modified.union(in_use.presumed));
        self.save_standard(area, rfbm, in_use.announced(), to_be_saved)
    }

    pub(crate) fn execute_xsavec(
        &mut self,
        area: &mut [u8],
        instruction_mask: ComponentSet,
    ) -> Result<(), Fault> {
        self.require_save(Instruction::Xsavec, area)?;
        let rfbm = self.xcr0.components().intersection(instruction_mask);
        let in_use = self.in_use_for_save();
        let xstate_bv = self.compacted_xstate_bv(rfbm, in_use.announced());
        self.save_compacted(area, rfbm, xstate_bv, xstate_bv)
    }

    pub(crate) fn execute_xsaves(
        &mut self,
        area: &mut [u8],
        instruction_mask: ComponentSet,
    ) -> Result<(), Fault> {
        self.require(Instruction::Xsaves)?;
        self.require_task_not_switched()?;
        self.require_ring_0()?;
        self.require_aligned(area, XSAVE_ALIGNMENT)?;
        let rfbm = self.enabled_components().intersection(instruction_mask);
        let in_use = self.in_use_for_save();
        let xstate_bv = self.compacted_xstate_bv(rfbm, in_use.announced());
        let xcomp_bv = rfbm.bits() | COMPACTED_BIT;
        let modified = self.modified_since_restore_from(area, xcomp_bv);
        // As the pseudo-code has it, SSE is saved with an MXCSR that is not initial even if the
        // modified optimisation applies; it sets XSTATE_BV to what is saved, but 13.11 says XINUSE.
        let modified = modified.union(in_use.presumed);
        let to_be_saved = xstate_bv.intersection(modified.union(self.mxcsr_as_component()));
        self.save_compacted(area, rfbm, xstate_bv, to_be_saved)
    }

    fn require_save(&self, instruction: Instruction, area: &[u8]) -> Result<(), Fault> {
        self.require(instruction)?;
        self.require_task_not_switched()?;
        self.require_aligned(area, XSAVE_ALIGNMENT)
    }

    /// XSTATE_BV as XSAVEC and XSAVES write it.
    fn compacted_xstate_bv(&self, rfbm: ComponentSet, in_use: ComponentSet) -> ComponentSet {
        in_use.union(self.mxcsr_as_component()).intersection(rfbm)
    }

    /// XMODIFIED, or everything where the modified optimisation does not apply.
    fn modified_since_restore_from(&self, area: &[u8], xcomp_bv: u64) -> ComponentSet {
        match self.optimisation {
            Optimisation::None | Optimisation::Initial => ComponentSet::from_bits(!0),
            Optimisation::InitialAndModified | Optimisation::Poisoning => {
                self.tracking.modified_since(XrstorInfo {
                    privilege: self.control.privilege,
                    linear_address: area.as_ptr().addr(),
                    xcomp_bv,
                })
            }
        }
    }

    pub(crate) fn save_standard(
        &self,
        area: &mut [u8],
        rfbm: ComponentSet,
        in_use: ComponentSet,
        to_be_saved: ComponentSet,
    ) -> Result<(), Fault> {
        let placed = offsets::standard(&self.table, rfbm);
        self.require_writable(area, &placed)?;
        let (legacy_region, header) = fixed_parts(area)?;
        let mut region = LegacyRegion::from_bytes(legacy_region);
        self.save_legacy(&mut region, to_be_saved);
        // Neither optimisation applies to MXCSR (SDM 1, 13.9).
        if rfbm.intersects(SAVED_WITH_MXCSR) {
            save_mxcsr(&mut region, &self.registers, self.vendor);
        }
        region.write_to(legacy_region);
        let mut new_header = XsaveHeader::from_bytes(header);
        new_header.xstate_bv = new_header
            .xstate_bv
            .difference(rfbm)
            .union(in_use.intersection(rfbm));
        *header = new_header.to_bytes();
        self.save_extended(area, &placed, to_be_saved)?;
        let unwritten = rfbm.difference(in_use).difference(to_be_saved);
        self.poison(area, &placed, unwritten, Format::Standard);
        Ok(())
    }

    pub(crate) fn save_compacted(
        &self,
        area: &mut [u8],
        rfbm: ComponentSet,
        xstate_bv: ComponentSet,
        to_be_saved: ComponentSet,
    ) -> Result<(), Fault> {
        let placed = offsets::compacted(&self.table, rfbm);
        self.require_writable(area, &placed)?;
        let (legacy_region, header) = fixed_parts(area)?;
        let mut region = LegacyRegion::from_bytes(legacy_region);
        self.save_legacy(&mut region, to_be_saved);
        if to_be_saved.contains(Component::Sse) {
            save_mxcsr(&mut region, &self.registers, self.vendor);
        }
        region.write_to(legacy_region);
        let new_header = XsaveHeader {
            xstate_bv,
            xcomp_bv: rfbm.bits() | COMPACTED_BIT,
            reserved: XsaveHeader::from_bytes(header).reserved,
        };
        *header = new_header.to_bytes();
        self.save_extended(area, &placed, to_be_saved)?;
        let unwritten = rfbm.difference(xstate_bv);
        self.poison(area, &placed, unwritten, Format::Compacted);
        Ok(())
    }

    /// x87 and the XMM registers.
    fn save_legacy(&self, region: &mut LegacyRegion, to_be_saved: ComponentSet) {
        if to_be_saved.contains(Component::X87) {
            save_x87(region, &self.registers.x87, self.vendor.x87_pointers);
        }
        if to_be_saved.contains(Component::Sse) {
            region.xmm = self.registers.sse.xmm;
        }
    }

    fn save_extended(
        &self,
        area: &mut [u8],
        placed: &[Placed],
        to_be_saved: ComponentSet,
    ) -> Result<(), Fault> {
        let len = area.len();
        for Placed { component, range } in placed {
            if !to_be_saved.contains(*component) {
                continue;
            }
            let to = area.get_mut(range.clone()).ok_or(Fault::OutsideArea {
                reach: range.end,
                len,
            })?;
            // Only XSAVE gets here with a disabled component, and writes its initial
            // configuration (SDM 1, 13.14).
            let initial = self
                .xfd
                .components()
                .contains(*component)
                .then(|| initial_configuration(*component, to.len()));
            let from = match &initial {
                Some(bytes) => bytes.as_slice(),
                None => self.registers.component(*component).unwrap_or_default(),
            };
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        Ok(())
    }
}

/// The legacy region and the header.
fn fixed_parts(
    area: &mut [u8],
) -> Result<(&mut [u8; LEGACY_REGION_LEN], &mut [u8; XSAVE_HEADER_LEN]), Fault> {
    let too_short = Fault::OutsideArea {
        reach: EXTENDED_REGION_OFFSET,
        len: area.len(),
    };
    let (legacy_region, rest) = area.split_first_chunk_mut().ok_or(too_short)?;
    let header = rest.first_chunk_mut().ok_or(too_short)?;
    Ok((legacy_region, header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::{Osxsave, Privilege, TaskSwitched};
    use crate::recorded_cpus::{
        ALL, Area, GENOA, cpu_with_everything_enabled, emerald_rapids, generator, set,
    };
    use fpstate_arch::{Mxcsr, Processor, Xfd, XfdErr};

    type Save = fn(&mut ModelCpu, &mut [u8], ComponentSet) -> Result<(), Fault>;
    const SAVES: [Save; 4] = [
        ModelCpu::xsave,
        ModelCpu::xsaveopt,
        ModelCpu::xsavec,
        ModelCpu::xsaves,
    ];
    /// XSAVEC and XSAVES.
    const COMPACTED: [Save; 2] = [ModelCpu::xsavec, ModelCpu::xsaves];

    const AVX: ComponentSet = ComponentSet::only(Component::Avx);
    const AVX_OFFSET: usize = 576;
    const XMM0_OFFSET: usize = 160;

    #[test]
    fn every_save_is_refused_without_osxsave_with_ts_set_or_misaligned() {
        for save in SAVES {
            let mut cpu = emerald_rapids();
            let mut area = Area::of(0xaa);
            assert_eq!(
                save(&mut cpu, &mut area.0[32..], ALL),
                Err(Fault::GeneralProtection)
            );
            cpu.set_cr0_ts(TaskSwitched::Set);
            // #NM comes before #GP, #UD before both.
            let not_available = Err(Fault::DeviceNotAvailable);
            assert_eq!(save(&mut cpu, &mut area.0[32..], ALL), not_available);
            cpu.set_cr4_osxsave(Osxsave::Clear);
            let invalid = Err(Fault::InvalidOpcode);
            assert_eq!(save(&mut cpu, &mut area.0[32..], ALL), invalid);
            assert!(area.0 == Area::of(0xaa).0);
        }
    }

    #[test]
    fn an_instruction_that_cpuid_does_not_announce_is_invalid() {
        let mut leaves = GENOA;
        leaves[3].2.eax = 0;
        let mut cpu = ModelCpu::new(&leaves);
        let mut area = Area::of(0);
        for save in &SAVES[1..] {
            assert_eq!(save(&mut cpu, &mut area.0, ALL), Err(Fault::InvalidOpcode));
        }
        assert_eq!(cpu.xsave(&mut area.0, ALL), Ok(()));
    }

    #[test]
    fn xsaves_needs_ring_0_and_the_other_saves_do_not() {
        let mut cpu = emerald_rapids();
        let mut area = Area::of(0);
        cpu.set_cpl(Privilege::Ring3);
        assert_eq!(cpu.xsaves(&mut area.0, ALL), Err(Fault::GeneralProtection));
        for save in &SAVES[..3] {
            assert_eq!(save(&mut cpu, &mut area.0, ALL), Ok(()));
        }
    }

    #[test]
    fn a_save_that_does_not_fit_writes_nothing() {
        // Standard: XTILEDATA ends at 2B00H (CPUID). Compacted: PT to XTILEDATA, see below.
        for (save, components, reach) in [
            (SAVES[0], 0x602e7, 0x2b00),
            (SAVES[1], 0x602e7, 0x2b00),
            (SAVES[2], 0x602e7, 0x2a00), // 2A80H of the dump without PT's 80H
            (SAVES[3], 0x603e7, 0x2a80),
            (SAVES[0], 0, 576),
            (SAVES[3], 0, 576),
        ] {
            let mut cpu = emerald_rapids();
            let mut area = Area::of(0xaa);
            let components = ComponentSet::from_bits(components);
            let len = reach - 1;
            let refused = Err(Fault::OutsideArea { reach, len });
            assert_eq!(save(&mut cpu, &mut area.0[..len], components), refused);
            assert!(area.0 == Area::of(0xaa).0);
            assert_eq!(save(&mut cpu, &mut area.0[..reach], components), Ok(()));
        }
    }

    #[test]
    fn standard_saves_change_of_the_header_only_the_requested_bits_of_xstate_bv() {
        for save in [ModelCpu::xsave, ModelCpu::xsaveopt] as [Save; 2] {
            let mut cpu = emerald_rapids();
            cpu.registers_mut().fill(AVX, generator(1));
            let mut area = Area::of(0xaa);
            area.put(512, &u64::MAX.to_le_bytes());
            save(&mut cpu, &mut area.0, ComponentSet::from_bits(0x7)).unwrap();
            // SDM 1, 13.7: of RFBM = 7 only AVX is in use.
            assert_eq!(area.xstate_bv(), 0xffff_ffff_ffff_fffc);
            assert!(area.0[520..576].iter().all(|&byte| byte == 0xaa));
        }
    }

    #[test]
    fn compacted_saves_write_both_bitmaps_and_leave_the_reserved_bytes() {
        for save in COMPACTED {
            let mut cpu = emerald_rapids();
            cpu.registers_mut().fill(AVX, generator(1));
            let mut area = Area::of(0xaa);
            save(&mut cpu, &mut area.0, ComponentSet::from_bits(0x7)).unwrap();
            assert_eq!(area.xstate_bv(), 0x4);
            assert_eq!(area.u64_at(520), 0x8000_0000_0000_0007);
            assert!(area.0[528..576].iter().all(|&byte| byte == 0xaa));
        }
    }

    #[test]
    fn only_xsave_writes_components_in_their_initial_configuration() {
        for (save, fcw, avx) in [
            (SAVES[0], 0x7f, 0x00),
            (SAVES[1], 0xaa, 0xaa),
            (SAVES[2], 0xaa, 0xaa),
            (SAVES[3], 0xaa, 0xaa),
        ] {
            let mut cpu = emerald_rapids();
            let mut area = Area::of(0xaa);
            save(&mut cpu, &mut area.0, ComponentSet::from_bits(0x7)).unwrap();
            assert_eq!((area.0[0], area.0[AVX_OFFSET]), (fcw, avx));
        }
    }

    #[test]
    fn without_the_init_optimisation_every_save_writes_everything() {
        for save in SAVES {
            let mut cpu = emerald_rapids();
            cpu.set_optimisation(Optimisation::None);
            let mut area = Area::of(0xaa);
            save(&mut cpu, &mut area.0, ComponentSet::from_bits(0x7)).unwrap();
            assert_eq!((area.0[0], area.0[AVX_OFFSET]), (0x7f, 0));
            assert_eq!(area.xstate_bv() & 0x7, 0x7);
        }
    }

    #[test]
    fn standard_saves_store_mxcsr_for_sse_or_avx_and_not_for_x87() {
        // SDM 1, 13.7 and 13.9: the init optimisation does not apply to MXCSR.
        for save in [ModelCpu::xsave, ModelCpu::xsaveopt] as [Save; 2] {
            for (rfbm, mxcsr) in [(0x1, 0xaaaa_aaaa), (0x2, 0x1f80), (0x4, 0x1f80)] {
                let mut cpu = emerald_rapids();
                let mut area = Area::of(0xaa);
                save(&mut cpu, &mut area.0, ComponentSet::from_bits(rfbm)).unwrap();
                assert_eq!(area.u32_at(24), mxcsr);
                let mask = if rfbm == 1 { 0xaaaa_aaaa } else { 0xffff };
                assert_eq!(area.u32_at(28), mask);
            }
        }
    }

    #[test]
    fn compacted_saves_store_sse_for_mxcsr_alone_and_only_if_sse_is_requested() {
        for save in COMPACTED {
            for (rfbm, mxcsr, xstate_bv, stored) in [
                (0x3, 0x1f80, 0x0, 0xaaaa_aaaa),
                (0x3, 0x1fa0, 0x2, 0x1fa0),
                (0x4, 0x1fa0, 0x0, 0xaaaa_aaaa),
            ] {
                let mut cpu = emerald_rapids();
                cpu.ldmxcsr(Mxcsr::from_bits(mxcsr)).unwrap();
                let mut area = Area::of(0xaa);
                save(&mut cpu, &mut area.0, ComponentSet::from_bits(rfbm)).unwrap();
                assert_eq!(area.xstate_bv(), xstate_bv);
                assert_eq!(area.u32_at(24), stored);
                let xmm0 = if xstate_bv == 0x2 { 0 } else { 0xaa };
                assert_eq!(area.0[XMM0_OFFSET], xmm0);
            }
        }
    }

    #[test]
    fn xsave_saves_xstate_bv_1_as_0_even_if_mxcsr_is_not_initial() {
        let mut cpu = emerald_rapids();
        cpu.ldmxcsr(Mxcsr::from_bits(0x1fa0)).unwrap();
        let mut area = Area::of(0);
        cpu.xsave(&mut area.0, ALL).unwrap();
        assert_eq!(area.xstate_bv(), 0); // SDM 1, 13.7
        assert_eq!(area.u32_at(24), 0x1fa0);
    }

    #[test]
    fn supervisor_components_are_saved_by_xsaves_alone() {
        for save in SAVES {
            let mut cpu = emerald_rapids();
            let cet = set(&[Component::CetU]);
            cpu.registers_mut().fill(cet, generator(1));
            let mut area = Area::of(0);
            save(&mut cpu, &mut area.0, cet).unwrap();
            let by_xsaves = area.u64_at(520) == 1 << 63 | 0x800;
            assert_eq!(area.xstate_bv() == 0x800, by_xsaves);
        }
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(ALL, generator(1));
        let mut area = Area::of(0);
        cpu.xsaves(&mut area.0, set(&[Component::CetU])).unwrap();
        let cet = cpu.registers().component(Component::CetU).unwrap();
        assert_eq!(area.0[576..592], *cet);
    }

    /// Whatever XINUSE\[18\] is, and whatever the processor does to save less.
    #[test]
    fn a_disabled_component_is_saved_as_initial_and_raises_nothing() {
        let tile_data = set(&[Component::TileData]);
        let optimisations = [
            Optimisation::None,
            Optimisation::Initial,
            Optimisation::InitialAndModified,
            Optimisation::Poisoning,
        ];
        let forms = SAVES.into_iter().zip([true, false, false, false]);
        for (optimisation, (save, written)) in optimisations
            .into_iter()
            .flat_map(|optimisation| forms.clone().map(move |form| (optimisation, form)))
        {
            let mut cpu = emerald_rapids();
            cpu.set_optimisation(optimisation);
            cpu.registers_mut().fill(tile_data, generator(1));
            let before = cpu.registers().clone();
            let xfd = Xfd::new(tile_data, tile_data).unwrap();
            cpu.write_xfd(xfd).unwrap();
            let mut area = Area::of(0xaa);
            area.put(512, &[0; 16]);
            save(&mut cpu, &mut area.0, tile_data).unwrap();
            // SDM 1, 13.14. The CPU's dump places XTILEDATA at B00H.
            assert_eq!(area.xstate_bv(), 0);
            assert_eq!(area.0[0xb00] == 0, written);
            assert_eq!(area.0[576..0xb00], Area::of(0xaa).0[576..0xb00]);
            assert_eq!(*cpu.registers(), before);
            assert_eq!(cpu.read_xfd_err(), Ok(XfdErr::NOTHING));
        }
        for save in COMPACTED {
            let mut cpu = emerald_rapids();
            cpu.write_xfd(Xfd::new(tile_data, tile_data).unwrap())
                .unwrap();
            let mut area = Area::of(0);
            save(&mut cpu, &mut area.0, ComponentSet::TILES).unwrap();
            assert_eq!(area.u64_at(520), 0x8000_0000_0006_0000);
        }
    }

    #[test]
    fn disabling_a_component_changes_neither_registers_nor_xinuse() {
        let tile_data = set(&[Component::TileData]);
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(ALL, generator(1));
        let before = cpu.registers().clone();
        for xfd in [Xfd::new(tile_data, tile_data).unwrap(), Xfd::NOTHING] {
            cpu.write_xfd(xfd).unwrap();
            assert_eq!(*cpu.registers(), before);
            assert!(cpu.in_use().contains(Component::TileData));
        }
        let mut area = Area::of(0);
        cpu.xsavec(&mut area.0, tile_data).unwrap();
        assert_eq!(area.xstate_bv(), 0x4_0000);
    }

    #[test]
    fn a_processor_that_looks_at_contents_saves_a_restored_zero_as_initial() {
        let mut cpu = cpu_with_everything_enabled(&GENOA);
        let mut area = Area::standard(0x7);
        cpu.xrstor(&area.0, ALL).unwrap();
        cpu.xsave(&mut area.0, ALL).unwrap();
        assert_eq!(area.xstate_bv(), 0); // seen on Zen 4
        let mut cpu = emerald_rapids();
        cpu.xrstor(&Area::standard(0x7).0, ALL).unwrap();
        cpu.xsave(&mut area.0, ALL).unwrap();
        assert_eq!(area.xstate_bv(), 0x7); // SDM 1, 13.8.3
    }
}
