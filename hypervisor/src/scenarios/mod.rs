//! One behaviour a file.

pub mod area_lengths_follow;
pub mod control_register_faults;
pub mod model_agrees_with_the_emulator;
pub mod ring0_keeps_registers;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    ring0_keeps_registers::SCENARIO,
    control_register_faults::SCENARIOS[0],
    control_register_faults::SCENARIOS[1],
    control_register_faults::SCENARIOS[2],
    control_register_faults::SCENARIOS[3],
    control_register_faults::SCENARIOS[4],
    area_lengths_follow::SCENARIO,
    model_agrees_with_the_emulator::SCENARIOS[0],
    model_agrees_with_the_emulator::SCENARIOS[1],
    model_agrees_with_the_emulator::SCENARIOS[2],
    model_agrees_with_the_emulator::SCENARIOS[3],
    model_agrees_with_the_emulator::SCENARIOS[4],
    model_agrees_with_the_emulator::SCENARIOS[5],
    model_agrees_with_the_emulator::SCENARIOS[6],
    model_agrees_with_the_emulator::SCENARIOS[7],
    model_agrees_with_the_emulator::SCENARIOS[8],
];
