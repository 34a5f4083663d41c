//! `Processor`: one method per instruction.

use crate::component::{Component, ComponentSet};
use crate::cpuid::CpuidRegisters;
use crate::fault::Fault;
use crate::legacy_region::Mxcsr;
use crate::moved::{MOVABLE, Moved};
use crate::pkru::Pkru;
use crate::xcr0::Xcr0;
use crate::xfd::{Xfd, XfdErr};
use crate::xsave_header::Format;
use crate::xss::Xss;

/// What [`Processor::told_by_xinuse`] has on every CPU.
pub const TOLD_BY_XINUSE: ComponentSet = MOVABLE.without(Component::Sse);

/// A logical processor's extended state and the instructions that move it.
///
/// Every contact of the library with hardware is a method of this trait; each method is one
/// instruction of the manual and has its conditions, but for the three at the end: two do by plain moves
/// what an instruction does by microcode, and one is about what the CPU tells. Areas are byte slices:
///
/// * byte 0 is at an address that is a multiple of 64 (16 for FXSAVE and FXRSTOR); otherwise the
///   method returns [`Fault::GeneralProtection`], as the instruction does;
/// * an instruction that would reach beyond the slice is not executed:
///   [`Fault::OutsideArea`]. An implementation must not rely on the caller for this.
///
/// Between two calls nothing else uses the registers: that is the implementation's promise, made
/// once by whoever constructs it.
pub trait Processor {
    /// CPUID with EAX = `leaf`, ECX = `subleaf`.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters;

    /// XGETBV with ECX = 0: the components enabled in XCR0.
    ///
    /// # Errors
    /// #UD without XSAVE or with CR4.OSXSAVE = 0.
    fn xgetbv(&mut self) -> Result<ComponentSet, Fault>;

    /// XGETBV with ECX = 1: XCR0 & XINUSE, the components that may not be in their initial
    /// configuration.
    ///
    /// # Errors
    /// As [`xgetbv`](Self::xgetbv); #GP on a CPU that does not enumerate the form.
    fn xgetbv_in_use(&mut self) -> Result<ComponentSet, Fault>;

    /// XSETBV with ECX = 0.
    ///
    /// # Errors
    /// #UD as for XGETBV; #GP at CPL > 0.
    fn xsetbv(&mut self, xcr0: Xcr0) -> Result<(), Fault>;

    /// RDMSR of IA32_XSS.
    ///
    /// # Errors
    /// #GP at CPL > 0 or without XSAVES.
    fn read_xss(&mut self) -> Result<ComponentSet, Fault>;

    /// WRMSR of IA32_XSS.
    ///
    /// # Errors
    /// #GP at CPL > 0 or without XSAVES.
    fn write_xss(&mut self, xss: Xss) -> Result<(), Fault>;

    /// RDMSR of IA32_XFD.
    ///
    /// # Errors
    /// #GP at CPL > 0 or without XFD.
    fn read_xfd(&mut self) -> Result<ComponentSet, Fault>;

    /// WRMSR of IA32_XFD.
    ///
    /// # Errors
    /// #GP at CPL > 0 or without XFD.
    fn write_xfd(&mut self, xfd: Xfd) -> Result<(), Fault>;

    /// RDMSR of IA32_XFD_ERR.
    ///
    /// # Errors
    /// #GP at CPL > 0 or without XFD.
    fn read_xfd_err(&mut self) -> Result<XfdErr, Fault>;

    /// WRMSR of IA32_XFD_ERR.
    ///
    /// # Errors
    /// #GP at CPL > 0 or without XFD.
    fn write_xfd_err(&mut self, xfd_err: XfdErr) -> Result<(), Fault>;

