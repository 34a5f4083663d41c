//! `Ring0Processor`: the CPU this code runs on, for a kernel or a hypervisor.

use core::marker::PhantomData;

use fpstate_arch::{
    Component, ComponentSet, CpuidRegisters, Enumeration, Fault, Format, Instruction, Moved, Mxcsr,
    Pkru, Processor, Xcr0, Xfd, XfdErr, Xss,
};

use crate::cpuid::cpuid;
use crate::extended_control::{XgetbvOperand, xgetbv, xsetbv};
use crate::fxsave::{
    FXSAVE_ALIGNMENT, fninit, fnstcw, fxrstor64, fxsave64, ldmxcsr, mxcsr_mask,
    overwrite_error_pointers, stmxcsr,
};
use crate::msr::{Msr, rdmsr, wrmsr};
use crate::pkru::{rdpkru, wrpkru};
use crate::reach::{Reach, require_alignment, require_legacy_region};
use crate::register_moves::plans::MovePlans;
use crate::register_moves::{ErrorPointersLeft, restore_by_moves, save_by_moves};
use crate::tile::tilerelease;
use crate::xsave_family::{
    XSAVE_ALIGNMENT, xrstor64, xrstors64, xsave64, xsavec64, xsaveopt64, xsaves64,
};

/// The extended state of the CPU that executes, at CPL 0.
///
/// The registers themselves hold the state between two calls, so the program must be compiled
/// without them: `assume_ring0` is where that is promised.
///
/// What an instruction takes as a value (XCR0, an MSR, MXCSR) is checked against CPUID and refused
/// as the instruction would. What stands in an image is not: the instruction judges it, and its #GP
/// or #NM is a real exception.
///
/// The value is about one CPU, so it cannot leave it:
///
/// ```compile_fail,E0277
/// fn to_another_cpu(processor: impl Send) {}
/// fn start(processor: fpstate_native::Ring0Processor) {
///     to_another_cpu(processor);
/// }
/// ```
#[derive(Debug)]
pub struct Ring0Processor {
    reach: Reach,
    mxcsr_mask: u32,
    plans: MovePlans,
    /// Neither `Send` nor `Sync`: the value is about one CPU.
    on_this_cpu: PhantomData<*mut ()>,
}

impl Ring0Processor {
    /// The CPU that executes this.
    ///
    /// # Safety
    /// For as long as the value lives:
    /// 1. CPL is 0.
    /// 2. The value stays on this CPU, and what CPUID says here of leaves 1 and 0DH stays true.
    /// 3. CR4.OSFXSR is 1; CR4.OSXSAVE is 1 if the CPU has XSAVE; CR0.TS and CR0.EM are 0;
    ///    EFER.FFXSR is 0 (with it FXSAVE leaves XMM out at CPL 0). CR4.PKE is 1 if the CPU has
    ///    PKRU as a state component.
    /// 4. The program is soft-float: no compiled code has a live value in an extended register, or
    ///    expects anything of MXCSR and the x87 control word, across a call of a method. That
    ///    includes interrupt handlers and the memory functions of the language's runtime.
    /// 5. The kernel has handlers for #GP and #NM: XRSTOR, XRSTORS and FXRSTOR raise them for an
    ///    image that breaks a condition of SDM 1, 13.8, or needs a component that IA32_XFD
    ///    disables. They are not turned into a [`Fault`].
    /// 6. Supervisor components that the kernel itself runs on (a shadow stack, CET_S) are in an
    ///    `rfbm` given to [`xrstors`](Processor::xrstors) only where the kernel can lose them.
    /// 7. A value given to [`wrpkru`](Processor::wrpkru) allows what the kernel does with user pages
    ///    until the next one.
    /// 8. When a method is called, XCR0 is what it was at the last call, but for
    ///    [`xsetbv`](Processor::xsetbv) of this value: a guest's own is gone again.
    #[must_use]
    pub unsafe fn assume_ring0() -> Self {
        // SAFETY: 1: promised as 3.
        let mxcsr_mask = unsafe { mxcsr_mask() };
        Self {
            reach: Reach::new(Enumeration::read(cpuid)),
            mxcsr_mask,
            // The next owner is a user or a guest, who may not learn the kernel's addresses.
            plans: MovePlans::new(mxcsr_mask, ErrorPointersLeft::Zeroed),
            on_this_cpu: PhantomData,
        }
    }

