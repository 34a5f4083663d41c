//! #NM because of IA32_XFD, and what it leaves in IA32_XFD_ERR (SDM 1, 13.14).

use fpstate_arch::{ComponentSet, Fault, XfdErr};

use crate::cpu::ModelCpu;
use crate::vendor::XfdErrUpdate;

impl ModelCpu {
    /// #NM if IA32_XFD disables one of the components that an instruction needs. CR0.TS comes
    /// first: the #NM that it causes leaves IA32_XFD_ERR alone, so check it before this.
    pub(crate) fn require_not_disabled(&mut self, needed: ComponentSet) -> Result<(), Fault> {
        let disabled = needed.intersection(self.xfd.components());
        if disabled.is_empty() {
            return Ok(());
        }
        let before = match self.vendor.xfd_err_update {
            XfdErrUpdate::Loaded => ComponentSet::EMPTY,
            XfdErrUpdate::Accumulated => self.xfd_err.components(),
        };
        self.xfd_err = XfdErr::from_components(before.union(disabled));
        Err(Fault::DeviceNotAvailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpus::{ALL, Area, EMERALD_RAPIDS, cpu_with_everything_enabled};
    use crate::vendor::VendorDifferences;
    use fpstate_arch::{Component, Processor, Xfd};

    const AVX512: ComponentSet = ComponentSet::only(Component::Hi16Zmm);
    const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);

    /// Emerald Rapids on which a second component, 7, can be disabled: no real CPU has two.
    fn cpu_that_can_disable_two() -> ModelCpu {
        let mut leaves = EMERALD_RAPIDS;
        for (leaf, subleaf, registers) in &mut leaves {
            if (*leaf, *subleaf) == (0xd, 7) {
                registers.ecx |= 1 << 2;
            }
        }
        let mut cpu = cpu_with_everything_enabled(&leaves);
        let both = AVX512.union(TILE_DATA);
        cpu.write_xfd(Xfd::new(both, both).unwrap()).unwrap();
        cpu
    }

    #[test]
    fn the_error_register_is_loaded_or_collects_and_both_name_what_is_needed_now() {
        // SDM 1, 13.14: IA32_XFD AND the components required. XSTATE_BV asks for one at a time.
        for (update, after_both) in [
            (XfdErrUpdate::Loaded, TILE_DATA),
            (XfdErrUpdate::Accumulated, AVX512.union(TILE_DATA)),
        ] {
            let mut cpu = cpu_that_can_disable_two();
            cpu.set_vendor_differences(VendorDifferences {
                xfd_err_update: update,
                ..VendorDifferences::INTEL
            });
            for (needed, error) in [(AVX512, AVX512), (TILE_DATA, after_both)] {
                let area = Area::standard(needed.bits());
                assert_eq!(cpu.xrstor(&area.0, ALL), Err(Fault::DeviceNotAvailable));
                assert_eq!(cpu.read_xfd_err().unwrap().components(), error);
            }
        }
    }

    #[test]
    fn what_is_needed_and_enabled_is_not_in_the_error_register() {
        let mut cpu = cpu_that_can_disable_two();
        let area = Area::standard(0x6_00e7);
        cpu.write_xfd(Xfd::new(TILE_DATA, TILE_DATA).unwrap())
            .unwrap();
        assert_eq!(cpu.xrstor(&area.0, ALL), Err(Fault::DeviceNotAvailable));
        assert_eq!(cpu.read_xfd_err().unwrap().components(), TILE_DATA);
    }
}