    /// XSAVE64: the components in `rfbm` & XCR0 to a standard-format area. Bytes 527:520 and
    /// 575:528 of the header are not written.
    ///
    /// # Errors
    /// #UD without XSAVE; #NM with CR0.TS; #GP for a misaligned area.
    fn xsave(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>;

    /// XSAVEOPT64: as XSAVE, without writing components that are initial or, since the last XRSTOR
    /// from this very area, unmodified.
    ///
    /// # Errors
    /// As [`xsave`](Self::xsave).
    fn xsaveopt(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>;

    /// XSAVEC64: the components in `rfbm` & XCR0 to a compacted area, those in their initial
    /// configuration not written.
    ///
    /// # Errors
    /// As [`xsave`](Self::xsave).
    fn xsavec(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>;

    /// XSAVES64: the components in `rfbm` & (XCR0 | IA32_XSS) to a compacted area, initial and
    /// unmodified ones not written.
    ///
    /// # Errors
    /// As [`xsave`](Self::xsave); #GP at CPL > 0.
    fn xsaves(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>;

    /// XRSTOR64: the components in `rfbm` & XCR0 from an area of either format; those whose bit in
    /// XSTATE_BV is 0 become initial.
    ///
    /// # Errors
    /// #UD without XSAVE; #NM with CR0.TS, or for a component that IA32_XFD disables; #GP for a
    /// misaligned area, a header that breaks a rule of SDM 1, 13.8, or reserved bits in MXCSR.
    fn xrstor(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault>;

    /// XRSTORS64: the components in `rfbm` & (XCR0 | IA32_XSS) from a compacted area.
    ///
    /// # Errors
    /// As [`xrstor`](Self::xrstor); #GP at CPL > 0 and for the standard format.
    fn xrstors(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault>;

    /// FXSAVE64: x87, XMM and MXCSR to 512 bytes.
    ///
    /// # Errors
    /// #UD without FXSAVE; #NM with CR0.TS; #GP unless byte 0 is at a multiple of 16.
    fn fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault>;

    /// FXRSTOR64: x87, XMM and MXCSR from 512 bytes.
    ///
    /// # Errors
    /// As [`fxsave`](Self::fxsave); #GP for reserved bits in MXCSR.
    fn fxrstor(&mut self, area: &[u8]) -> Result<(), Fault>;

    /// STMXCSR.
    ///
    /// # Errors
    /// #UD without SSE; #NM with CR0.TS.
    fn stmxcsr(&mut self) -> Result<Mxcsr, Fault>;

    /// LDMXCSR.
    ///
    /// # Errors
    /// As [`stmxcsr`](Self::stmxcsr); #GP for reserved bits.
    fn ldmxcsr(&mut self, mxcsr: Mxcsr) -> Result<(), Fault>;

    /// FNSTCW: the x87 control word.
    ///
    /// # Errors
    /// #NM with CR0.TS or CR0.EM.
    fn fnstcw(&mut self) -> Result<u16, Fault>;

    /// FNINIT: x87 to its initial configuration, data registers kept but tagged empty.
    ///
    /// # Errors
    /// #NM with CR0.TS or CR0.EM.
    fn fninit(&mut self) -> Result<(), Fault>;

    /// FNCLEX, EMMS and FILD of some value: FIP, FDP and FOP are of that FILD from here on, and not of
    /// whoever used the x87 registers before. For CPUs of
    /// [`ErrorPointers::LeftAlone`](crate::ErrorPointers), where no single instruction does it, before a
    /// restore.
    ///
    /// # Errors
    /// #NM with CR0.TS or CR0.EM.
    fn overwrite_error_pointers(&mut self) -> Result<(), Fault>;

    /// RDPKRU.
    ///
    /// # Errors
    /// #UD with CR4.PKE = 0.
    fn rdpkru(&mut self) -> Result<Pkru, Fault>;

    /// WRPKRU.
    ///
    /// # Errors
    /// #UD with CR4.PKE = 0.
    fn wrpkru(&mut self, pkru: Pkru) -> Result<(), Fault>;

    /// TILERELEASE: tile configuration and tile data to their initial configuration. IA32_XFD does
    /// not matter to it.
    ///
    /// # Errors
    /// #UD without AMX or while XCR0 does not have both.
    fn tilerelease(&mut self) -> Result<(), Fault>;

    /// Stores what XSAVEC (for [`Format::Compacted`]) or XSAVEOPT (for [`Format::Standard`]) of
    /// `rfbm` would, by XGETBV(1), STMXCSR and plain moves, x87 by FXSAVE64: an image that every restoring
    /// instruction takes. Nothing is written where a component of `rfbm` is in use that moves
    /// do not cover, or may be without XGETBV(1) telling.
    ///
    /// A processor may cover nothing; that is the default.
    ///
    /// # Errors
    /// As [`xsavec`](Self::xsavec).
    #[inline]
    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        let _ = (area, format, rfbm);
        Ok(Moved::NOTHING)
    }

    /// Loads what XRSTOR of `rfbm` would, by plain moves and LDMXCSR, x87 by FXRSTOR64. Nothing is loaded where the
    /// image has a component that moves do not cover, or such a one of `rfbm` is in use: `in_use`
    /// says what is, as a save just found it; without it XGETBV(1) is asked.
    ///
    /// # Errors
    /// As [`xrstor`](Self::xrstor). An image that it would refuse may count as one that is not
    /// covered: the instruction, which is then to be executed, refuses it.
    #[inline]
    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        let _ = (area, rfbm, in_use);
        Ok(Moved::NOTHING)
    }

    /// Components of which a 0 in XGETBV(1), or in XSTATE_BV after a save, says everything: to restore
    /// them as initial would change nothing. SSE is never one, for MXCSR is judged apart from it. x87
    /// is one where nobody minds the FIP, FDP and FOP of the last owner, or where they are 0 too.
    #[inline]
    fn told_by_xinuse(&self) -> ComponentSet {
        TOLD_BY_XINUSE
    }
}