    /// What this CPU says of itself.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        self.reach.enumeration()
    }

    const fn require(&self, instruction: Instruction, otherwise: Fault) -> Result<(), Fault> {
        if self.enumeration().has(instruction) {
            Ok(())
        } else {
            Err(otherwise)
        }
    }

    const fn require_pkru(&self) -> Result<(), Fault> {
        if self
            .enumeration()
            .user_components()
            .contains(Component::Pkru)
        {
            Ok(())
        } else {
            Err(Fault::InvalidOpcode)
        }
    }

    fn read(&self, msr: Msr) -> Result<ComponentSet, Fault> {
        self.require(instruction_of(msr), Fault::GeneralProtection)?;
        // SAFETY: 1: promised as 1 to `assume_ring0`. 2: the line above.
        Ok(unsafe { rdmsr(msr) })
    }

    fn write(&self, msr: Msr, value: ComponentSet) -> Result<(), Fault> {
        self.require(instruction_of(msr), Fault::GeneralProtection)?;
        let accepted = match msr {
            Msr::Xss => self.enumeration().supervisor_components(),
            Msr::Xfd | Msr::XfdErr => self.enumeration().xfd_components(),
        };
        require_all(value, accepted)?;
        // SAFETY: 1: promised as 1 to `assume_ring0`; the CPU has the register, by the first line.
        // 2: the line above. 3: promised as 4.
        unsafe { wrmsr(msr, value) };
        Ok(())
    }
}

/// XCR0, where it can be read.
fn xcr0_of(reach: &Reach) -> ComponentSet {
    if !reach.enumeration().has(Instruction::Xsave) {
        return ComponentSet::EMPTY;
    }
    // SAFETY: 1: the line above, and 3 of `assume_ring0`. 2: not that operand.
    unsafe { xgetbv(XgetbvOperand::Xcr0) }
}

const fn instruction_of(msr: Msr) -> Instruction {
    match msr {
        Msr::Xss => Instruction::Xsaves,
        Msr::Xfd | Msr::XfdErr => Instruction::Xfd,
    }
}

const fn require_all(value: ComponentSet, accepted: ComponentSet) -> Result<(), Fault> {
    if accepted.contains_all(value) {
        Ok(())
    } else {
        Err(Fault::GeneralProtection)
    }
}

