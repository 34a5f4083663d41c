//! A case on the emulated CPU.

use fpstate_arch::{ComponentSet, Instruction, Xcr0, Xss};
use fpstate_native::extended_control::{XgetbvOperand, xgetbv, xsetbv};
use fpstate_native::fxsave::fninit;
use fpstate_native::msr::{Msr, wrmsr};

use super::case::Case;
use super::difference::Observed;
use super::memory::Memory;
use super::places::most_bytes;
use super::tested::Tested;
use super::this_emulator::ThisEmulator;
use crate::trap::Exception;

/// The CPU that executes this, given back as it was found but for the registers, which are initial.
#[derive(Debug)]
pub struct OnEmulator<'e> {
    this: &'e ThisEmulator,
    image: Memory,
    found_xcr0: ComponentSet,
    /// Saves everything.
    save: Tested,
    /// Restores everything.
    restore: Tested,
}

const EVERYTHING: ComponentSet = ComponentSet::from_bits(!0);

impl<'e> OnEmulator<'e> {
    /// `this` emulator's CPU.
    #[must_use]
    pub fn new(this: &'e ThisEmulator) -> Self {
        let enumeration = this.enumeration();
        let (save, restore) = everything(enumeration.has(Instruction::Xsaves));
        Self {
            this,
            image: Memory::zeroed(most_bytes(enumeration)),
            // SAFETY: 1: `cpu_features` set CR4.OSXSAVE, and `this` has XSAVE. 2: not that operand.
            found_xcr0: unsafe { xgetbv(XgetbvOperand::Xcr0) },
            save,
            restore,
        }
    }

    /// Executes `case`.
    ///
    /// # Errors
    /// The exception of the restore or the save around the instruction.
    pub fn execute(&mut self, case: &Case, observed: &mut Observed) -> Result<(), Exception> {
        self.enable(self.this.full_xcr0(), self.this.full_xss());
        self.image.bytes_mut().copy_from_slice(&case.registers);
        self.restore_image()?;
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
        // SAFETY: as above.
        unsafe { self.save.on_emulator(enumeration, registers, EVERYTHING)? };
        Ok(())
    }

    fn restore_image(&mut self) -> Result<(), Exception> {
        let (enumeration, image) = (self.this.enumeration(), self.image.bytes_mut());
        // SAFETY: 1: `most_bytes`. 2, 3: as for `execute`.
        unsafe { self.restore.on_emulator(enumeration, image, EVERYTHING)? };
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

/// What saves everything and what restores everything.
#[must_use]
pub const fn everything(has_xsaves: bool) -> (Tested, Tested) {
    if has_xsaves {
        (Tested::Xsaves, Tested::Xrstors)
    } else {
        (Tested::Xsave, Tested::Xrstor)
    }
}

impl Drop for OnEmulator<'_> {
    fn drop(&mut self) {
        self.enable(self.this.full_xcr0(), self.this.full_xss());
        let image = self.image.bytes_mut();
        image.fill(0);
        // MXCSR as after RESET; XSTATE_BV = 0 makes every component initial.
        image[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        if self.restore == Tested::Xrstors {
            let all = self.this.enumeration().components();
            let header = fpstate_arch::XsaveHeader::compacted(ComponentSet::EMPTY, all);
            super::places::set_header(image, &header);
        }
        // A refusal has been told by the first case already.
        let _ = self.restore_image();
        // SAFETY: 1: `cpu_features`. 2: soft-float.
        unsafe { fninit() };
        let found = Xcr0::new(self.found_xcr0, self.found_xcr0).unwrap_or(Xcr0::AFTER_RESET);
        self.enable(found, self.this.full_xss().map(|_| Xss::AFTER_RESET));
    }
}
