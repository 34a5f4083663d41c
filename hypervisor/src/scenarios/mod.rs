//! One behaviour a file.

pub mod a_guest_runs;
pub mod registers_across_exits;
pub mod ring0_keeps_registers;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    ring0_keeps_registers::SCENARIO,
    a_guest_runs::SCENARIO,
    registers_across_exits::SCENARIO,
];
