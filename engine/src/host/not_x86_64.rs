//! There is no x86 CPU to ask.

use super::{HostCpu, HostError};

pub(super) const fn read() -> Result<HostCpu, HostError> {
    Err(HostError::NotX86)
}
