//! One behaviour a file.

pub mod preemption;
pub mod ring0_keeps_registers;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[ring0_keeps_registers::SCENARIO, preemption::SCENARIO];
