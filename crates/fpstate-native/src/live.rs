//! `LiveProcessor`: the CPU under a process whose calls preserve no extended register.

use core::marker::PhantomData;

use fpstate_arch::{
    ComponentSet, Enumeration, Fault, Format, Instruction, Moved, Mxcsr, Processor,
};

use crate::at_cpl3::{AtCpl3, given_at_cpl3};
use crate::extended_control::{XgetbvOperand, xgetbv};
use crate::fxsave::{
    fninit, fnstcw, fxrstor64, fxsave64, ldmxcsr, overwrite_error_pointers, stmxcsr,
};
use crate::register_moves::{ErrorPointersLeft, restore_by_moves, save_by_moves};
use crate::tile::tilerelease;
use crate::xsave_family::{xrstor64, xsave64, xsavec64, xsaveopt64};

/// The extended state of a CPU at CPL 3, in the registers themselves.
///
/// It is for code that switches between states where it calls a function: by the System V ABI no
/// vector, mask, x87 or tile register survives a call, so there compiled code expects none to. A
/// save stores what the registers hold when it is executed, which is what compiled code left there.
///
/// XSETBV, XSAVES, XRSTORS and the MSRs are refused, PKRU, MPX and what IA32_XFD can disable are not
/// replaced, and an image is judged before it is loaded, all as
/// [`UserProcessor`](crate::UserProcessor) has it; that one is for a process that wants to find in
/// the registers what it last loaded.
///
/// The value is about one thread, so it cannot leave it.
#[derive(Debug)]
pub struct LiveProcessor {
    cpu: AtCpl3,
    /// Neither `Send` nor `Sync`: the value is about one thread's registers.
    on_this_thread: PhantomData<*mut ()>,
}

impl LiveProcessor {
    /// The CPU that executes this, with the registers as they are.
    ///
    /// # Safety
    /// For as long as the value lives:
    /// 1. The program runs under an operating system that keeps the extended state of a thread
    ///    across interrupts, signals and changes of the CPU, starts a signal handler with the
    ///    MXCSR and x87 control word of a new program, and shows CR0.TS and CR0.EM as 0.
    /// 2. XCR0, and what CPUID says of leaves 1 and 0DH, are the same on every CPU that the program
    ///    runs on, and stay so.
    /// 3. The program is compiled for the System V ABI, as it is on Linux, or without extended
    ///    registers; not for APX or MPX. It keeps no AMX tile configuration across a call of a
    ///    method.
    /// 4. Between a method that loads an MXCSR or x87 state which is not the program's own and one
    ///    that loads its own again, the thread executes nothing whose meaning depends on those: no
    ///    floating-point arithmetic and no x87 or MMX instruction but through methods.
    #[must_use]
    pub unsafe fn assume_caller_saved() -> Self {
        Self {
            // SAFETY: 1, 2: promised as 1 and 2.
            cpu: unsafe { AtCpl3::read(ErrorPointersLeft::Kept) },
            on_this_thread: PhantomData,
        }
    }

    /// The same, with `left` for the x87 error pointers of a CPU whose XGETBV(1) says nothing of them,
    /// after a restore by moves. Unless told otherwise they are kept: all owners of the registers are
    /// one process's, whose addresses are no secret to them.
    #[must_use]
    pub fn with_error_pointers(mut self, left: ErrorPointersLeft) -> Self {
        self.cpu.leave_error_pointers(left);
        self
    }

    /// What this CPU says of itself.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        self.cpu.enumeration()
    }

    /// The components that a restore replaces; the others in XCR0 are the thread's.
    #[must_use]
    pub const fn replaced(&self) -> ComponentSet {
        self.cpu.own()
    }
}

impl Processor for LiveProcessor {
    given_at_cpl3!();

    #[inline]
    fn xgetbv_in_use(&mut self) -> Result<ComponentSet, Fault> {
        self.cpu.require_xgetbv_in_use()?;
        // SAFETY: 1, 2: the line above.
        Ok(unsafe { xgetbv(XgetbvOperand::InUse) })
    }

    #[inline]
    fn xsave(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let saved = self
            .cpu
            .require_standard_save(Instruction::Xsave, area, rfbm)?;
        // SAFETY: 1 to 3: the line above; CR0.TS is promised as 1.
        unsafe { xsave64(area.as_mut_ptr(), saved) };
        Ok(())
    }

