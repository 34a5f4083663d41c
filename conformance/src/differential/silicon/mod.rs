//! Runs a case on the CPU that executes this.

#![expect(
    unsafe_code,
    reason = "an instruction is executed with operands that are made up"
)]

mod fault_signals;
mod unit;

use std::ptr;

use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Instruction, LegacyRegion};
use fpstate_native::cpuid;
use fpstate_native::extended_control::{XgetbvOperand, xgetbv};
use fpstate_native::fxsave::mxcsr_mask;

use self::fault_signals::{Attempt, NO_FAULT};
use self::unit::Frame;
use super::case::{Case, LoadedFrom, Observed, area_len, set_legacy};
use super::instruction::Between;
use crate::memory::Memory;

/// What is compared: any bytes are a legal value of these. The others decide about the process's own
/// accesses (PKRU, MPX), need permission or have rules of their own (AMX, APX).
const ANY_BYTES: ComponentSet = ComponentSet::LEGACY
    .with(Component::Avx)
    .union(ComponentSet::AVX512);

/// CPUID.1:ECX\[27\]: CR4.OSXSAVE.
const OSXSAVE: u32 = 1 << 27;

/// This CPU and the memory for one execution at a time.
#[derive(Debug)]
pub struct Silicon {
    enumeration: Enumeration,
    xcr0: ComponentSet,
    mxcsr_mask: u32,
    area_len: usize,
    registers: Memory,
    initial: Memory,
    observed: Observed,
}

impl Silicon {
    /// This CPU; `None` if it has no XSAVE, or the operating system does not use it.
    ///
    /// The process is one whose operating system keeps the extended state of a thread, runs on CPUs
    /// of one kind, and is compiled for neither MPX nor APX.
    #[must_use]
    pub fn new() -> Option<Self> {
        if cpuid(1, 0).ecx & OSXSAVE == 0 {
            return None;
        }
        let enumeration = Enumeration::read(cpuid);
        // SAFETY: 1: the lines above. 2: not that operand.
        let xcr0 = unsafe { xgetbv(XgetbvOperand::Xcr0) };
        if !xcr0.contains_all(ComponentSet::LEGACY) {
            return None;
        }
        let area_len = area_len(&enumeration, xcr0);
        let mut initial = Memory::zeroed(area_len);
        set_legacy(initial.bytes_mut(), &LegacyRegion::INITIAL);
        Some(Self {
            // SAFETY: 1: an x86-64 operating system shows CR0.TS and CR0.EM as 0 and sets
            // CR4.OSFXSR.
            mxcsr_mask: unsafe { mxcsr_mask() },
            enumeration,
            xcr0,
            area_len,
            registers: Memory::zeroed(area_len),
            initial,
            observed: Observed::new(area_len),
        })
    }

    /// What it enumerates.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// XCR0.
    #[must_use]
    pub const fn xcr0(&self) -> ComponentSet {
        self.xcr0
    }

    /// MXCSR_MASK.
    #[must_use]
    pub const fn mxcsr_mask(&self) -> u32 {
        self.mxcsr_mask
    }

    /// The components that are compared.
    #[must_use]
    pub const fn compared(&self) -> ComponentSet {
        self.xcr0.intersection(ANY_BYTES)
    }

    /// Bytes of areas and images.
    #[must_use]
    pub const fn area_len(&self) -> usize {
        self.area_len
    }

    /// What the last execution left behind.
    #[must_use]
    pub const fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Executes `case`.
    ///
    /// # Panics
    /// If it requests a component that is not compared, its areas have another length, or registers
    /// are to be loaded from a misaligned operand.
    pub fn execute(&mut self, case: &Case) -> &Observed {
        let compared = self.compared();
        let withheld = self.xcr0.difference(compared);
        assert!(!case.rfbm.intersects(withheld), "{withheld} stay untouched");
        assert!(case.registers.len() == self.area_len && case.area.len() == self.area_len);
        assert!(case.loaded_from == LoadedFrom::Elsewhere || case.misalignment == 0);
        assert!(case.between != Between::SetK5 || compared.contains(Component::Opmask));
        let mut frame = self.frame(case);
        // SAFETY:
        // 1. `Unit`, 1: images and areas are as long as every format of XCR0's components needs
        //    and aligned to 64; `registers` has a legal header and MXCSR, or the process ends.
        //    2: the operand has `area_len` bytes, which is enough for each component in XCR0 in
        //    either format, wherever XCOMP_BV places it; `withheld` is not requested.
        //    3: the operand is 1 only if CPUID announces that form.
        // 2. Asserted.
        unsafe { unit::execute(case.tested, case.between, &mut frame) };
        let Frame {
            attempt,
            rfbm: [low, high],
            in_use: [in_use_low, in_use_high],
            ..
        } = frame;
        self.observed.fault = fault_of(attempt.vector);
        let result = ComponentSet::from_halves(low, high);
        self.observed.result = attempt.is_completed().then_some(result);
        let in_use = ComponentSet::from_halves(in_use_low, in_use_high);
        self.observed.in_use = self
            .enumeration
            .has(Instruction::XgetbvInUse)
            .then_some(in_use);
        &self.observed
    }

    fn frame(&mut self, case: &Case) -> Frame {
        let memory = &mut self.observed.memory;
        let (first, overwrite_from, overwrite_len) = match case.loaded_from {
            LoadedFrom::Elsewhere => (&case.area, ptr::null(), 0),
            LoadedFrom::TheOperand => (&case.registers, case.area.as_ptr(), case.area.len()),
        };
        memory.surround(case.misalignment, first);
        let area = memory.operand_mut(case.misalignment).as_mut_ptr();
        self.registers.bytes_mut().copy_from_slice(&case.registers);
        let registers = match case.loaded_from {
            LoadedFrom::Elsewhere => self.registers.bytes().as_ptr(),
            LoadedFrom::TheOperand => area.cast_const(),
        };
        let has_in_use = self.enumeration.has(Instruction::XgetbvInUse);
        Frame {
            attempt: Attempt {
                tested: 0,
                landing: 0,
                vector: NO_FAULT,
            },
            registers,
            initial: self.initial.bytes().as_ptr(),
            before: self.observed.before.bytes_mut().as_mut_ptr(),
            after: self.observed.after.bytes_mut().as_mut_ptr(),
            area,
            overwrite_from,
            overwrite_len,
            own: self.compared().halves().into(),
            rfbm: case.rfbm.halves().into(),
            xgetbv_operand: u32::from(has_in_use),
            in_use: [0; 2],
            mxcsr: 0,
            fcw: 0,
        }
    }
}

impl Attempt {
    const fn is_completed(&self) -> bool {
        self.vector == NO_FAULT
    }
}

/// # Panics
/// At a vector that no instruction here has.
fn fault_of(vector: i64) -> Option<Fault> {
    match vector {
        NO_FAULT => None,
        6 => Some(Fault::InvalidOpcode),
        7 => Some(Fault::DeviceNotAvailable),
        13 => Some(Fault::GeneralProtection),
        _ => panic!("exception {vector} from an instruction under test"),
    }
}
