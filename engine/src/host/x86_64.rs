//! Asks this CPU, from user mode.

#![expect(unsafe_code, reason = "takes the processor of this process")]

use fpstate::calibration::Limits;
use fpstate::{Calibration, CalibrationError, Strategies};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{Enumeration, Instruction, LegacyRegion, Mxcsr, Processor};
use fpstate_native::{LiveProcessor, UserProcessor, timestamp};

use super::{HostCpu, HostError};

/// XSAVE areas and the hand-over of a processor start at a multiple of this.
const ALIGNMENT: usize = 64;

pub(super) fn read() -> Result<HostCpu, HostError> {
    let enumeration = Enumeration::read(fpstate_native::cpuid);
    if !enumeration.has(Instruction::Xsave) {
        return Err(HostError::WithoutXsave);
    }
    let mut hand_over = HandOver::new();
    let mut processor = hand_over.processor()?;
    let xcr0 = processor.xgetbv().map_err(HostError::Processor)?;
    let mut image = Aligned([0; LEGACY_REGION_LEN]);
    processor
        .fxsave(&mut image.0)
        .map_err(HostError::Processor)?;
    let mxcsr_mask = match LegacyRegion::from_bytes(&image.0).mxcsr_mask {
        0 => Mxcsr::DEFAULT_MASK,
        mask => mask,
    };
    Ok(HostCpu {
        enumeration,
        xcr0,
        mxcsr_mask,
        name: name(),
    })
}

/// The registers are nobody's at a call, so any may be measured with.
pub(super) fn calibrate(
    strategies: &Strategies<'_>,
    limits: Limits,
) -> Result<Calibration, CalibrationError> {
    let len = strategies.scratch_len()?;
    let (mut first, mut second) = (scratch(len), scratch(len));
    // SAFETY: 1. x86-64 Linux, which sets CR4.OSFXSR and reports CR4.OSXSAVE. 2. Linux gives all CPUs
    // the same XCR0. 3. This program is not compiled for APX or MPX and keeps no tile configuration.
    // 4. The calibration computes with integers and ends with the MXCSR and x87 control word of a new
    // program, which this one's are.
    let mut processor = unsafe { LiveProcessor::assume_caller_saved() };
    let areas = [aligned(&mut first), aligned(&mut second)];
    // SAFETY: 1. Nothing in this program asks Linux to set CR4.TSD.
    let clock = || unsafe { timestamp() };
    strategies.calibrate(limits, &mut processor, clock, areas)
}

fn scratch(len: usize) -> Vec<u8> {
    vec![0; len.saturating_add(ALIGNMENT)]
}

/// The bytes from the first multiple of 64 on.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let start = memory.as_ptr().addr().wrapping_neg() % ALIGNMENT;
    memory.get_mut(start..).unwrap_or(&mut [])
}

fn name() -> String {
    let cpuid = raw_cpuid::CpuId::new();
    let brand = cpuid
        .get_processor_brand_string()
        .map(|b| b.as_str().trim().to_owned());
    let vendor = || {
        cpuid
            .get_vendor_info()
            .map(|vendor| vendor.as_str().to_owned())
    };
    brand
        .filter(|n| !n.is_empty())
        .or_else(vendor)
        .unwrap_or_else(|| "unnamed".to_owned())
}

#[repr(align(64))]
struct Aligned([u8; LEGACY_REGION_LEN]);

/// Memory for a processor in user mode.
#[derive(Debug)]
pub(crate) struct HandOver {
    memory: Vec<u8>,
}

impl HandOver {
    pub(crate) fn new() -> Self {
        Self {
            memory: scratch(UserProcessor::hand_over_len()),
        }
    }

    pub(crate) fn processor(&mut self) -> Result<UserProcessor<'_>, HostError> {
        let memory = aligned(&mut self.memory);
        // SAFETY: 1. x86-64 Linux, which sets CR4.OSFXSR and reports CR4.OSXSAVE. 2. Linux gives
        // all CPUs the same XCR0. 3. This program is not compiled for APX or MPX and keeps no tile
        // configuration.
        unsafe { UserProcessor::assume_user_mode(memory) }.map_err(HostError::Processor)
    }
}
