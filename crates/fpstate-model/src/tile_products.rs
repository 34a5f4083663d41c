//! TDPBSSD (SDM 2; exception class AMX-E4), for all products of two tiles: they differ in
//! arithmetic alone.

use alloc::vec::Vec;

use fpstate_arch::Fault;

use crate::cpu::ModelCpu;
use crate::tile_registers::{TILE_DATA, Tile};

const AMX_INT8: u32 = 1 << 25; // CPUID.(7,0):EDX
const DWORD: usize = 4;

impl ModelCpu {
    /// TDPBSSD: to each dword (m, n) of `srcdest` are added, for each k, the products of the four
    /// signed bytes of dword (m, k) of `src1` with those of dword (k, n) of `src2`.
    ///
    /// # Errors
    /// #UD as for [`ldtilecfg`](Self::ldtilecfg), without AMX-INT8, unless the three are different
    /// tiles of the current configuration whose dimensions match and suit TMUL. #NM with CR0.TS, or
    /// with IA32_XFD\[18\].
    pub fn tdpbssd(&mut self, srcdest: u8, src1: u8, src2: u8) -> Result<(), Fault> {
        self.require_amx()?;
        if self.recorded_leaf(7, 0).edx & AMX_INT8 == 0 {
            return Err(Fault::InvalidOpcode);
        }
        let [to, left, right] = self.require_factors(srcdest, src1, src2)?;
        self.require_tile_data()?;
        self.wrote(TILE_DATA);
        for m in 0..to.rows {
            let mut sums: Vec<[u8; DWORD]> = self.dwords(to, m).to_vec();
            for (k, x) in self.dwords(left, m).iter().enumerate() {
                for (sum, y) in sums.iter_mut().zip(self.dwords(right, k)) {
                    *sum = i32::from_le_bytes(*sum)
                        .wrapping_add(dot_product(*x, *y))
                        .to_le_bytes();
                }
            }
            self.write_row_and_zero(to, m, sums.as_flattened());
        }
        self.zero_upper_rows(to, to.rows);
        self.set_start_row(0);
        Ok(())
    }

    /// #UD of AMX-E4.
    fn require_factors(&self, srcdest: u8, src1: u8, src2: u8) -> Result<[Tile; 3], Fault> {
        let [to, left, right] = [
            self.require_tile(srcdest)?,
            self.require_tile(src1)?,
            self.require_tile(src2)?,
        ];
        let different = srcdest != src1 && srcdest != src2 && src1 != src2;
        let whole_dwords = [to, left, right]
            .iter()
            .all(|tile| tile.colsb.is_multiple_of(DWORD));
        let matching = to.rows == left.rows
            && to.colsb == right.colsb
            && left.colsb.checked_div(DWORD) == Some(right.rows);
        let tmul = self.enumeration.tiles();
        let suits_tmul = to.colsb <= usize::from(tmul.tmul_max_n())
            && right.rows <= usize::from(tmul.tmul_max_k());
        if different && whole_dwords && matching && suits_tmul {
            Ok([to, left, right])
        } else {
            Err(Fault::InvalidOpcode)
        }
    }

    /// The dwords of a row that are used.
    fn dwords(&self, tile: Tile, row: usize) -> &[[u8; DWORD]] {
        let (dwords, _) = self.tile_bytes(tile.row(row)).as_chunks();
        let used = tile.colsb.checked_div(DWORD).unwrap_or_default();
        dwords.get(..used).unwrap_or_default()
    }
}

