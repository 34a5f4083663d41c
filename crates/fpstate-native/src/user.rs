//! `UserProcessor`: the CPU under an ordinary process.

use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{
    ComponentSet, Enumeration, Fault, Format, Instruction, Moved, Mxcsr, Processor,
};

use crate::at_cpl3::{AtCpl3, given_at_cpl3};
use crate::cpuid::cpuid;
use crate::hand_over::{self, Block, Form, HandOver};
use crate::reach::require_alignment;
use crate::register_moves::ErrorPointersLeft;
use crate::register_moves::Outcome;
use crate::xsave_family::XSAVE_ALIGNMENT;

/// The extended state of a CPU at CPL 3, where the compiler uses the registers too.
///
/// The registers' contents are in memory between two calls, the *hand-over image*; each call
/// executes the real instruction with the registers as handed over, and no call disturbs the
/// process. The differences from a processor of one's own:
///
/// * XSETBV, XSAVES, XRSTORS and the MSRs are refused with #GP, as CPL 3 has it.
/// * PKRU stays the thread's: it decides what memory may be touched, the process's too. A save
///   stores the thread's PKRU; a restore leaves it alone. MPX likewise.
/// * A component that IA32_XFD can disable (AMX tile data) is handed over only after
///   [`assume_permitted`](Self::assume_permitted). Until then it is initial, and an XRSTOR that
///   would load it is refused with #NM.
/// * XSAVEOPT finds nothing unmodified: the last XRSTOR was from the hand-over image.
/// * AMD CPUs save the x87 error pointers (FOP, FIP, FDP) only with an unmasked exception pending;
///   without one the hand-over loses them.
///
/// XRSTOR's conditions are checked before it is executed, because its #GP would be a signal.
#[derive(Debug)]
pub struct UserProcessor<'m> {
    hand_over: HandOver<'m>,
    pub(crate) cpu: AtCpl3,
}

impl<'m> UserProcessor<'m> {
    /// Bytes, from a multiple of 64 on, that [`assume_user_mode`](Self::assume_user_mode) wants:
    /// CPUID.(0DH,0):EBX, or 512 where there is no XSAVE.
    #[must_use]
    pub fn hand_over_len() -> usize {
        hand_over_len(&Enumeration::read(cpuid))
    }

    /// The CPU that executes this, all registers in the initial configuration.
    ///
    /// # Errors
    /// #GP if `hand_over` is not aligned to 64 bytes; [`Fault::OutsideArea`] if it is shorter than
    /// [`hand_over_len`](Self::hand_over_len).
    ///
    /// # Safety
    /// For as long as the value lives:
    /// 1. The program runs under an operating system that keeps the extended state of a thread
    ///    across interrupts, signals and changes of the CPU, starts a signal handler with the
    ///    MXCSR and x87 control word of a new program, and shows CR0.TS and CR0.EM as 0.
    /// 2. XCR0, and what CPUID says of leaves 1 and 0DH, are the same on every CPU that the program
    ///    runs on, and stay so.
    /// 3. The program has no live value across a call of a method in an extended register that the
    ///    System V ABI would let a function keep: it is not compiled for APX or MPX, and an AMX
    ///    tile configuration is not kept.
    pub unsafe fn assume_user_mode(hand_over: &'m mut [u8]) -> Result<Self, Fault> {
        // SAFETY: 1, 2: promised as 1 and 2.
        let cpu = unsafe { AtCpl3::read(ErrorPointersLeft::Replaced) };
        require_alignment(hand_over, XSAVE_ALIGNMENT)?;
        let (reach, len) = (hand_over_len(cpu.enumeration()), hand_over.len());
        if len < reach {
            return Err(Fault::OutsideArea { reach, len });
        }
        let form = if cpu.xcr0().contains_all(ComponentSet::LEGACY) {
            Form::Xsave(cpu.own())
        } else {
            Form::Fxsave
        };
        Ok(Self {
            // SAFETY: 1: alignment and length are checked above: CPUID.(0DH,0):EBX is enough for
            // every component in XCR0. 2: XGETBV answered, XCR0 has the components; those with XFD
            // are not among them.
            hand_over: unsafe { HandOver::initial(hand_over, form) },
            cpu,
        })
    }

