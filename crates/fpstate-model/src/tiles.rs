//! LDTILECFG, STTILECFG and TILERELEASE (SDM 1, chapter 18; SDM 2; exception classes AMX-E1, AMX-E2
//! and AMX-E6).
//!
//! IA32_XFD and CR0.TS do not matter to the three: they initialise tile data or leave it alone
//! (SDM 1, 13.14).

use fpstate_arch::tile_config::{TILE_CONFIG_LEN, TileConfig};
use fpstate_arch::{Component, ComponentSet, Fault};

use crate::cpu::ModelCpu;
use crate::tile_registers::{ConfiguredTiles, TILE_CONFIG, TILE_DATA};

/// Palette 0.
const NO_TILES: u8 = 0;

impl ModelCpu {
    /// LDTILECFG, as user code executes it. Tile data becomes initial; with palette 0 the
    /// configuration does too, whatever its other bytes are.
    ///
    /// # Errors
    /// #UD without AMX, with CR4.OSXSAVE = 0 or unless XCR0\[18:17\] is 11b. #GP for a palette that
    /// the CPU lacks, reserved bytes that are not 0, a tile with more rows or columns than the
    /// palette has or with one of them 0, and a tile beyond the palette's.
    pub fn ldtilecfg(&mut self, config: &[u8; TILE_CONFIG_LEN]) -> Result<(), Fault> {
        self.require_amx()?;
        let new = TileConfig::from_bytes(config);
        if new.palette == NO_TILES {
            self.initialise(ComponentSet::TILES);
            return Ok(());
        }
        ConfiguredTiles::new(new, self.enumeration.tiles()).ok_or(Fault::GeneralProtection)?;
        self.initialise(TILE_DATA);
        let register = self.registers.component_mut(Component::TileConfig);
        for (to, from) in register.unwrap_or_default().iter_mut().zip(config) {
            *to = *from;
        }
        self.wrote(TILE_CONFIG);
        Ok(())
    }

    /// STTILECFG: what LDTILECFG would have to load for these tiles. Zeros where none are
    /// configured.
    ///
    /// # Errors
    /// #UD as for [`ldtilecfg`](Self::ldtilecfg).
    pub fn sttilecfg(&self) -> Result<[u8; TILE_CONFIG_LEN], Fault> {
        self.require_amx()?;
        Ok(match (self.configured_tiles(), self.tile_config_bytes()) {
            (Some(_), Some(bytes)) => *bytes,
            (None, _) | (_, None) => [0; TILE_CONFIG_LEN],
        })
    }

    pub(crate) fn execute_tilerelease(&mut self) -> Result<(), Fault> {
        self.require_amx()?;
        self.initialise(ComponentSet::TILES);
        Ok(())
    }

    fn initialise(&mut self, tiles: ComponentSet) {
        self.registers.initialise(tiles);
        self.tracking.initialised(tiles);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::{Osxsave, TaskSwitched};
    use crate::recorded_cpus::{
        ALL, EMERALD_RAPIDS, GENOA, cpu_with_everything_enabled, emerald_rapids, generator,
        tile_config,
    };
    use fpstate_arch::{Processor, Xcr0, Xfd, XfdErr};

    /// Tile 0 with 16 rows of 64 bytes, the most; tile 7 with one of 4.
    fn two_tiles() -> [u8; TILE_CONFIG_LEN] {
        tile_config(&[(0, 16, 64), (7, 1, 4)])
    }

    fn with_byte(mut config: [u8; TILE_CONFIG_LEN], offset: usize, value: u8) -> [u8; 64] {
        config[offset] = value;
        config
    }

    #[test]
    fn a_configuration_comes_back_and_the_tiles_are_zero() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(TILE_DATA, generator(1));
        let config = with_byte(two_tiles(), 1, 3); // start_row
        cpu.ldtilecfg(&config).unwrap();
        assert_eq!(cpu.sttilecfg(), Ok(config));
        let register = cpu.registers().component(Component::TileConfig).unwrap();
        assert_eq!(*register, config);
        assert!(cpu.registers().is_initial(Component::TileData));
        assert_eq!(cpu.in_use(), TILE_CONFIG);
    }

