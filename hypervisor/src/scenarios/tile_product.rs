//! A guest multiplies by TDPBSSD; between the loads and the product the host releases the tiles.

use alloc::format;
use alloc::vec::Vec;

use fpstate::SwitchError;
use fpstate_arch::{Processor, TileConfig};

use crate::guest_code::parameter;
use crate::guest_memory::GIVEN_IMAGE;
use crate::guest_tiles::{TILE_FOUND, multiply};
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::tile_bench::{TILE_LEN, TileBench};
use crate::workbench::outcome;

/// Of the sum and of the left matrix.
const ROWS: usize = 8;
/// 32-bit words in a row of the sum and of the right matrix.
const COLUMNS: usize = 2;
/// Bytes in a row of the left matrix; the right one has four of its rows in one of the tile's.
const DEPTH: usize = 8;
/// An even number: docs/surprises.md has what Bochs does to the right matrix's shape.
const STEPS: u64 = 4;
const ROW_LEN: usize = 64;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-known-answer-by-tdpbssd",
    run: |twin| outcome(run(twin)),
    left_out: "the word that the registers were taken",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut tiles = TileBench::new()?;
    let mut guest = tiles.new_guest(multiply())?;
    let (sum, left, right) = (operand(1, ROWS), operand(2, ROWS), operand(3, DEPTH / 4));
    let image = tiles.image(61, &config(), &[&sum, &left, &right])?;
    guest.memory.write(GIVEN_IMAGE, &image);
    guest.set(parameter::STEPS, STEPS);
    let bench = &mut tiles.bench;
    for _ in 0..STEPS {
        bench.run_to_step(&mut guest)?;
        if twin == Twin::Whole {
            bench.cpu.registers_taken().map_err(failed)?;
        }
        let released = bench.cpu.processor().tilerelease();
        released.map_err(|fault| failed(SwitchError::Fault(fault)))?;
    }
    bench.run_to_end(&mut guest)?;
    let mut found = [0; TILE_LEN];
    guest.memory.read(TILE_FOUND, &mut found);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let found = word(&found, row, column);
            let wanted = answer(&sum, &left, &right, (row, column));
            if found != wanted {
                return Err(failed(format!(
                    "row {row}, column {column}: {found}, not {wanted}"
                )));
            }
        }
    }
    Ok(())
}

fn config() -> TileConfig {
    let mut config = TileConfig::INITIAL;
    config.palette = 1;
    for (tile, (rows, columns)) in [(8, 8), (8, 8), (2, 8)].into_iter().enumerate() {
        (config.rows[tile], config.colsb[tile]) = (rows, columns);
    }
    config
}

/// Rows of 8 bytes below 128: Bochs 3.0 takes all bytes for unsigned.
fn operand(seed: u32, rows: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = seed.wrapping_mul(0x9e37_79b9);
    for _ in 0..rows {
        let mut row = [0; ROW_LEN];
        for byte in &mut row[..DEPTH] {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *byte = state.to_le_bytes()[1] & 0x7f;
        }
        bytes.extend(row);
    }
    bytes
}

fn word(tile: &[u8], row: usize, column: usize) -> i32 {
    let at = row * ROW_LEN + 4 * column;
    let bytes = tile[at..at + 4].try_into();
    bytes.map_or(0, i32::from_le_bytes)
}

/// What SDM 2 says of TDPBSSD.
fn answer(sum: &[u8], left: &[u8], right: &[u8], (row, column): (usize, usize)) -> i32 {
    let byte = |matrix: &[u8], at: usize| i32::from(matrix[at].cast_signed());
    let product = |k: usize| {
        let factor = byte(left, row * ROW_LEN + k);
        factor * byte(right, k / 4 * ROW_LEN + 4 * column + k % 4)
    };
    (0..DEPTH)
        .map(product)
        .fold(word(sum, row, column), i32::wrapping_add)
}
