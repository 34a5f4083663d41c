//! XGETBV, XSETBV, the three MSRs, and the CPUID leaves that depend on them.

use fpstate_arch::{ComponentSet, CpuidRegisters, Fault, Instruction, Xcr0, Xfd, XfdErr, Xss};

use crate::control_state::{Osxsave, Pke};
use crate::cpu::ModelCpu;
use crate::offsets;
use crate::vendor::ReportedInUse;

const OSXSAVE: u32 = 1 << 27; // CPUID.1:ECX
const OSPKE: u32 = 1 << 4; // CPUID.(7,0):ECX

impl ModelCpu {
    pub(crate) fn execute_cpuid(&self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        let mut registers = self.recorded_leaf(leaf, subleaf);
        if (leaf, subleaf) == (7, 0) {
            match self.control.pke {
                Pke::Clear => registers.ecx &= !OSPKE,
                Pke::Set => registers.ecx |= OSPKE,
            }
        }
        if !self.enumeration.has(Instruction::Xsave) {
            return registers;
        }
        match (leaf, subleaf) {
            (1, _) => match self.control.osxsave {
                Osxsave::Clear => registers.ecx &= !OSXSAVE,
                Osxsave::Set => registers.ecx |= OSXSAVE,
            },
            (0xd, 0) => {
                let placed = offsets::standard(&self.table, self.xcr0.components());
                registers.ebx = u32::try_from(offsets::reach(&placed)).unwrap_or(u32::MAX);
            }
            (0xd, 1)
                if self.enumeration.has(Instruction::Xsavec)
                    || self.enumeration.has(Instruction::Xsaves) =>
            {
                let placed = offsets::compacted(&self.table, self.enabled_components());
                registers.ebx = u32::try_from(offsets::reach(&placed)).unwrap_or(u32::MAX);
            }
            _ => {}
        }
        registers
    }

    /// XCR0 | IA32_XSS.
    pub(crate) const fn enabled_components(&self) -> ComponentSet {
        self.xcr0.components().union(self.xss.components())
    }

    pub(crate) fn execute_xgetbv(&self) -> Result<ComponentSet, Fault> {
        self.require(Instruction::Xsave)?;
        Ok(self.xcr0.components())
    }

    pub(crate) fn execute_xgetbv_in_use(&self) -> Result<ComponentSet, Fault> {
        self.require(Instruction::Xsave)?;
        if !self.enumeration.has(Instruction::XgetbvInUse) {
            return Err(Fault::GeneralProtection);
        }
        let in_use = match self.vendor.reported_in_use {
            ReportedInUse::Xinuse => self.in_use(),
            ReportedInUse::XinuseOrMxcsr => self.in_use().union(self.mxcsr_as_component()),
        };
        Ok(self.xcr0.components().intersection(in_use))
    }

    pub(crate) fn execute_xsetbv(&mut self, xcr0: Xcr0) -> Result<(), Fault> {
        self.require(Instruction::Xsave)?;
        self.require_ring_0()?;
        // The value may have been checked against another CPU's components.
        self.xcr0 = Xcr0::new(xcr0.components(), self.enumeration.user_components())
            .map_err(|_| Fault::GeneralProtection)?;
        Ok(())
    }

    pub(crate) fn rdmsr_xss(&self) -> Result<ComponentSet, Fault> {
        self.require_msr(Instruction::Xsaves)?;
        Ok(self.xss.components())
    }

    pub(crate) fn wrmsr_xss(&mut self, xss: Xss) -> Result<(), Fault> {
        self.require_msr(Instruction::Xsaves)?;
        self.xss = Xss::new(xss.components(), self.enumeration.supervisor_components())
            .map_err(|_| Fault::GeneralProtection)?;
        Ok(())
    }

    pub(crate) fn rdmsr_xfd(&self) -> Result<ComponentSet, Fault> {
        self.require_msr(Instruction::Xfd)?;
        Ok(self.xfd.components())
    }

