//! RDPKRU and WRPKRU (SDM 2). XCR0\[9\] does not matter to them.

use fpstate_arch::{Component, ComponentSet, Fault, Pkru};

use crate::control_state::Pke;
use crate::cpu::ModelCpu;

impl ModelCpu {
    pub(crate) fn execute_rdpkru(&self) -> Result<Pkru, Fault> {
        self.require_pke()?;
        let register = self.registers.component(Component::Pkru);
        register
            .and_then(<[u8]>::first_chunk)
            .map(|bits| Pkru::from_bits(u32::from_le_bytes(*bits)))
            .ok_or(Fault::InvalidOpcode)
    }

    /// The upper four bytes of the component are reserved and stay.
    pub(crate) fn execute_wrpkru(&mut self, pkru: Pkru) -> Result<(), Fault> {
        self.require_pke()?;
        let register = self.registers.component_mut(Component::Pkru);
        let bits = register
            .and_then(<[u8]>::first_chunk_mut)
            .ok_or(Fault::InvalidOpcode)?;
        *bits = pkru.bits().to_le_bytes();
        self.wrote(ComponentSet::only(Component::Pkru));
        Ok(())
    }

    fn require_pke(&self) -> Result<(), Fault> {
        match self.control.pke {
            Pke::Clear => Err(Fault::InvalidOpcode),
            Pke::Set => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use crate::recorded_cpus::{Area, EMERALD_RAPIDS, GENOA};
    use fpstate_arch::Processor;

    const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);
    const RIGHTS: Pkru = Pkru::from_bits(0x5555_5554);

    #[test]
    fn the_register_is_the_low_half_of_component_9_and_the_high_half_stays() {
        let mut cpu = ModelCpu::new(&EMERALD_RAPIDS);
        cpu.registers_mut().fill(PKRU, || !0);
        cpu.wrpkru(RIGHTS).unwrap();
        assert_eq!(cpu.rdpkru(), Ok(RIGHTS));
        let bytes = cpu.registers().component(Component::Pkru).unwrap();
        assert_eq!(bytes, [0x54, 0x55, 0x55, 0x55, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_write_is_a_use_even_of_the_initial_value() {
        let mut cpu = ModelCpu::new(&EMERALD_RAPIDS);
        assert!(!cpu.in_use().contains(Component::Pkru));
        cpu.wrpkru(Pkru::INITIAL).unwrap();
        assert!(cpu.in_use().contains(Component::Pkru));
    }

    #[test]
    fn without_cr4_pke_they_are_invalid_and_the_component_is_saved_all_the_same() {
        let mut cpu = crate::recorded_cpus::emerald_rapids();
        cpu.wrpkru(RIGHTS).unwrap();
        cpu.set_cr4_pke(Pke::Clear);
        assert_eq!(cpu.rdpkru(), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.wrpkru(Pkru::INITIAL), Err(Fault::InvalidOpcode));
        let mut area = Area::of(0);
        cpu.xsavec(&mut area.0, PKRU).unwrap();
        assert_eq!((area.xstate_bv(), area.u32_at(576)), (0x200, 0x5555_5554));
    }

    /// OSPKE is CPUID.(7,0):ECX\[4\]; it is 0 in both dumps.
    #[test]
    fn cpuid_shows_cr4_pke() {
        for leaves in [&EMERALD_RAPIDS[..], &GENOA[..]] {
            let mut cpu = ModelCpu::new(leaves);
            assert_eq!(cpu.cpuid(7, 0).ecx & 0x18, 0x18);
            cpu.set_cr4_pke(Pke::Clear);
            assert_eq!(cpu.cpuid(7, 0).ecx & 0x18, 0x08);
            let other_sub_leaf = cpu.cpuid(7, 1);
            cpu.set_cr4_pke(Pke::Set);
            assert_eq!(cpu.cpuid(7, 1), other_sub_leaf);
        }
    }

    #[test]
    fn a_cpu_without_protection_keys_cannot_enable_them() {
        // Zen 2 has none.
        let mut cpu = Profile::ROME.cpu();
        cpu.set_cr4_pke(Pke::Set);
        assert_eq!(cpu.cpuid(7, 0).ecx & 0x18, 0);
        assert_eq!(cpu.rdpkru(), Err(Fault::InvalidOpcode));
        assert_eq!(cpu.wrpkru(RIGHTS), Err(Fault::InvalidOpcode));
        // The component alone is not enough.
        let mut leaves = EMERALD_RAPIDS;
        for (leaf, _, registers) in &mut leaves {
            if *leaf == 7 {
                registers.ecx &= !(1 << 3);
            }
        }
        let mut cpu = ModelCpu::new(&leaves);
        assert_eq!(cpu.wrpkru(RIGHTS), Err(Fault::InvalidOpcode));
    }
}