    /// From now on `components` are handed over too, as far as XCR0 has them and IA32_XFD is why
    /// they were not.
    ///
    /// # Safety
    /// 1. For as long as the value lives, the operating system lets this process use `components`:
    ///    on Linux `arch_prctl(ARCH_REQ_XCOMP_PERM)` succeeded for them.
    pub unsafe fn assume_permitted(&mut self, components: ComponentSet) {
        let permitted = self.cpu.permit(components);
        // SAFETY: 1: `hand_over_len` counts every component in XCR0. 2: XCR0 has them; 1.
        unsafe { self.hand_over.include(permitted) };
    }

    /// What this CPU says of itself.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        self.cpu.enumeration()
    }

    /// The components that a restore changes and that outlive a call; the others in XCR0 are the
    /// thread's or not permitted.
    #[must_use]
    pub const fn handed_over(&self) -> ComponentSet {
        match self.hand_over.form() {
            Form::Xsave(own) => own,
            Form::Fxsave => ComponentSet::LEGACY,
        }
    }

    /// # Safety
    /// As [`HandOver::execute`], for an instruction that writes `area`.
    unsafe fn execute(
        &mut self,
        block: Block,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        // SAFETY: the caller's.
        unsafe { self.hand_over.execute(block, area.as_mut_ptr(), rfbm) }.map(drop)
    }

    /// # Safety
    /// As [`HandOver::execute`], for an instruction that only reads `area`.
    unsafe fn execute_on_image(
        &mut self,
        block: Block,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        let area = area.as_ptr().cast_mut();
        // SAFETY: the caller's; nothing is written through the pointer.
        unsafe { self.hand_over.execute(block, area, rfbm) }.map(drop)
    }

    /// # Safety
    /// As [`HandOver::execute`], for an instruction without an operand in memory.
    unsafe fn execute_on_registers(&mut self, block: Block) -> Result<ComponentSet, Fault> {
        let nowhere = core::ptr::null_mut();
        // SAFETY: the caller's.
        unsafe { self.hand_over.execute(block, nowhere, ComponentSet::EMPTY) }
    }
}

fn hand_over_len(enumeration: &Enumeration) -> usize {
    usize::try_from(enumeration.standard_len_for_xcr0())
        .unwrap_or(usize::MAX)
        .max(LEGACY_REGION_LEN)
}

