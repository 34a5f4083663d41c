//! The software CPU held against the CPU that executes this, in user mode.
//!
//! One [`Case`](case::Case) - registers, an instruction, RFBM, the bytes of an area - goes through
//! `fpstate-model` and through the real instruction. All bytes of the area and around it, all
//! registers, XINUSE and the fault must be the same, but for what [`comparison`] lists as the
//! manual's choice.
//!
//! Modules in reading order; each uses only those above it:
//!
//! * [`instruction`] - what is executed
//! * [`case`] - one case, and what was observed of it
//! * [`silicon`] - runs a case on this CPU; all unsafe code is there
//! * [`this_cpu`] - where this CPU makes use of the manual's freedom, found by trying
//! * [`wrong_rules`] - what the comparison must catch
//! * [`on_model`] - runs a case on the software CPU
//! * `places` - what lies where in an area
//! * [`comparison`] - the verdict, and what it allows
//! * [`conditions`] - which conditions of the manual a case reaches
//! * [`demands`] - which of them a run must reach
//! * [`generate`] - random cases
//! * [`shrink`] - a failing case made small
//! * [`campaign`] - many cases on all CPUs

pub mod instruction;
pub mod case;
pub mod silicon;
pub mod this_cpu;
pub mod wrong_rules;
pub mod on_model;
mod places;
pub mod comparison;
pub mod conditions;
pub mod demands;
pub mod generate;
pub mod shrink;
pub mod campaign;
