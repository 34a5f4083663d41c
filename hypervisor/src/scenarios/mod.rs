//! One behaviour a file.

pub mod ring0_keeps_registers;
pub mod vmx_guest;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[ring0_keeps_registers::SCENARIO, vmx_guest::SCENARIO];