impl Processor for Ring0Processor {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        cpuid(leaf, subleaf)
    }

    fn xgetbv(&mut self) -> Result<ComponentSet, Fault> {
        self.require(Instruction::Xsave, Fault::InvalidOpcode)?;
        // SAFETY: 1: the line above, and 3 of `assume_ring0`. 2: not that operand.
        Ok(unsafe { xgetbv(XgetbvOperand::Xcr0) })
    }

    fn xgetbv_in_use(&mut self) -> Result<ComponentSet, Fault> {
        self.require(Instruction::Xsave, Fault::InvalidOpcode)?;
        self.require(Instruction::XgetbvInUse, Fault::GeneralProtection)?;
        // SAFETY: 1, 2: the lines above, and 3 of `assume_ring0`.
        Ok(unsafe { xgetbv(XgetbvOperand::InUse) })
    }

    fn xsetbv(&mut self, xcr0: Xcr0) -> Result<(), Fault> {
        self.require(Instruction::Xsave, Fault::InvalidOpcode)?;
        require_all(xcr0.components(), self.enumeration().user_components())?;
        // SAFETY: 1: promised as 1 to `assume_ring0`. 2: the first line, and 3 of the promise.
        // 3: the line above; `Xcr0` has the combinations. 4: promised as 4.
        unsafe { xsetbv(xcr0) };
        self.plans.forget();
        Ok(())
    }

    fn read_xss(&mut self) -> Result<ComponentSet, Fault> {
        self.read(Msr::Xss)
    }

    fn write_xss(&mut self, xss: Xss) -> Result<(), Fault> {
        self.write(Msr::Xss, xss.components())
    }

    fn read_xfd(&mut self) -> Result<ComponentSet, Fault> {
        self.read(Msr::Xfd)
    }

    fn write_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        self.write(Msr::Xfd, xfd.components())
    }

    fn read_xfd_err(&mut self) -> Result<XfdErr, Fault> {
        self.read(Msr::XfdErr).map(XfdErr::from_components)
    }

    fn write_xfd_err(&mut self, xfd_err: XfdErr) -> Result<(), Fault> {
        self.write(Msr::XfdErr, xfd_err.components())
    }

    fn xsave(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.require(Instruction::Xsave, Fault::InvalidOpcode)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        self.reach.require_standard(rfbm, area.len())?;
        // SAFETY: 1 to 3: the three lines above, in the order 3, 2, 1; and 3 of `assume_ring0`.
        unsafe { xsave64(area.as_mut_ptr(), rfbm) };
        Ok(())
    }

    fn xsaveopt(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.require(Instruction::Xsaveopt, Fault::InvalidOpcode)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        self.reach.require_standard(rfbm, area.len())?;
        // SAFETY: 1 to 3: the three lines above, in the order 3, 2, 1; and 3 of `assume_ring0`.
        unsafe { xsaveopt64(area.as_mut_ptr(), rfbm) };
        Ok(())
    }

    fn xsavec(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.require(Instruction::Xsavec, Fault::InvalidOpcode)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        let saved = rfbm.intersection(self.enumeration().user_components());
        self.reach.require_compacted(saved, area.len())?;
        // SAFETY: 1: the line above: XCR0 has user components alone. 2: the first two lines, and 3
        // of `assume_ring0`.
        unsafe { xsavec64(area.as_mut_ptr(), rfbm) };
        Ok(())
    }

    fn xsaves(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.require(Instruction::Xsaves, Fault::InvalidOpcode)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        self.reach.require_compacted(rfbm, area.len())?;
        // SAFETY: 1: the line above. 2: the first two lines, and 3 of `assume_ring0`. 3: promised
        // there as 1.
        unsafe { xsaves64(area.as_mut_ptr(), rfbm) };
        Ok(())
    }

    fn xrstor(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.require(Instruction::Xsave, Fault::InvalidOpcode)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        self.reach.require_restore(area, rfbm)?;
        // SAFETY: 1: the line above. 2: the first two lines, and 3 of `assume_ring0`. 3: the
        // exception is the kernel's, promised there as 5. 4: promised there as 4.
        unsafe { xrstor64(area.as_ptr(), rfbm) };
        Ok(())
    }

    fn xrstors(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.require(Instruction::Xsaves, Fault::InvalidOpcode)?;
        require_alignment(area, XSAVE_ALIGNMENT)?;
        self.reach.require_restore(area, rfbm)?;
        // SAFETY: 1: the line above. 2: the first two lines, and 3, 4 and 5 of `assume_ring0`.
        // 3, 4: promised there as 1 and 6.
        unsafe { xrstors64(area.as_ptr(), rfbm) };
        Ok(())
    }

    fn fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault> {
        self.require(Instruction::Fxsave, Fault::InvalidOpcode)?;
        require_alignment(area, FXSAVE_ALIGNMENT)?;
        require_legacy_region(area.len())?;
        // SAFETY: 1, 2: the two lines above. 3: promised as 3 to `assume_ring0`.
        unsafe { fxsave64(area.as_mut_ptr()) };
        Ok(())
    }

    fn fxrstor(&mut self, area: &[u8]) -> Result<(), Fault> {
        self.require(Instruction::Fxsave, Fault::InvalidOpcode)?;
        require_alignment(area, FXSAVE_ALIGNMENT)?;
        require_legacy_region(area.len())?;
        // SAFETY: 1, 2: the two lines above. 3 to 5: promised as 3, 5 and 4 to `assume_ring0`.
        unsafe { fxrstor64(area.as_ptr()) };
        Ok(())
    }

    fn stmxcsr(&mut self) -> Result<Mxcsr, Fault> {
        // SAFETY: 1: promised as 3 to `assume_ring0`.
        Ok(unsafe { stmxcsr() })
    }

    fn ldmxcsr(&mut self, mxcsr: Mxcsr) -> Result<(), Fault> {
        if !mxcsr.is_valid_under(self.mxcsr_mask) {
            return Err(Fault::GeneralProtection);
        }
        // SAFETY: 1: the lines above. 2, 3: promised as 3 and 4 to `assume_ring0`.
        unsafe { ldmxcsr(mxcsr) };
        Ok(())
    }

    fn fnstcw(&mut self) -> Result<u16, Fault> {
        // SAFETY: 1: promised as 3 to `assume_ring0`.
        Ok(unsafe { fnstcw() })
    }

    fn fninit(&mut self) -> Result<(), Fault> {
        // SAFETY: 1, 2: promised as 3 and 4 to `assume_ring0`.
        unsafe { fninit() };
        Ok(())
    }

    fn overwrite_error_pointers(&mut self) -> Result<(), Fault> {
        // SAFETY: 1, 2: promised as 3 and 4 to `assume_ring0`.
        unsafe { overwrite_error_pointers() };
        Ok(())
    }

    fn rdpkru(&mut self) -> Result<Pkru, Fault> {
        self.require_pkru()?;
        // SAFETY: 1: the line above, and 3 of `assume_ring0`.
        Ok(unsafe { rdpkru() })
    }

    fn wrpkru(&mut self, pkru: Pkru) -> Result<(), Fault> {
        self.require_pkru()?;
        // SAFETY: 1: the line above, and 3 of `assume_ring0`. 2: promised there as 7.
        unsafe { wrpkru(pkru) };
        Ok(())
    }

    fn tilerelease(&mut self) -> Result<(), Fault> {
        if !self.xgetbv()?.contains_all(ComponentSet::TILES) {
            return Err(Fault::InvalidOpcode);
        }
        // SAFETY: 1: the line above. 2: promised as 4 to `assume_ring0`.
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
        let Some(plan) = self.plans.save(
            self.reach.enumeration(),
            || xcr0_of(&self.reach),
            area,
            (format, rfbm),
        )?
        else {
            return Ok(Moved::NOTHING);
        };
        // SAFETY: 1, 2: the line above. 3: promised as 3 to
        // `assume_ring0`.
        Ok(unsafe { save_by_moves(area.as_mut_ptr(), plan) }.moved())
    }

    #[inline]
    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        let Some(plan) = self.plans.restore(
            self.reach.enumeration(),
            || xcr0_of(&self.reach),
            area,
            rfbm,
        )?
        else {
            return Ok(Moved::NOTHING);
        };
        let (in_use, known) = in_use.map_or((0, 0), |in_use| (in_use.bits(), 1));
        // SAFETY: 1, 2: the line above. 3, 5: promised as 3 and 4 to `assume_ring0`. 4: the caller of a method says what a save has
        // just found; a wrong answer is wrong contents of registers, which is 5.
        Ok(unsafe { restore_by_moves(area.as_ptr(), plan, in_use, known) }.moved())
    }

    fn told_by_xinuse(&self) -> ComponentSet {
        self.plans.told_by_xinuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_image::Area;
    use fpstate_arch::Component;
    use fpstate_arch::cpuid::RecordedLeaves;

    const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
        CpuidRegisters { eax, ebx, ecx, edx }
    }

    /// XSAVE and XSAVEC, and CET_U that nothing but XSAVES could save.
    const WITHOUT_XSAVES: [(u32, u32, CpuidRegisters); 5] = [
        (0x1, 0, leaf(0, 0, 1 << 26, 1 << 24)),
        (0xd, 0, leaf(0x7, 832, 832, 0)),
        (0xd, 1, leaf(0x2, 832, 0x800, 0)),
        (0xd, 2, leaf(256, 576, 0, 0)),
        (0xd, 11, leaf(16, 0, 1, 0)),
    ];

    /// The same with XSAVES and XFD.
    const WITH_XSAVES: [(u32, u32, CpuidRegisters); 6] = [
        (0xd, 1, leaf(0x1f, 832, 0x800, 0)),
        WITHOUT_XSAVES[0],
        WITHOUT_XSAVES[1],
        WITHOUT_XSAVES[3],
        WITHOUT_XSAVES[4],
        (0xd, 18, leaf(8192, 2816, 6, 0)),
    ];

    /// For calls that are refused: in an ordinary process nothing else may be executed.
    fn processor(leaves: &[(u32, u32, CpuidRegisters)]) -> Ring0Processor {
        Ring0Processor {
            reach: Reach::new(Enumeration::read(RecordedLeaves(leaves))),
            mxcsr_mask: Mxcsr::DEFAULT_MASK,
            plans: MovePlans::new(Mxcsr::DEFAULT_MASK, ErrorPointersLeft::Zeroed),
            on_this_cpu: PhantomData,
        }
    }

    const ALL: ComponentSet = ComponentSet::from_bits(!0);
    const REFUSED: Result<(), Fault> = Err(Fault::GeneralProtection);
    const UNKNOWN: Result<(), Fault> = Err(Fault::InvalidOpcode);

    #[test]
    fn instructions_that_the_cpu_lacks_are_not_executed() {
        let mut area = Area::zeroed(1024);
        let area = area.bytes_mut();
        let mut cpu = processor(&WITHOUT_XSAVES);
        assert_eq!(cpu.xsaveopt(area, ALL), UNKNOWN);
        assert_eq!(cpu.xsaves(area, ALL), UNKNOWN);
        assert_eq!(cpu.xrstors(area, ALL), UNKNOWN);
        assert_eq!(cpu.xgetbv_in_use().map(drop), REFUSED);
        assert_eq!(cpu.read_xss().map(drop), REFUSED);
        assert_eq!(cpu.write_xfd(Xfd::NOTHING), REFUSED);
        assert_eq!(cpu.read_xfd_err().map(drop), REFUSED);
        let mut cpu = processor(&[]);
        assert_eq!(cpu.xsave(area, ALL), UNKNOWN);
        assert_eq!(cpu.xrstor(area, ALL), UNKNOWN);
        assert_eq!(cpu.xsavec(area, ALL), UNKNOWN);
        assert_eq!(cpu.fxsave(area), UNKNOWN);
        assert_eq!(cpu.fxrstor(area), UNKNOWN);
        assert_eq!(cpu.xgetbv().map(drop), UNKNOWN);
        assert_eq!(cpu.xsetbv(Xcr0::AFTER_RESET), UNKNOWN);
    }

    #[test]
    fn values_that_the_cpu_lacks_are_not_written() {
        let mut cpu = processor(&WITH_XSAVES);
        let xcr0 = Xcr0::new(ComponentSet::from_bits(0x207), ALL).unwrap();
        assert_eq!(cpu.xsetbv(xcr0), REFUSED);
        let cet_s = ComponentSet::only(Component::CetS);
        assert_eq!(cpu.write_xss(Xss::new(cet_s, ALL).unwrap()), REFUSED);
        let avx = ComponentSet::only(Component::Avx);
        assert_eq!(cpu.write_xfd(Xfd::new(avx, ALL).unwrap()), REFUSED);
        let avx = XfdErr::from_components(avx);
        assert_eq!(cpu.write_xfd_err(avx), REFUSED);
        assert_eq!(cpu.ldmxcsr(Mxcsr::from_bits(0x1fc0)), REFUSED);
    }

    #[test]
    fn areas_at_the_wrong_place_are_refused() {
        let mut area = Area::zeroed(1024);
        let area = &mut area.bytes_mut()[8..];
        let mut cpu = processor(&[&[WITH_XSAVES[0]], &WITHOUT_XSAVES[..]].concat());
        assert_eq!(cpu.xsave(area, ALL), REFUSED);
        assert_eq!(cpu.xsaveopt(area, ALL), REFUSED);
        assert_eq!(cpu.xsavec(area, ALL), REFUSED);
        assert_eq!(cpu.xsaves(area, ALL), REFUSED);
        assert_eq!(cpu.xrstor(area, ALL), REFUSED);
        assert_eq!(cpu.xrstors(area, ALL), REFUSED);
        assert_eq!(cpu.fxsave(area), REFUSED);
        assert_eq!(cpu.fxrstor(area), REFUSED);
        let moved = cpu.save_by_moves(area, Format::Compacted, ALL);
        assert_eq!(moved.map(drop), REFUSED);
        assert_eq!(cpu.restore_by_moves(area, ALL, None).map(drop), REFUSED);
    }

    /// Of CET_U, for one, XGETBV(1) does not tell.
    #[test]
    fn what_xcr0_does_not_have_is_never_moved() {
        let mut area = Area::zeroed(1024);
        let mut cpu = processor(&WITH_XSAVES);
        let rfbm = ComponentSet::from_bits(0x807);
        let moved = cpu.save_by_moves(area.bytes_mut(), Format::Compacted, rfbm);
        assert_eq!(moved, Ok(Moved::NOTHING));
        let moved = cpu.restore_by_moves(area.bytes(), rfbm, None);
        assert_eq!(moved, Ok(Moved::NOTHING));
    }

    #[test]
    fn areas_that_are_too_short_are_refused() {
        let mut cpu = processor(&WITH_XSAVES);
        let mut area = Area::zeroed(831);
        area.set_header(&fpstate_arch::XsaveHeader::compacted(ALL, ALL));
        let area = area.bytes_mut();
        let outside = |reach| Err(Fault::OutsideArea { reach, len: 831 });
        assert_eq!(cpu.xsave(area, ALL), outside(832));
        assert_eq!(cpu.xsaveopt(area, ALL), outside(832));
        assert_eq!(cpu.xsavec(area, ALL), outside(832));
        assert_eq!(cpu.xsaves(area, ALL), outside(848));
        assert_eq!(cpu.xrstor(area, ALL), outside(848));
        assert_eq!(cpu.xrstors(area, ALL), outside(848));
        let outside = Err(Fault::OutsideArea {
            reach: 512,
            len: 511,
        });
        assert_eq!(cpu.fxsave(&mut area[..511]), outside);
        assert_eq!(cpu.fxrstor(&area[..511]), outside);
    }
}
