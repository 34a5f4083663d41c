//! Differences of this emulator.

use super::explained::Explained;

/// All of them.
pub const ALL: &[Explained] = &[];
