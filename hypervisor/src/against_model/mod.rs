//! The emulated CPU in ring 0 against `fpstate-model`: the same random registers, areas and
//! instructions through both, XSAVES and XRSTORS included.
//!
//! Modules in reading order:
//!
//! * [`memory`] - aligned bytes
//! * [`this_emulator`] - which emulator this is, and the model of its CPU
//! * [`tested`] - the instructions, on both
//! * [`case`] - one case
//! * [`places`] - where components lie
//! * [`contents`] - registers that a restore accepts
//! * [`generate`] - random cases
//! * [`on_emulator`], [`on_model`] - what one execution leaves behind
//! * [`difference`] - where the two differ
//! * [`explained`] - differences that are the emulator's, each with the manual's sentence
//! * [`campaign`] - many cases

pub mod memory;
pub mod this_emulator;
pub mod tested;
pub mod case;
pub mod places;
pub mod contents;
pub mod generate;
pub mod on_emulator;
pub mod on_model;
pub mod difference;
pub mod explained;
pub mod explained_qemu;
pub mod explained_bochs;
pub mod campaign;