    pub(crate) fn wrmsr_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        self.require_msr(Instruction::Xfd)?;
        self.xfd = Xfd::new(xfd.components(), self.enumeration.xfd_components())
            .map_err(|_| Fault::GeneralProtection)?;
        Ok(())
    }

    pub(crate) fn rdmsr_xfd_err(&self) -> Result<XfdErr, Fault> {
        self.require_msr(Instruction::Xfd)?;
        Ok(self.xfd_err)
    }

    pub(crate) fn wrmsr_xfd_err(&mut self, xfd_err: XfdErr) -> Result<(), Fault> {
        self.require_msr(Instruction::Xfd)?;
        let supported = self.enumeration.xfd_components();
        if !supported.contains_all(xfd_err.components()) {
            return Err(Fault::GeneralProtection);
        }
        self.xfd_err = xfd_err;
        Ok(())
    }

    /// RDMSR and WRMSR raise #GP(0) above CPL 0 and for an MSR that the CPU lacks; CR4.OSXSAVE does
    /// not matter to them.
    fn require_msr(&self, announced_by: Instruction) -> Result<(), Fault> {
        self.require_ring_0()?;
        if self.enumeration.has(announced_by) {
            Ok(())
        } else {
            Err(Fault::GeneralProtection)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::Privilege;
    use crate::recorded_cpus::{EMERALD_RAPIDS, GENOA, Leaf, emerald_rapids};
    use fpstate_arch::{Component, Processor};

    const EVERYTHING: ComponentSet = ComponentSet::from_bits(!(1 << 63));

    fn enabled(leaves: &[Leaf], xcr0: u64, xss: u64) -> ModelCpu {
        let mut cpu = ModelCpu::new(leaves);
        let xcr0 = Xcr0::new(ComponentSet::from_bits(xcr0), EVERYTHING).unwrap();
        cpu.xsetbv(xcr0).unwrap();
        let xss = Xss::new(ComponentSet::from_bits(xss), EVERYTHING).unwrap();
        cpu.write_xss(xss).unwrap();
        cpu
    }

    #[test]
    fn area_sizes_follow_xcr0_and_ia32_xss_as_on_the_recorded_machines() {
        // The dumps were taken under these XCR0 and IA32_XSS; EBX is what the machines returned.
        for (leaves, xcr0, xss, standard, compacted) in [
            (&GENOA[..], 0xe7, 0x800, 0x980, 0x990),
            (&EMERALD_RAPIDS[..], 0x602e7, 0x100, 0x2b00, 0x2a80),
        ] {
            let mut cpu = enabled(leaves, xcr0, xss);
            assert_eq!(cpu.cpuid(0xd, 0).ebx, standard);
            assert_eq!(cpu.cpuid(0xd, 1).ebx, compacted);
        }
    }

    #[test]
    fn with_x87_alone_enabled_an_area_is_legacy_region_and_header() {
        let mut cpu = ModelCpu::new(&GENOA);
        assert_eq!(cpu.cpuid(0xd, 0).ebx, 576);
        assert_eq!(cpu.cpuid(0xd, 0).ecx, 0x988);
        assert_eq!(cpu.cpuid(0xd, 1).ebx, 576);
    }

    #[test]
    fn leaf_1_shows_cr4_osxsave() {
        let mut cpu = ModelCpu::new(&GENOA);
        assert_eq!(cpu.cpuid(1, 0).ecx, 0x7efa_320b);
        cpu.set_cr4_osxsave(Osxsave::Clear);
        assert_eq!(cpu.cpuid(1, 0).ecx, 0x76fa_320b);
    }

    #[test]
    fn without_osxsave_xgetbv_and_xsetbv_are_invalid_and_the_msrs_are_not() {
        let mut cpu = emerald_rapids();
        cpu.set_cr4_osxsave(Osxsave::Clear);
        assert_eq!(cpu.xgetbv(), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.xgetbv_in_use(), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.xsetbv(Xcr0::AFTER_RESET), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.read_xss().unwrap().bits(), 0xdd00);
    }

    #[test]
    fn writing_a_control_register_needs_ring_0_and_reading_xcr0_does_not() {
        let mut cpu = emerald_rapids();
        cpu.set_cpl(Privilege::Ring3);
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(cpu.xsetbv(Xcr0::AFTER_RESET), refused);
        assert_eq!(cpu.write_xss(Xss::AFTER_RESET), refused);
        assert_eq!(cpu.write_xfd(Xfd::NOTHING), refused);
        assert_eq!(cpu.write_xfd_err(XfdErr::NOTHING), refused);
        assert_eq!(cpu.read_xss(), Err(Fault::GeneralProtection));
        assert_eq!(cpu.read_xfd(), Err(Fault::GeneralProtection));
        assert_eq!(cpu.read_xfd_err(), Err(Fault::GeneralProtection));
        assert_eq!(cpu.xgetbv().unwrap().bits(), 0x602e7);
    }

    #[test]
    fn values_for_another_cpu_are_refused_and_change_nothing() {
        let mut cpu = enabled(&GENOA, 0x7, 0x800);
        let tiles = ComponentSet::TILES.union(ComponentSet::LEGACY);
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(cpu.xsetbv(Xcr0::new(tiles, EVERYTHING).unwrap()), refused);
        let pt = ComponentSet::only(Component::Pt);
        assert_eq!(cpu.write_xss(Xss::new(pt, EVERYTHING).unwrap()), refused);
        assert_eq!(cpu.xgetbv().unwrap().bits(), 0x7);
        assert_eq!(cpu.read_xss().unwrap().bits(), 0x800);
    }

    #[test]
    fn xfd_takes_the_components_whose_sub_leaf_has_ecx_bit_2() {
        let mut cpu = emerald_rapids();
        let tile_data = ComponentSet::only(Component::TileData);
        cpu.write_xfd(Xfd::new(tile_data, EVERYTHING).unwrap())
            .unwrap();
        assert_eq!(cpu.read_xfd().unwrap(), tile_data);
        let refused = Err(Fault::GeneralProtection);
        let config = Xfd::new(ComponentSet::TILES, EVERYTHING).unwrap();
        assert_eq!(cpu.write_xfd(config), refused);
        let error = XfdErr::from_components(ComponentSet::TILES);
        assert_eq!(cpu.write_xfd_err(error), refused);
        assert_eq!(cpu.read_xfd().unwrap(), tile_data);
    }

    #[test]
    fn msrs_a_cpu_lacks_raise_general_protection() {
        let mut genoa = ModelCpu::new(&GENOA);
        assert_eq!(genoa.read_xfd(), Err(Fault::GeneralProtection));
        assert_eq!(
            genoa.write_xfd_err(XfdErr::NOTHING),
            Err(Fault::GeneralProtection)
        );
        let mut haswell = GENOA;
        haswell[3].2.eax = 1; // XSAVEOPT alone
        let mut haswell = ModelCpu::new(&haswell);
        assert_eq!(haswell.read_xss(), Err(Fault::GeneralProtection));
        assert_eq!(haswell.xgetbv_in_use(), Err(Fault::GeneralProtection));
        assert_eq!(haswell.cpuid(0xd, 1).ebx, 0x990); // not computed: as recorded
    }
}