impl Processor for UserProcessor<'_> {
    given_at_cpl3!();

    fn xgetbv_in_use(&mut self) -> Result<ComponentSet, Fault> {
        self.cpu.require_xgetbv_in_use()?;
        // SAFETY: the line above: the CPU has the form, the operating system the instruction.
        unsafe { self.execute_on_registers(hand_over::XGETBV_IN_USE) }
    }

    fn xsave(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let saved = self
            .cpu
            .require_standard_save(Instruction::Xsave, area, rfbm)?;
        // SAFETY: `xsave64`, 1 to 3: the line above.
        unsafe { self.execute(hand_over::XSAVE, area, saved) }
    }

    fn xsaveopt(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let saved = self
            .cpu
            .require_standard_save(Instruction::Xsaveopt, area, rfbm)?;
        // SAFETY: `xsaveopt64`, 1 to 3: the line above.
        unsafe { self.execute(hand_over::XSAVEOPT, area, saved) }
    }

    fn xsavec(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let saved = self.cpu.require_compacted_save(area, rfbm)?;
        // SAFETY: `xsavec64`, 1 and 2: the line above.
        unsafe { self.execute(hand_over::XSAVEC, area, saved) }
    }

    fn xrstor(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let restored = self.cpu.require_restore(area, rfbm)?;
        // SAFETY: `xrstor64`, 1 to 3: the line above; what is not handed over is not restored. 4:
        // the block puts back what compiled code needs.
        unsafe { self.execute_on_image(hand_over::XRSTOR, area, restored) }
    }

    fn fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault> {
        self.cpu.require_fxsave(area)?;
        // SAFETY: `fxsave64`, 1, 2: the line above. 3: promised as 1.
        unsafe { self.execute(hand_over::FXSAVE, area, ComponentSet::EMPTY) }
    }

    fn fxrstor(&mut self, area: &[u8]) -> Result<(), Fault> {
        self.cpu.require_fxrstor(area)?;
        // SAFETY: `fxrstor64`, 1, 2, 4: the line above. 3: promised as 1. 5: the block puts back
        // what compiled code needs.
        unsafe { self.execute_on_image(hand_over::FXRSTOR, area, ComponentSet::EMPTY) }
    }

    fn stmxcsr(&mut self) -> Result<Mxcsr, Fault> {
        let mut bits = [0; 4];
        // SAFETY: `stmxcsr` writes four bytes, and `bits` has them.
        unsafe { self.execute(hand_over::STMXCSR, &mut bits, ComponentSet::EMPTY) }?;
        Ok(Mxcsr::from_bits(u32::from_le_bytes(bits)))
    }

    fn ldmxcsr(&mut self, mxcsr: Mxcsr) -> Result<(), Fault> {
        self.cpu.require_mxcsr(mxcsr)?;
        let bits = mxcsr.bits().to_le_bytes();
        // SAFETY: `ldmxcsr` reads four bytes, and `bits` has them. Its conditions 1 and 2: the line
        // above; promised as 1. 3: the block puts back what compiled code needs.
        unsafe { self.execute_on_image(hand_over::LDMXCSR, &bits, ComponentSet::EMPTY) }
    }

    fn fnstcw(&mut self) -> Result<u16, Fault> {
        let mut word = [0; 2];
        // SAFETY: `fnstcw` writes two bytes, and `word` has them.
        unsafe { self.execute(hand_over::FNSTCW, &mut word, ComponentSet::EMPTY) }?;
        Ok(u16::from_le_bytes(word))
    }

    fn fninit(&mut self) -> Result<(), Fault> {
        // SAFETY: `fninit`, 1: promised as 1. 2: the block puts back what compiled code needs.
        unsafe { self.execute_on_registers(hand_over::FNINIT) }.map(drop)
    }

    fn overwrite_error_pointers(&mut self) -> Result<(), Fault> {
        // SAFETY: `overwrite_error_pointers`, 1: promised as 1. 2: the block puts back what compiled
        // code needs.
        unsafe { self.execute_on_registers(hand_over::FILD) }.map(drop)
    }

    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        let Some(plan) = self.cpu.plan_save(area, format, rfbm)? else {
            return Ok(Moved::NOTHING);
        };
        let area = area.as_mut_ptr();
        // SAFETY: 1, 2: the line above. 3: XCR0 is not empty; CR0.TS is promised as 1.
        let outcome = unsafe {
            self.hand_over
                .execute_moves(hand_over::SAVE_BY_MOVES, area, plan, None)
        };
        outcome.map(Outcome::moved)
    }

    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        let Some(plan) = self.cpu.plan_restore(area, rfbm)? else {
            return Ok(Moved::NOTHING);
        };
        let area = area.as_ptr().cast_mut();
        // SAFETY: 1, 2: the line above. 3: XCR0 is not empty; CR0.TS is promised as 1. 4: a wrong
        // answer is wrong contents of registers. 5: the block puts back what compiled code needs.
        let outcome = unsafe {
            self.hand_over
                .execute_moves(hand_over::RESTORE_BY_MOVES, area, plan, in_use)
        };
        outcome.map(Outcome::moved)
    }

    fn told_by_xinuse(&self) -> ComponentSet {
        self.cpu.plans.told_by_xinuse()
    }

    fn tilerelease(&mut self) -> Result<(), Fault> {
        if !self.handed_over().contains_all(ComponentSet::TILES) {
            return Err(Fault::InvalidOpcode);
        }
        // SAFETY: `tilerelease`, 1: the line above. 2: the block puts back what compiled code needs.
        unsafe { self.execute_on_registers(hand_over::TILERELEASE) }.map(drop)
    }
}

#[cfg(test)]
mod tests;
