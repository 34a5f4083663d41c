//! TILELOADD, TILESTORED and TILEZERO (SDM 2; exception classes AMX-E3 and AMX-E5).
//!
//! Where #UD and #NM both apply, it is #UD here, the order in which the classes list them.

use core::ops::Range;

use fpstate_arch::Fault;

use crate::cpu::ModelCpu;
use crate::offsets::require_reach;
use crate::tile_registers::{TILE_DATA, Tile};

/// Elements of TILELOADD, TILESTORED and the products are dwords.
const DWORD: usize = 4;

impl ModelCpu {
    /// TILELOADD: row i of tile `name` is loaded from `memory` at i * `stride`. Rows and columns
    /// beyond the tile's become zero. The stride is not negative here.
    ///
    /// Where a row is not present, the rows before it are loaded and `start_row` says where the
    /// instruction goes on when it is executed again; it becomes 0 when it completes.
    ///
    /// # Errors
    /// #UD as for [`ldtilecfg`](Self::ldtilecfg), unless `name` is a tile of the current
    /// configuration, and if `colsb` is not a multiple of 4 or `start_row` not less than `rows`. #NM
    /// with CR0.TS, or with IA32_XFD\[18\]. #PF.
    pub fn tileloadd(&mut self, name: u8, memory: &[u8], stride: usize) -> Result<(), Fault> {
        let tile = self.require_movable_tile(name)?;
        self.require_tile_data()?;
        require_reach(memory, reach(tile, stride))?;
        let start = self.start_row();
        self.wrote(TILE_DATA);
        self.zero_upper_rows(tile, start);
        for row in start..tile.rows {
            let range = memory_range(tile, row, stride);
            if let Err(fault) = self.require_present(memory, range.clone()) {
                self.set_start_row(row);
                return Err(fault);
            }
            self.write_row_and_zero(tile, row, memory.get(range).unwrap_or_default());
        }
        self.set_start_row(0);
        Ok(())
    }

    /// TILESTORED: row i of tile `name` is stored to `memory` at i * `stride`; interrupted as
    /// [`tileloadd`](Self::tileloadd) is.
    ///
    /// # Errors
    /// As [`tileloadd`](Self::tileloadd).
    pub fn tilestored(&mut self, name: u8, memory: &mut [u8], stride: usize) -> Result<(), Fault> {
        let tile = self.require_movable_tile(name)?;
        self.require_tile_data()?;
        require_reach(memory, reach(tile, stride))?;
        for row in self.start_row()..tile.rows {
            let range = memory_range(tile, row, stride);
            if let Err(fault) = self.require_present(memory, range.clone()) {
                self.set_start_row(row);
                return Err(fault);
            }
            let to = memory.get_mut(range).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(self.tile_bytes(tile.row(row))) {
                *to = *from;
            }
        }
        self.set_start_row(0);
        Ok(())
    }

    /// TILEZERO: all of tile `name` becomes zero, and `start_row` 0. Tile data counts as in use all
    /// the same.
    ///
    /// # Errors
    /// #UD as for [`ldtilecfg`](Self::ldtilecfg) and unless `name` is a tile of the current
    /// configuration; #NM as for [`tileloadd`](Self::tileloadd).
    pub fn tilezero(&mut self, name: u8) -> Result<(), Fault> {
        self.require_amx()?;
        let tile = self.require_tile(name)?;
        self.require_tile_data()?;
        self.wrote(TILE_DATA);
        self.zero_upper_rows(tile, 0);
        self.set_start_row(0);
        Ok(())
    }

    /// #UD of AMX-E3.
    fn require_movable_tile(&self, name: u8) -> Result<Tile, Fault> {
        self.require_amx()?;
        let tile = self.require_tile(name)?;
        if tile.colsb.is_multiple_of(DWORD) && self.start_row() < tile.rows {
            Ok(tile)
        } else {
            Err(Fault::InvalidOpcode)
        }
    }
}

fn memory_range(tile: Tile, row: usize, stride: usize) -> Range<usize> {
    let start = row.saturating_mul(stride);
    start..start.saturating_add(tile.colsb)
}

