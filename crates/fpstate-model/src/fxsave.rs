//! FXSAVE, FXRSTOR, STMXCSR, LDMXCSR and FNINIT (SDM 1, 10.5; SDM 2).

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{Component, ComponentSet, Fault, Instruction, LegacyRegion, Mxcsr};

use crate::control_state::{Emulation, Osfxsr};
use crate::cpu::ModelCpu;
use crate::legacy_region::{is_loadable, restored_x87, save_mxcsr, save_x87};
use crate::offsets::require_reach;

const SSE: u32 = 1 << 25; // CPUID.1:EDX

impl ModelCpu {
    pub(crate) fn execute_fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault> {
        self.require_fxsave(area)?;
        let len = area.len();
        require_reach(area, LEGACY_REGION_LEN)?;
        self.require_present(area, 0..LEGACY_REGION_LEN)?;
        let bytes = area.first_chunk_mut().ok_or(too_short(len))?;
        let mut region = LegacyRegion::from_bytes(bytes);
        save_x87(&mut region, &self.registers.x87, self.vendor.x87_pointers);
        save_mxcsr(&mut region, &self.registers, self.vendor);
        region.xmm = self.registers.sse.xmm;
        region.write_to(bytes);
        Ok(())
    }

    pub(crate) fn execute_fxrstor(&mut self, area: &[u8]) -> Result<(), Fault> {
        self.require_fxsave(area)?;
        let bytes = area.first_chunk().ok_or(too_short(area.len()))?;
        let region = LegacyRegion::from_bytes(bytes);
        if !is_loadable(region.mxcsr, self.vendor) && self.mxcsr_is_present(area) {
            return Err(Fault::GeneralProtection);
        }
        if let Err(fault) = self.require_present(area, 0..LEGACY_REGION_LEN) {
            self.restore_x87_before(area, &region);
            return Err(fault);
        }
        self.registers.x87 = restored_x87(&region, &self.registers.x87, self.vendor);
        self.registers.sse.xmm = region.xmm;
        self.registers.sse.mxcsr = region.mxcsr;
        self.wrote(ComponentSet::LEGACY);
        Ok(())
    }

    pub(crate) fn execute_stmxcsr(&self) -> Result<Mxcsr, Fault> {
        self.require_sse()?;
        Ok(self.registers.sse.mxcsr)
    }

    pub(crate) fn execute_ldmxcsr(&mut self, mxcsr: Mxcsr) -> Result<(), Fault> {
        self.require_sse()?;
        if !is_loadable(mxcsr, self.vendor) {
            return Err(Fault::GeneralProtection);
        }
        self.set_mxcsr(mxcsr);
        Ok(())
    }

    pub(crate) fn execute_fnstcw(&self) -> Result<u16, Fault> {
        if self.control.emulation == Emulation::Set {
            return Err(Fault::DeviceNotAvailable);
        }
        self.require_task_not_switched()?;
        Ok(self.registers.x87.fcw)
    }

    pub(crate) fn execute_fninit(&mut self) -> Result<(), Fault> {
        if self.control.emulation == Emulation::Set {
            return Err(Fault::DeviceNotAvailable);
        }
        self.require_task_not_switched()?;
        self.registers.x87.initialise_control();
        self.tracking.modified(ComponentSet::only(Component::X87));
        Ok(())
    }

    /// The FILD is the kernel's, and so are the addresses.
    pub(crate) fn execute_fnclex_emms_fild(&mut self) -> Result<(), Fault> {
        const FIP: u64 = 0xffff_ffff_8100_0000;
        const FDP: u64 = 0xffff_ffff_8200_0000;
        const FOP: u16 = 0x307; // DB /0 with a ModRM byte of 07H
        if self.control.emulation == Emulation::Set {
            return Err(Fault::DeviceNotAvailable);
        }
        self.require_task_not_switched()?;
        self.registers_mut().fnclex_emms_fild(FIP, FDP, FOP);
        Ok(())
    }

    fn require_fxsave(&self, area: &[u8]) -> Result<(), Fault> {
        if !self.enumeration.has(Instruction::Fxsave) || self.control.emulation == Emulation::Set {
            return Err(Fault::InvalidOpcode);
        }
        self.require_task_not_switched()?;
        self.require_aligned(area, 16)
    }

    fn require_sse(&self) -> Result<(), Fault> {
        if self.recorded_leaf(1, 0).edx & SSE == 0
            || self.control.emulation == Emulation::Set
            || self.control.osfxsr == Osfxsr::Clear
        {
            return Err(Fault::InvalidOpcode);
        }
        self.require_task_not_switched()
    }
}

