//! There is no x86 CPU to ask.

use fpstate::calibration::Limits;
use fpstate::{Calibration, CalibrationError, Strategies};
use fpstate_arch::Fault;

use super::{HostCpu, HostError};

pub(super) const fn read() -> Result<HostCpu, HostError> {
    Err(HostError::NotX86)
}

pub(super) const fn calibrate(
    _strategies: &Strategies<'_>,
    _limits: Limits,
) -> Result<Calibration, CalibrationError> {
    Err(CalibrationError::Fault(Fault::InvalidOpcode))
}