    #[test]
    fn a_configuration_is_refused_for_each_rule_it_breaks() {
        // SDM 2, LDTILECFG, "Operation"; palette 1 of the dump: 8 tiles of 16 rows of 64 bytes.
        for (offset, value, why) in [
            (0, 2, "palette"),
            (2, 1, "reserved byte 2"),
            (15, 1, "reserved byte 15"),
            (16, 65, "colsb of tile 0"),
            (17, 1, "high byte of colsb of tile 0"),
            (48, 17, "rows of tile 0"),
            (48, 0, "no rows of tile 0"),
            (16, 0, "no columns of tile 0"),
            (20, 4, "columns of tile 2 and no rows"),
            (50, 1, "rows of tile 2 and no columns"),
            (32, 4, "colsb of tile 8"),
            (47, 1, "colsb of tile 15"),
            (56, 1, "rows of tile 8"),
            (63, 1, "rows of tile 15"),
        ] {
            let mut cpu = emerald_rapids();
            cpu.registers_mut().fill(TILE_DATA, generator(1));
            let before = cpu.registers().clone();
            let config = with_byte(two_tiles(), offset, value);
            let refused = Err(Fault::GeneralProtection);
            assert_eq!(cpu.ldtilecfg(&config), refused, "{why}");
            assert_eq!(*cpu.registers(), before, "{why}");
        }
        let mut whole_tile_8 = with_byte(two_tiles(), 32, 4);
        whole_tile_8[56] = 1;
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(emerald_rapids().ldtilecfg(&whole_tile_8), refused);
    }

    type Initialise = fn(&mut ModelCpu, &[u8; TILE_CONFIG_LEN]) -> Result<(), Fault>;

    #[test]
    fn palette_0_and_tilerelease_initialise_both_components() {
        let mut palette_0 = [0xff; TILE_CONFIG_LEN];
        palette_0[0] = 0; // The other bytes are not looked at: SDM 2, "Operation".
        for initialise in [
            (|cpu, palette_0| cpu.ldtilecfg(palette_0)) as Initialise,
            |cpu, _| cpu.tilerelease(),
        ] {
            let mut cpu = emerald_rapids();
            cpu.ldtilecfg(&two_tiles()).unwrap();
            cpu.registers_mut().fill(TILE_DATA, generator(1));
            assert_eq!(cpu.in_use(), ComponentSet::TILES);
            initialise(&mut cpu, &palette_0).unwrap();
            assert_eq!(cpu.sttilecfg(), Ok([0; TILE_CONFIG_LEN]));
            assert!(cpu.registers().is_initial(Component::TileConfig));
            assert!(cpu.registers().is_initial(Component::TileData));
            assert_eq!(cpu.in_use(), ComponentSet::EMPTY);
        }
    }

    #[test]
    fn neither_ia32_xfd_nor_task_switched_matters_to_configurations() {
        let mut cpu = emerald_rapids();
        cpu.write_xfd(Xfd::new(TILE_DATA, TILE_DATA).unwrap())
            .unwrap();
        for ts in [TaskSwitched::Clear, TaskSwitched::Set] {
            cpu.set_cr0_ts(ts);
            cpu.registers_mut().fill(TILE_DATA, generator(1));
            assert_eq!(cpu.ldtilecfg(&two_tiles()), Ok(()));
            assert!(cpu.registers().is_initial(Component::TileData));
            assert_eq!(cpu.sttilecfg(), Ok(two_tiles()));
            assert_eq!(cpu.tilerelease(), Ok(()));
        }
        assert_eq!(cpu.read_xfd_err(), Ok(XfdErr::NOTHING));
    }

    #[test]
    fn what_ldtilecfg_would_refuse_counts_as_no_configuration() {
        let mut cpu = emerald_rapids();
        let register = cpu.registers_mut().component(Component::TileConfig);
        register
            .unwrap()
            .copy_from_slice(&with_byte(two_tiles(), 48, 17));
        assert_eq!(cpu.sttilecfg(), Ok([0; TILE_CONFIG_LEN]));
    }

    #[test]
    fn without_osxsave_amx_or_both_components_in_xcr0_they_are_invalid() {
        let mut no_osxsave = emerald_rapids();
        no_osxsave.set_cr4_osxsave(Osxsave::Clear);
        let mut not_enabled = emerald_rapids();
        let legacy = ComponentSet::LEGACY;
        not_enabled
            .xsetbv(Xcr0::new(legacy, legacy).unwrap())
            .unwrap();
        let mut leaves = EMERALD_RAPIDS;
        for (leaf, _, registers) in &mut leaves {
            if *leaf == 7 {
                registers.edx &= !(1 << 24); // AMX-TILE
            }
        }
        let hidden = cpu_with_everything_enabled(&leaves);
        for mut cpu in [no_osxsave, not_enabled, hidden, ModelCpu::new(&GENOA)] {
            cpu.registers_mut().fill(ALL, generator(1));
            let before = cpu.registers().clone();
            assert_eq!(cpu.ldtilecfg(&two_tiles()), Err(Fault::InvalidOpcode));
            assert_eq!(cpu.sttilecfg(), Err(Fault::InvalidOpcode));
            assert_eq!(cpu.tilerelease(), Err(Fault::InvalidOpcode));
            assert_eq!(*cpu.registers(), before);
        }
    }
}