const fn too_short(len: usize) -> Fault {
    Fault::OutsideArea {
        reach: LEGACY_REGION_LEN,
        len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::TaskSwitched;
    use crate::recorded_cpus::{Area, GENOA, emerald_rapids, generator};
    use crate::register_file::X87;
    use crate::vendor::VendorDifferences;
    use fpstate_arch::Processor;

    #[test]
    fn fxsave_then_fxrstor_brings_back_x87_and_sse_and_nothing_else() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut()
            .fill(ComponentSet::from_bits(0x7), generator(7));
        let saved = cpu.registers().clone();
        let mut area = Area::of(0xaa);
        cpu.fxsave(&mut area.0).unwrap();
        cpu.registers_mut()
            .fill(ComponentSet::from_bits(0x7), generator(8));
        let avx = cpu.registers().component(Component::Avx).unwrap().to_vec();
        cpu.fxrstor(&area.0).unwrap();
        assert_eq!(cpu.registers().x87, saved.x87);
        assert_eq!(cpu.registers().sse, saved.sse);
        assert_eq!(cpu.registers().component(Component::Avx).unwrap(), avx);
    }

    #[test]
    fn fxsave_writes_mxcsr_mask_and_leaves_what_belongs_to_software() {
        let mut cpu = emerald_rapids();
        let mut area = Area::of(0xaa);
        cpu.fxsave(&mut area.0).unwrap();
        assert_eq!(area.u32_at(24), 0x1f80);
        assert_eq!(area.u32_at(28), 0xffff);
        // SDM 1, 10.5.1: bytes 511:464 are available to software.
        assert!(area.0[416..].iter().all(|&byte| byte == 0xaa));
    }

    #[test]
    fn an_area_must_lie_at_a_multiple_of_16_and_have_512_bytes() {
        let mut cpu = emerald_rapids();
        let mut area = Area::standard(0);
        assert_eq!(cpu.fxsave(&mut area.0[16..]), Ok(()));
        assert_eq!(cpu.fxsave(&mut area.0[8..]), Err(Fault::GeneralProtection));
        assert_eq!(cpu.fxrstor(&area.0[8..]), Err(Fault::GeneralProtection));
        let outside = Fault::OutsideArea {
            reach: 512,
            len: 511,
        };
        assert_eq!(cpu.fxsave(&mut area.0[..511]), Err(outside));
        assert_eq!(cpu.fxrstor(&area.0[..511]), Err(outside));
    }

    #[test]
    fn reserved_bits_of_mxcsr_are_refused_by_the_mask_of_the_cpu() {
        let mut cpu = emerald_rapids();
        let mut area = Area::standard(0);
        area.put(24, &0x2_1f80_u32.to_le_bytes());
        let before = cpu.registers().clone();
        assert_eq!(cpu.fxrstor(&area.0), Err(Fault::GeneralProtection));
        let misaligned_mask = Mxcsr::from_bits(0x2_1f80);
        assert_eq!(cpu.ldmxcsr(misaligned_mask), Err(Fault::GeneralProtection));
        assert_eq!(*cpu.registers(), before);
        cpu.set_vendor_differences(VendorDifferences::AMD);
        assert_eq!(cpu.fxrstor(&area.0), Ok(()));
        assert_eq!(cpu.stmxcsr(), Ok(misaligned_mask));
    }

    #[test]
    fn fninit_keeps_the_data_registers_and_empties_the_tags() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(ComponentSet::LEGACY, generator(3));
        cpu.registers_mut().x87().fsw = 0;
        let st = cpu.registers().x87.st;
        cpu.fninit().unwrap();
        assert_eq!(cpu.registers().x87, X87 { st, ..X87::INITIAL });
    }

    /// As seen on Zen 4: ST0 after FNINIT is what was R0, the physical register.
    #[test]
    fn fninit_names_the_data_registers_anew_because_it_sets_top_to_0() {
        let mut cpu = emerald_rapids();
        let x87 = cpu.registers_mut().x87();
        x87.fsw = 5 << 11;
        x87.st = core::array::from_fn(|i| [u8::try_from(i).unwrap(); 10]);
        cpu.fninit().unwrap();
        let first_bytes = cpu.registers().x87.st.map(|register| register[0]);
        assert_eq!(first_bytes, [3, 4, 5, 6, 7, 0, 1, 2]);
    }

    #[test]
    fn task_switched_raises_device_not_available_and_emulation_each_its_own() {
        let mut cpu = emerald_rapids();
        let mut area = Area::standard(0);
        cpu.set_cr0_ts(TaskSwitched::Set);
        let not_available = Err(Fault::DeviceNotAvailable);
        assert_eq!(cpu.fxsave(&mut area.0), not_available);
        assert_eq!(cpu.fxrstor(&area.0), not_available);
        assert_eq!(cpu.ldmxcsr(Mxcsr::INITIAL), not_available);
        assert_eq!(cpu.stmxcsr(), Err(Fault::DeviceNotAvailable));
        assert_eq!(cpu.fninit(), not_available);
        cpu.set_cr0_ts(TaskSwitched::Clear);
        cpu.set_cr0_em(Emulation::Set);
        assert_eq!(cpu.fxsave(&mut area.0), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.ldmxcsr(Mxcsr::INITIAL), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.fninit(), not_available);
    }

    #[test]
    fn instructions_the_cpu_lacks_or_the_system_has_not_enabled_are_invalid() {
        let mut cpu = emerald_rapids();
        cpu.set_cr4_osfxsr(Osfxsr::Clear);
        assert_eq!(cpu.stmxcsr(), Err(Fault::InvalidOpcode));
        let mut leaves = GENOA;
        leaves[1].2.edx &= !(1 << 24 | 1 << 25);
        let mut cpu = ModelCpu::new(&leaves);
        assert_eq!(cpu.stmxcsr(), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.fxsave(&mut Area::of(0).0), Err(Fault::InvalidOpcode));
    }
}