/// Bytes of memory that the rows of `tile` reach.
fn reach(tile: Tile, stride: usize) -> usize {
    memory_range(tile, tile.rows.saturating_sub(1), stride).end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::TaskSwitched;
    use crate::memory::NotPresent;
    use crate::recorded_cpus::{Area, emerald_rapids, generator, tile_config};
    use crate::tile_registers::TILE_CONFIG;
    use fpstate_arch::{Component, ComponentSet, Processor, Xfd, XfdErr};

    /// Tile 1: 3 rows of 8 bytes.
    fn cpu_with_a_tile() -> ModelCpu {
        let mut cpu = emerald_rapids();
        cpu.ldtilecfg(&tile_config(&[(1, 3, 8)])).unwrap();
        cpu
    }

    /// Bytes 1, 2, 3 and so on.
    fn counted() -> [u8; 64] {
        core::array::from_fn(|i| u8::try_from(i + 1).unwrap())
    }

    fn tile_data(cpu: &ModelCpu) -> &[u8] {
        cpu.registers().component(Component::TileData).unwrap()
    }

    #[test]
    fn rows_lie_64_bytes_apart_and_tiles_1024() {
        // CPUID.(1DH,1) of the dump.
        let mut cpu = cpu_with_a_tile();
        cpu.tileloadd(1, &counted(), 10).unwrap();
        let data = tile_data(&cpu);
        assert_eq!(data[1024..1032], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(data[1088..1096], [11, 12, 13, 14, 15, 16, 17, 18]);
        assert_eq!(data[1152..1160], [21, 22, 23, 24, 25, 26, 27, 28]);
        assert_eq!(data.iter().filter(|&&byte| byte != 0).count(), 24);
        assert_eq!(cpu.in_use(), ComponentSet::TILES);
    }

    #[test]
    fn a_load_zeroes_the_rest_of_its_tile_and_leaves_the_others() {
        let mut cpu = cpu_with_a_tile();
        cpu.registers_mut().fill(TILE_DATA, || !0);
        cpu.tileloadd(1, &counted(), 8).unwrap();
        let data = tile_data(&cpu);
        assert_eq!(data[1032..1088], [0; 56]); // columns
        assert_eq!(data[1024 + 3 * 64..2048], [0; 13 * 64]); // rows
        assert!(data[..1024].iter().chain(&data[2048..]).all(|&b| b == 0xff));
    }

    #[test]
    fn a_store_writes_the_tile_and_nothing_between_its_rows() {
        let mut cpu = cpu_with_a_tile();
        cpu.tileloadd(1, &counted(), 8).unwrap();
        let mut memory = [0xaa; 40];
        cpu.tilestored(1, &mut memory, 16).unwrap();
        for (row, first) in [(0, 1), (1, 9), (2, 17)] {
            let at = row * 16;
            let stored: [u8; 8] = core::array::from_fn(|i| first + u8::try_from(i).unwrap());
            assert_eq!(memory[at..at + 8], stored);
        }
        assert_eq!((memory[8], memory[15], memory[31]), (0xaa, 0xaa, 0xaa));
        let refused = Fault::OutsideArea { reach: 40, len: 39 };
        assert_eq!(cpu.tilestored(1, &mut memory[..39], 16), Err(refused));
        assert_eq!(cpu.tileloadd(1, &memory[..39], 16), Err(refused));
    }

    #[test]
    fn tilezero_clears_all_of_its_tile_and_no_other_and_is_a_use() {
        let mut cpu = cpu_with_a_tile();
        cpu.registers_mut().fill(TILE_DATA, || !0);
        cpu.tilezero(1).unwrap();
        let data = tile_data(&cpu);
        assert_eq!(data[1024..2048], [0; 1024]);
        assert!(data[..1024].iter().chain(&data[2048..]).all(|&b| b == 0xff));
        cpu.ldtilecfg(&tile_config(&[(1, 3, 8)])).unwrap();
        assert!(!cpu.in_use().contains(Component::TileData));
        cpu.tilezero(1).unwrap();
        assert!(cpu.in_use().contains(Component::TileData));
    }

    /// What user code may execute next, for each instruction that uses tile data.
    type Use = fn(&mut ModelCpu, u8) -> Result<(), Fault>;
    const USES: [Use; 3] = [
        |cpu, tile| cpu.tileloadd(tile, &[0; 64], 8),
        |cpu, tile| cpu.tilestored(tile, &mut [0; 64], 8),
        ModelCpu::tilezero,
    ];

    #[test]
    fn tiles_that_are_not_configured_are_invalid() {
        for instruction in USES {
            let mut cpu = cpu_with_a_tile();
            for tile in [0, 2, 7, 8, 15, 16, 255] {
                assert_eq!(instruction(&mut cpu, tile), Err(Fault::InvalidOpcode));
            }
            assert_eq!(instruction(&mut cpu, 1), Ok(()));
            cpu.tilerelease().unwrap();
            assert_eq!(instruction(&mut cpu, 1), Err(Fault::InvalidOpcode));
            // The components must be enabled too.
            let mut cpu = cpu_with_a_tile();
            cpu.xsetbv(fpstate_arch::Xcr0::AFTER_RESET).unwrap();
            assert_eq!(instruction(&mut cpu, 1), Err(Fault::InvalidOpcode));
        }
    }

    #[test]
    fn moves_need_whole_dwords_and_a_start_row_within_the_tile() {
        for (colsb, start_row, moved) in [(6, 0, false), (8, 2, true), (8, 3, false)] {
            for (instruction, is_move) in USES.into_iter().zip([true, true, false]) {
                let mut cpu = emerald_rapids();
                let mut config = tile_config(&[(1, 3, colsb)]);
                config[1] = start_row;
                cpu.ldtilecfg(&config).unwrap();
                let result = instruction(&mut cpu, 1);
                assert_eq!(result.is_ok(), moved || !is_move);
                if result.is_ok() {
                    assert_eq!(cpu.sttilecfg().unwrap()[1], 0);
                } else {
                    assert_eq!(result, Err(Fault::InvalidOpcode));
                    assert_eq!(cpu.sttilecfg().unwrap()[1], start_row);
                }
            }
        }
    }

    #[test]
    fn disabled_tile_data_raises_device_not_available_after_task_switched() {
        for instruction in USES {
            let mut cpu = cpu_with_a_tile();
            cpu.registers_mut().fill(TILE_DATA, generator(1));
            let before = cpu.registers().clone();
            cpu.write_xfd(Xfd::new(TILE_DATA, TILE_DATA).unwrap())
                .unwrap();
            cpu.set_cr0_ts(TaskSwitched::Set);
            let not_available = Err(Fault::DeviceNotAvailable);
            assert_eq!(instruction(&mut cpu, 1), not_available);
            assert_eq!(cpu.read_xfd_err(), Ok(XfdErr::NOTHING)); // SDM 1, 13.14
            cpu.set_cr0_ts(TaskSwitched::Clear);
            assert_eq!(instruction(&mut cpu, 1), not_available);
            assert_eq!(cpu.read_xfd_err().unwrap().components(), TILE_DATA);
            assert_eq!(*cpu.registers(), before);
            cpu.write_xfd(Xfd::NOTHING).unwrap();
            assert_eq!(instruction(&mut cpu, 1), Ok(()));
        }
    }

    #[test]
    fn a_page_fault_leaves_the_row_to_go_on_with() {
        let mut cpu = cpu_with_a_tile();
        let memory = counted();
        let row_1 = memory.as_ptr().addr() + 8;
        cpu.set_not_present(NotPresent::addresses(row_1..row_1 + 8));
        let fault = Err(Fault::PageFault { offset: 8 });
        assert_eq!(cpu.tileloadd(1, &memory, 8), fault);
        assert_eq!(cpu.sttilecfg().unwrap()[1], 1);
        assert_eq!(tile_data(&cpu)[1024..1032], memory[..8]);
        assert_eq!(tile_data(&cpu)[1088..1096], [0; 8]);
        // Row 0 is not read again.
        let mut changed = memory;
        changed[..8].fill(0x77);
        cpu.set_not_present(NotPresent::NOTHING);
        cpu.tileloadd(1, &changed, 8).unwrap();
        assert_eq!(cpu.sttilecfg().unwrap()[1], 0);
        assert_eq!(tile_data(&cpu)[1024..1032], memory[..8]);
        assert_eq!(tile_data(&cpu)[1088..1096], memory[8..16]);

        let mut memory = [0; 24];
        let row_2 = memory.as_ptr().addr() + 16;
        cpu.set_not_present(NotPresent::from_address(row_2));
        let fault = Err(Fault::PageFault { offset: 16 });
        assert_eq!(cpu.tilestored(1, &mut memory, 8), fault);
        assert_eq!(cpu.sttilecfg().unwrap()[1], 2);
        assert_eq!((memory[15], memory[16]), (16, 0));
    }

    #[test]
    fn a_start_row_that_changes_is_a_change_of_the_configuration() {
        let mut cpu = cpu_with_a_tile();
        let mut config = tile_config(&[(1, 3, 8)]);
        config[1] = 1;
        cpu.ldtilecfg(&config).unwrap();
        let mut area = Area::of(0);
        cpu.xsaves(&mut area.0, TILE_CONFIG).unwrap();
        cpu.xrstors(&area.0, TILE_CONFIG).unwrap();
        let mut memory = [0xaa; 24];
        cpu.tilestored(1, &mut memory, 8).unwrap();
        assert_eq!((memory[7], memory[8]), (0xaa, 0)); // row 0 has been stored before
        cpu.xsaves(&mut area.0, TILE_CONFIG).unwrap();
        assert_eq!(area.0[576..578], [1, 0]); // SDM 1, 13.11: modified, so written
    }
}