    #[inline]
    fn xsaveopt(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let saved = self
            .cpu
            .require_standard_save(Instruction::Xsaveopt, area, rfbm)?;
        // SAFETY: 1 to 3: the line above; CR0.TS is promised as 1.
        unsafe { xsaveopt64(area.as_mut_ptr(), saved) };
        Ok(())
    }

    #[inline]
    fn xsavec(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let saved = self.cpu.require_compacted_save(area, rfbm)?;
        // SAFETY: 1, 2: the line above; CR0.TS is promised as 1.
        unsafe { xsavec64(area.as_mut_ptr(), saved) };
        Ok(())
    }

    #[inline]
    fn xrstor(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
        let restored = self.cpu.require_restore(area, rfbm)?;
        // SAFETY: 1 to 3: the line above. 4: promised as 4.
        unsafe { xrstor64(area.as_ptr(), restored) };
        Ok(())
    }

    fn fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault> {
        self.cpu.require_fxsave(area)?;
        // SAFETY: 1, 2: the line above. 3: promised as 1.
        unsafe { fxsave64(area.as_mut_ptr()) };
        Ok(())
    }

    fn fxrstor(&mut self, area: &[u8]) -> Result<(), Fault> {
        self.cpu.require_fxrstor(area)?;
        // SAFETY: 1, 2, 4: the line above. 3: promised as 1. 5: promised as 4.
        unsafe { fxrstor64(area.as_ptr()) };
        Ok(())
    }

    #[inline]
    fn stmxcsr(&mut self) -> Result<Mxcsr, Fault> {
        // SAFETY: 1: promised as 1.
        Ok(unsafe { stmxcsr() })
    }

    #[inline]
    fn ldmxcsr(&mut self, mxcsr: Mxcsr) -> Result<(), Fault> {
        self.cpu.require_mxcsr(mxcsr)?;
        // SAFETY: 1: the line above. 2, 3: promised as 1 and 4.
        unsafe { ldmxcsr(mxcsr) };
        Ok(())
    }

    #[inline]
    fn fnstcw(&mut self) -> Result<u16, Fault> {
        // SAFETY: 1: promised as 1.
        Ok(unsafe { fnstcw() })
    }

    #[inline]
    fn fninit(&mut self) -> Result<(), Fault> {
        // SAFETY: 1, 2: promised as 1 and 4.
        unsafe { fninit() };
        Ok(())
    }

    #[inline]
    fn overwrite_error_pointers(&mut self) -> Result<(), Fault> {
        // SAFETY: 1, 2: promised as 1 and 4.
        unsafe { overwrite_error_pointers() };
        Ok(())
    }

    fn tilerelease(&mut self) -> Result<(), Fault> {
        if !self.cpu.own().contains_all(ComponentSet::TILES) {
            return Err(Fault::InvalidOpcode);
        }
        // SAFETY: 1: the line above. 2: promised as 3.
        unsafe { tilerelease() };
        Ok(())
    }

