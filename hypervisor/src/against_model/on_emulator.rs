//! A case on the emulated CPU.

use alloc::vec;

use fpstate_arch::{ComponentSet, Instruction, Xcr0, XsaveHeader, Xss};
use fpstate_native::extended_control::{XgetbvOperand, xgetbv, xsetbv};
use fpstate_native::fxsave::fninit;
use fpstate_native::msr::{Msr, wrmsr};

use super::case::Case;
use super::difference::Observed;
use super::memory::Memory;
use super::places::{most_bytes, set_header};
use super::tested::Tested;
use super::this_emulator::ThisEmulator;
use crate::trap::Exception;

/// The CPU that executes this, given back as it was found but for the registers, which are initial.
#[derive(Debug)]
pub struct OnEmulator<'e> {
    this: &'e ThisEmulator,
    image: Memory,
    found_xcr0: ComponentSet,
}

const EVERYTHING: ComponentSet = ComponentSet::from_bits(!0);

impl<'e> OnEmulator<'e> {
    /// `this` emulator's CPU.
    #[must_use]
    pub fn new(this: &'e ThisEmulator) -> Self {
        let enumeration = this.enumeration();
        Self {
            this,
            image: Memory::zeroed(most_bytes(enumeration)),
            // SAFETY: 1: `cpu_features` set CR4.OSXSAVE, and `this` has XSAVE. 2: not that operand.
            found_xcr0: unsafe { xgetbv(XgetbvOperand::Xcr0) },
        }
    }

    /// Executes `case`.
    ///
    /// # Errors
    /// The exception of the restore or the save around the instruction.
    pub fn execute(&mut self, case: &Case, observed: &mut Observed) -> Result<(), Exception> {
        self.enable(self.this.full_xcr0(), self.this.full_xss());
        self.restore(Tested::Xrstor, &case.registers, EVERYTHING)?;
        if let Some(supervisor) = self.supervisor() {
            self.restore(Tested::Xrstors, &case.supervisor_registers, supervisor)?;
        }
        observed.surround(case.misalignment, &case.area);
        self.enable(case.xcr0, case.xss);
        let enumeration = self.this.enumeration();
        let operand = observed.operand_mut(case.misalignment);
        // SAFETY: 1: the generator's areas are. 2: `cpu_features`. 3: soft-float, and no component
        // of the supervisor's in use.
        let result = unsafe { case.tested.on_emulator(enumeration, operand, case.rfbm) };
        observed.result = result.map_err(|exception| exception.vector);
        self.enable(self.this.full_xcr0(), self.this.full_xss());
        let registers = observed.registers.bytes_mut();
        registers.fill(0);
        let (user, behind) = registers.split_at_mut(most_bytes(enumeration));
        // SAFETY: as above.
        unsafe { Tested::Xsave.on_emulator(enumeration, user, EVERYTHING)? };
        if let Some(supervisor) = self.supervisor() {
            // SAFETY: as above.
            unsafe { Tested::Xsaves.on_emulator(enumeration, behind, supervisor)? };
        }
        Ok(())
    }

    fn supervisor(&self) -> Option<ComponentSet> {
        supervisor_components(self.this)
    }

    fn restore(&mut self, by: Tested, image: &[u8], rfbm: ComponentSet) -> Result<(), Exception> {
        let (enumeration, aligned) = (self.this.enumeration(), self.image.bytes_mut());
        aligned.copy_from_slice(image);
        // SAFETY: 1: `most_bytes`. 2, 3: as for `execute`.
        unsafe { by.on_emulator(enumeration, aligned, rfbm)? };
        Ok(())
    }

    fn enable(&self, xcr0: Xcr0, xss: Option<Xss>) {
        // SAFETY: 1, 2: the kernel, and `cpu_features`. 3: CPUID enumerates them. 4: soft-float.
        unsafe { xsetbv(xcr0) };
        if let Some(xss) = xss {
            // SAFETY: 1: the kernel; `ThisEmulator` found XSAVES. 2: CPUID enumerates them. 3: it
            // is not IA32_XFD.
            unsafe { wrmsr(Msr::Xss, xss.components()) };
        }
    }
}

/// What XSAVES and XRSTORS are for, where the CPU has them.
#[must_use]
pub fn supervisor_components(this: &ThisEmulator) -> Option<ComponentSet> {
    let enumeration = this.enumeration();
    enumeration
        .has(Instruction::Xsaves)
        .then(|| enumeration.supervisor_components())
}

impl Drop for OnEmulator<'_> {
    fn drop(&mut self) {
        self.enable(self.this.full_xcr0(), self.this.full_xss());
        let mut initial = vec![0; most_bytes(self.this.enumeration())];
        // MXCSR as after RESET; XSTATE_BV = 0 makes every component initial.
        initial[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        // A refusal has been told by the first case already.
        let _ = self.restore(Tested::Xrstor, &initial, EVERYTHING);
        if let Some(supervisor) = self.supervisor() {
            let header = XsaveHeader::compacted(ComponentSet::EMPTY, supervisor);
            set_header(&mut initial, &header);
            let _ = self.restore(Tested::Xrstors, &initial, supervisor);
        }
        // SAFETY: 1: `cpu_features`. 2: soft-float.
        unsafe { fninit() };
        let found = Xcr0::new(self.found_xcr0, self.found_xcr0).unwrap_or(Xcr0::AFTER_RESET);
        self.enable(found, self.this.full_xss().map(|_| Xss::AFTER_RESET));
    }
}