fn dot_product(x: [u8; DWORD], y: [u8; DWORD]) -> i32 {
    let product =
        |(x, y): (u8, u8)| i32::from(x.cast_signed()).wrapping_mul(i32::from(y.cast_signed()));
    x.into_iter().zip(y).map(product).fold(0, i32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_state::TaskSwitched;
    use crate::recorded_cpus::{
        EMERALD_RAPIDS, cpu_with_everything_enabled, emerald_rapids, generator, tile_config,
    };
    use fpstate_arch::{Component, Processor, Xfd, XfdErr};

    /// C (tile 0, 2 x 3) += A (tile 1, 2 x 2) * B (tile 2, 2 x 3), in dwords; tile 3 is as B.
    const SHAPES: [(usize, u8, u16); 4] = [(0, 2, 12), (1, 2, 8), (2, 2, 12), (3, 2, 12)];

    fn cpu_with_matrices() -> ModelCpu {
        let mut cpu = emerald_rapids();
        cpu.ldtilecfg(&tile_config(&SHAPES)).unwrap();
        cpu
    }

    fn dwords(values: &[i32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    #[test]
    fn the_product_is_that_of_signed_bytes_added_to_what_was_there() {
        let mut cpu = cpu_with_matrices();
        cpu.registers_mut().fill(TILE_DATA, || !0);
        // One byte per dword, so that this is a product of matrices by hand:
        // (1 -2) (5 6 7)   (5-16  6-18  7-20)
        // (3  4)*(8 9 10) = (15+32 18+36 21+40)
        let byte = |value: i8| i32::from(value.cast_unsigned());
        let a = dwords(&[1, byte(-2), 3, 4]);
        let b = dwords(&[5, 6, 7, 8, 9, 10]);
        let c = dwords(&[100, 100, 100, -100, -100, i32::MAX]);
        cpu.tileloadd(0, &c, 12).unwrap();
        cpu.tileloadd(1, &a, 8).unwrap();
        cpu.tileloadd(2, &b, 12).unwrap();
        let register = cpu.registers_mut().component(Component::TileData).unwrap();
        (register[15], register[2 * 64], register[15 * 64 + 63]) = (0x77, 0x77, 0x77);
        cpu.tdpbssd(0, 1, 2).unwrap();
        let mut product = [0; 24];
        cpu.tilestored(0, &mut product, 12).unwrap();
        let wrapped = i32::MAX.wrapping_add(61);
        assert_eq!(product[..], dwords(&[89, 88, 87, -53, -46, wrapped]));
        // Columns and rows beyond the tile's become zero.
        let data = cpu.registers().component(Component::TileData).unwrap();
        assert_eq!(data[12..64], [0; 52]);
        assert_eq!(data[128..1024], [0; 896]);
        assert_eq!(data[3 * 1024], 0xff);
    }

    #[test]
    fn a_product_uses_tile_data_and_ends_an_interrupted_move() {
        let mut cpu = emerald_rapids();
        let mut config = tile_config(&SHAPES);
        config[1] = 1;
        cpu.ldtilecfg(&config).unwrap();
        assert!(!cpu.in_use().contains(Component::TileData));
        cpu.tdpbssd(0, 1, 2).unwrap();
        assert!(cpu.in_use().contains(Component::TileData));
        assert_eq!(cpu.sttilecfg(), Ok(tile_config(&SHAPES)));
    }

    #[test]
    fn the_four_bytes_of_a_dword_are_multiplied_each_and_signed() {
        // -128 * -128 + 127 * -1 + 1 * 2 + 0 * 127
        let x = [0x80, 0x7f, 1, 0];
        let y = [0x80, 0xff, 2, 0x7f];
        assert_eq!(dot_product(x, y), 16384 - 127 + 2);
    }

    #[test]
    fn tiles_must_differ_and_match() {
        let invalid = Err(Fault::InvalidOpcode);
        let mut cpu = cpu_with_matrices();
        for (srcdest, src1, src2) in [
            (0, 1, 4),
            (4, 1, 2),
            (0, 4, 2),
            (0, 1, 0),
            (0, 0, 2),
            (0, 2, 2),
            (2, 1, 2),
        ] {
            assert_eq!(cpu.tdpbssd(srcdest, src1, src2), invalid);
        }
        assert_eq!(cpu.tdpbssd(0, 1, 2), Ok(()));
        assert_eq!(cpu.tdpbssd(3, 1, 2), Ok(()));
        for shapes in [
            [(0, 3, 12), (1, 2, 8), (2, 2, 12)], // srcdest.rows, src1.rows
            [(0, 2, 8), (1, 2, 8), (2, 2, 12)],  // srcdest.colsb, src2.colsb
            [(0, 2, 12), (1, 2, 8), (2, 3, 12)], // src1.colsb / 4, src2.rows
            [(0, 2, 10), (1, 2, 8), (2, 2, 10)], // whole dwords
            [(0, 2, 12), (1, 2, 9), (2, 2, 12)],
        ] {
            cpu.ldtilecfg(&tile_config(&shapes)).unwrap();
            assert_eq!(cpu.tdpbssd(0, 1, 2), invalid);
        }
        // Two tiles of one shape each are no three tiles: square ones match in every order.
        let square = [(0, 2, 8), (1, 2, 8), (2, 2, 8)];
        cpu.ldtilecfg(&tile_config(&square)).unwrap();
        for (srcdest, src1, src2) in [(0, 0, 2), (0, 1, 0), (0, 1, 1)] {
            assert_eq!(cpu.tdpbssd(srcdest, src1, src2), invalid);
        }
        assert_eq!(cpu.tdpbssd(0, 1, 2), Ok(()));
    }

    /// CPUID.(1EH,0):EBX and CPUID.(7,0):EDX\[25\] of a smaller or lesser CPU.
    #[test]
    fn products_need_amx_int8_and_must_suit_tmul() {
        for (leaf, clear, set) in [(0x1e, !0, 0x4001), (0x1e, !0, 0x0810), (7, 1 << 25, 0)] {
            let mut leaves = EMERALD_RAPIDS;
            for (number, _, registers) in &mut leaves {
                if *number == leaf && leaf == 7 {
                    registers.edx &= !clear;
                } else if *number == leaf {
                    registers.ebx = registers.ebx & !clear | set;
                }
            }
            let mut cpu = cpu_with_everything_enabled(&leaves);
            cpu.ldtilecfg(&tile_config(&SHAPES)).unwrap();
            assert_eq!(cpu.tdpbssd(0, 1, 2), Err(Fault::InvalidOpcode));
        }
    }

    #[test]
    fn disabled_tile_data_raises_device_not_available_after_task_switched() {
        let mut cpu = cpu_with_matrices();
        cpu.registers_mut().fill(TILE_DATA, generator(1));
        let before = cpu.registers().clone();
        cpu.write_xfd(Xfd::new(TILE_DATA, TILE_DATA).unwrap())
            .unwrap();
        cpu.set_cr0_ts(TaskSwitched::Set);
        assert_eq!(cpu.tdpbssd(0, 1, 2), Err(Fault::DeviceNotAvailable));
        assert_eq!(cpu.read_xfd_err(), Ok(XfdErr::NOTHING));
        cpu.set_cr0_ts(TaskSwitched::Clear);
        assert_eq!(cpu.tdpbssd(0, 1, 2), Err(Fault::DeviceNotAvailable));
        assert_eq!(cpu.read_xfd_err().unwrap().components(), TILE_DATA);
        assert_eq!(*cpu.registers(), before);
        // Invalid comes first.
        assert_eq!(cpu.tdpbssd(0, 1, 1), Err(Fault::InvalidOpcode));
    }
}
