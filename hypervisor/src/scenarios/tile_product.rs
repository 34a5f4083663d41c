//! A guest multiplies by TDPBSSD; between the loads and the product the host releases the tiles.

use alloc::format;
use alloc::vec::Vec;

use fpstate::SwitchError;
use fpstate_arch::Processor;

use crate::guest_tiles::{TILE_CONFIG, TILE_FOUND, TILES_GIVEN, multiply};
use crate::pattern;
use crate::scenario::{Outcome, Scenario, Twin};
use crate::tile_bench::TileBench;
use crate::workbench::{failed, outcome};

const ROWS: usize = 16;
/// 32-bit words of a row.
const WORDS: usize = 16;
const TILE_LEN: usize = ROWS * WORDS * 4;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-known-answer-by-tdpbssd",
    run: |twin| outcome(run(twin)),
    left_out: "the word that the registers were taken",
};

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut tiles = TileBench::new()?;
    let mut guest = tiles.new_guest(multiply())?;
    let operands = operands();
    guest.memory.write(TILE_CONFIG, &pattern::whole_tiles());
    guest.memory.write(TILES_GIVEN, &operands);
    let bench = &mut tiles.bench;
    for _ in 0..2 {
        bench.run_to_step(&mut guest)?;
        if twin == Twin::Whole {
            bench.cpu.registers_taken().map_err(failed)?;
        }
        bench
            .cpu
            .processor()
            .tilerelease()
            .map_err(SwitchError::Fault)
            .map_err(failed)?;
    }
    bench.run_to_end(&mut guest)?;
    let mut found = [0; TILE_LEN];
    guest.memory.read(TILE_FOUND, &mut found);
    let wanted = product(&operands);
    for (at, (found, wanted)) in words(&found).zip(wanted).enumerate() {
        if found != wanted {
            let (row, column) = (at / WORDS, at % WORDS);
            return Err(failed(format!(
                "row {row}, column {column}: {found}, not {wanted}"
            )));
        }
    }
    Ok(())
}

/// Three tiles: a sum, and two matrices of signed bytes, 16 x 64 and 64 x 16.
fn operands() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * TILE_LEN);
    let mut word = 0x2545_f491_u32;
    for _ in 0..3 * TILE_LEN {
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        bytes.push(word.to_le_bytes()[1]);
    }
    bytes
}

fn words(tile: &[u8]) -> impl Iterator<Item = i32> {
    tile.chunks_exact(4)
        .map(|word| word.try_into().map_or(0, i32::from_le_bytes))
}

/// The sum and the product of the two matrices; the second has four of its rows in one of the
/// tile's (SDM 2, TDPBSSD).
fn product(operands: &[u8]) -> Vec<i32> {
    let (sum, matrices) = operands.split_at(TILE_LEN);
    let (left, right) = matrices.split_at(TILE_LEN);
    let byte = |matrix: &[u8], at: usize| i32::from(matrix[at].cast_signed());
    let mut result: Vec<i32> = words(sum).collect();
    for (at, word) in result.iter_mut().enumerate() {
        let (row, column) = (at / WORDS, at % WORDS);
        for k in 0..4 * WORDS {
            let factor = byte(left, row * 64 + k);
            let other = byte(right, k / 4 * 64 + 4 * column + k % 4);
            *word = word.wrapping_add(factor * other);
        }
    }
    result
}
