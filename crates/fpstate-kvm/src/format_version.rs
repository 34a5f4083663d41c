//! The version of a snapshot's format.

use std::fmt;

/// The version of the format that a [`VcpuExtendedState`](crate::VcpuExtendedState) is written in. It
/// comes first in every serialised snapshot, so a reader that does not know it stops before it
/// misreads the rest.
///
/// A version changes when a reader of the former one would misunderstand; fields are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u32", into = "u32"))]
pub struct FormatVersion(u32);

impl FormatVersion {
    /// What this crate writes.
    pub const CURRENT: Self = Self(1);

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for FormatVersion {
    type Error = UnknownVersion;

    fn try_from(number: u32) -> Result<Self, UnknownVersion> {
        if number == Self::CURRENT.0 {
            Ok(Self(number))
        } else {
            Err(UnknownVersion { found: number })
        }
    }
}

impl From<FormatVersion> for u32 {
    fn from(version: FormatVersion) -> Self {
        version.0
    }
}

/// A snapshot of a version that this crate does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownVersion {
    /// Its version.
    pub found: u32,
}

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, known) = (self.found, FormatVersion::CURRENT.0);
        write!(f, "snapshot of format version {found}; known: {known}")
    }
}

impl std::error::Error for UnknownVersion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_current_version_is_known() {
        assert_eq!(FormatVersion::try_from(1), Ok(FormatVersion::CURRENT));
        for found in [0, 2, u32::MAX] {
            let refused = FormatVersion::try_from(found);
            assert_eq!(refused, Err(UnknownVersion { found }));
        }
    }
}
