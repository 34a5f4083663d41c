//! One behaviour a file.

pub mod ring0_keeps_registers;
pub mod preemption;
pub mod migration;
pub mod kernel_section;
pub mod new_thread;
pub mod fork_and_exec;
pub mod idle;
pub mod back_online;
pub mod reset;
pub mod memory_again;
pub mod imbalance;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    ring0_keeps_registers::SCENARIO,
    preemption::SCENARIO,
    migration::SCENARIO,
    kernel_section::SCENARIO,
    new_thread::SCENARIO,
    fork_and_exec::SCENARIO,
    idle::SCENARIO,
    back_online::SCENARIO,
    reset::SCENARIO,
    memory_again::SCENARIO,
    imbalance::SCENARIO,
];
