//! Differences that are the emulator's: each has a name, the manual's sentence, and covers no more
//! than it must.

use super::case::Case;
use super::difference::Difference;
use super::explained_bochs;
use super::explained_qemu;
use super::this_emulator::Emulator;

/// A difference that is the emulator's.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// What the emulator does, words joined by `-`.
    pub name: &'static str,
    /// What the manual says.
    pub manual: &'static str,
    /// Whether a difference is this one.
    pub covers: fn(&Case, &Difference) -> bool,
}

/// Those of `emulator`.
#[must_use]
pub const fn of(emulator: Emulator) -> &'static [Explained] {
    match emulator {
        Emulator::Qemu => explained_qemu::ALL,
        Emulator::Bochs => explained_bochs::ALL,
    }
}