    #[inline]
    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        let Some(plan) = self.cpu.plan_save(area, format, rfbm)? else {
            return Ok(Moved::NOTHING);
        };
        // SAFETY: 1, 2: the line above. 3: XCR0 is not empty; CR0.TS is
        // promised as 1.
        Ok(unsafe { save_by_moves(area.as_mut_ptr(), plan) }.moved())
    }

    #[inline]
    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        let Some(plan) = self.cpu.plan_restore(area, rfbm)? else {
            return Ok(Moved::NOTHING);
        };
        let (in_use, known) = in_use.map_or((0, 0), |in_use| (in_use.bits(), 1));
        // SAFETY: 1, 2: the line above. 3, 5: the same; promised as 4. 4: the caller of a method says what a save has
        // just found; a wrong answer is wrong contents of registers, which is 5.
        Ok(unsafe { restore_by_moves(area.as_ptr(), plan, in_use, known) }.moved())
    }

    #[inline]
    fn told_by_xinuse(&self) -> ComponentSet {
        self.cpu.plans.told_by_xinuse()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::random_image::{ANY_BYTES, Area, Random, assert_same, random_image};
    use fpstate_arch::{Component, LegacyRegion, Xcr0, Xss};

    const ALL: ComponentSet = ComponentSet::from_bits(!0);

    fn processor() -> LiveProcessor {
        // SAFETY: 1, 2: Linux, on one kind of CPU. 3: so are the tests. 4: they load the program's
        // own state again before anything computes.
        unsafe { LiveProcessor::assume_caller_saved() }
    }

    #[test]
    fn what_is_loaded_is_in_the_registers_until_compiled_code_uses_them() {
        let mut cpu = processor();
        let tried = cpu.replaced().intersection(ANY_BYTES);
        if tried.is_empty() {
            std::eprintln!("SKIPPED: no XSAVE here");
            return;
        }
        let on = cpu.enumeration().clone();
        let mask = cpu.cpu.conditions.mxcsr_mask;
        let len = on.standard_len().try_into().unwrap();
        let (mut own, mut found) = (Area::zeroed(len), Area::zeroed(len));
        let mut seeded = Random::seeded();
        for _ in 0..200 {
            let image = random_image(&mut seeded, &on, tried, mask);
            cpu.xsave(own.bytes_mut(), ALL).unwrap();
            cpu.xrstor(image.bytes(), ALL).unwrap();
            cpu.xsave(found.bytes_mut(), ALL).unwrap();
            cpu.xrstor(own.bytes(), ALL).unwrap();
            // XMM0 and its like are the compiler's at any time.
            let (found_legacy, expected) = (found.legacy(), image.legacy());
            assert_same(&on, &found, &image, ComponentSet::only(Component::X87));
            assert_eq!(found_legacy.mxcsr, expected.mxcsr);
            assert_eq!(found_legacy.xmm[15], expected.xmm[15]);
        }
    }

    #[test]
    fn moves_are_of_the_registers_themselves() {
        let mut cpu = processor();
        let tried = cpu.replaced().intersection(ANY_BYTES);
        if cpu.xgetbv_in_use().is_err() {
            std::eprintln!("SKIPPED: no XGETBV(1) here");
            return;
        }
        let on = cpu.enumeration().clone();
        let mask = cpu.cpu.conditions.mxcsr_mask;
        let len = on.standard_len().try_into().unwrap();
        let (mut own, mut found) = (Area::zeroed(len), Area::zeroed(len));
        let mut seeded = Random::seeded();
        for _ in 0..200 {
            let image = random_image(&mut seeded, &on, tried.without(Component::X87), mask);
            found.set_header(&fpstate_arch::XsaveHeader::standard(ComponentSet::EMPTY));
            cpu.xsave(own.bytes_mut(), ALL).unwrap();
            // Otherwise x87 is the process's, and in use.
            cpu.xrstor(image.bytes(), tried).unwrap();
            let loaded = cpu.restore_by_moves(image.bytes(), tried, None);
            let saved = cpu.save_by_moves(found.bytes_mut(), Format::Standard, tried);
            cpu.xrstor(own.bytes(), ALL).unwrap();
            assert!(matches!(loaded, Ok(Moved::Done { .. })), "{loaded:?}");
            assert!(matches!(saved, Ok(Moved::Done { .. })), "{saved:?}");
            assert_eq!(found.legacy().mxcsr, image.legacy().mxcsr);
            assert_eq!(found.legacy().xmm[15], image.legacy().xmm[15]);
        }
    }

    #[test]
    fn what_ring_0_alone_may_do_is_refused() {
        let mut cpu = processor();
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(cpu.write_xss(Xss::AFTER_RESET), refused);
        assert_eq!(cpu.ldmxcsr(Mxcsr::from_bits(1 << 31)), refused);
        if cpu.xgetbv().is_ok() {
            assert_eq!(cpu.xsetbv(Xcr0::AFTER_RESET), refused);
            let mut area = Area::zeroed(576);
            let legacy = LegacyRegion {
                mxcsr: Mxcsr::from_bits(1 << 31),
                ..LegacyRegion::INITIAL
            };
            area.set_legacy(&legacy);
            assert_eq!(cpu.xrstor(area.bytes(), ComponentSet::LEGACY), refused);
            assert_eq!(cpu.fxrstor(area.bytes()), refused);
        }
    }
}
