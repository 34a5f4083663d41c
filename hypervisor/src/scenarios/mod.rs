//! One behaviour a file.

pub mod a_guest_runs;
pub mod registers_across_exits;
pub mod ring0_keeps_registers;
pub mod avx512_guests;
pub mod guest_cet;
pub mod no_tiles_left;
pub mod tile_product;
pub mod tiles_beside_avx512;
pub mod tiles_of_two_guests;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    ring0_keeps_registers::SCENARIO,
    a_guest_runs::SCENARIO,
    registers_across_exits::SCENARIO,
    avx512_guests::SCENARIO,
    guest_cet::SCENARIO,
    tiles_beside_avx512::SCENARIO,
    tiles_of_two_guests::SCENARIO,
    tile_product::SCENARIO,
    no_tiles_left::SCENARIO,
];
