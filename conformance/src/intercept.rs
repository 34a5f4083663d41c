//! What all wrappers around a processor share: everything passes, except where one steps in.

use fpstate::{RestoreInstruction, SaveInstruction};
use fpstate_arch::{
    ComponentSet, Fault, Format, Moved, Mxcsr, Pkru, Processor, Xcr0, Xfd, XfdErr, Xss,
};

/// An instruction that changes memory or registers, or reads a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// FXSAVE or one of the XSAVE family; FXSAVE's set is x87 and SSE.
    Save(SaveInstruction, ComponentSet),
    /// FXRSTOR or one of the XRSTOR family.
    Restore(RestoreInstruction, ComponentSet),
    /// XSETBV.
    Xsetbv(Xcr0),
    /// WRMSR of IA32_XSS.
    WriteXss(Xss),
    /// WRMSR of IA32_XFD.
    WriteXfd(Xfd),
    /// LDMXCSR.
    Ldmxcsr(Mxcsr),
    /// FNINIT.
    Fninit,
    /// WRMSR of IA32_XFD_ERR.
    WriteXfdErr(XfdErr),
    /// WRPKRU.
    Wrpkru(Pkru),
    /// TILERELEASE.
    Tilerelease,
    /// CPUID, XGETBV, RDMSR, STMXCSR, RDPKRU; and FNCLEX, EMMS, FILD, which on some CPUs are part of
    /// each restore.
    Other,
}

/// A processor around another one. Every method passes the instruction on unless it is overridden.
pub trait Intercept {
    /// The processor inside.
    type Inner: Processor;

    /// The processor inside.
    fn inner(&mut self) -> &mut Self::Inner;

    /// Called before each instruction.
    fn note(&mut self, _: Executed) {}

    /// A save.
    ///
    /// # Errors
    /// The instruction's fault.
    fn save(
        &mut self,
        instruction: SaveInstruction,
        area: &mut [u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        instruction.execute(self.inner(), area, rfbm)
    }

    /// A restore.
    ///
    /// # Errors
    /// The instruction's fault.
    fn restore(
        &mut self,
        instruction: RestoreInstruction,
        area: &[u8],
        rfbm: ComponentSet,
    ) -> Result<(), Fault> {
        instruction.execute(self.inner(), area, rfbm)
    }

    /// A save by register moves. A wrapper knows instructions, so that is what it leaves it to.
    ///
    /// # Errors
    /// As XSAVEC.
    fn save_by_moves(
        &mut self,
        _area: &mut [u8],
        _format: Format,
        _rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        Ok(Moved::NOTHING)
    }

    /// A restore by register moves, likewise.
    ///
    /// # Errors
    /// As XRSTOR.
    fn restore_by_moves(
        &mut self,
        _area: &[u8],
        _rfbm: ComponentSet,
        _in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        Ok(Moved::NOTHING)
    }

    /// WRMSR of IA32_XFD.
    ///
    /// # Errors
    /// The instruction's fault.
    fn wrmsr_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        self.inner().write_xfd(xfd)
    }
}

/// Makes an [`Intercept`] a [`Processor`], and user code's registers those of the processor inside.
/// (Rust's orphan rule forbids the two impls for every `Intercept` at once.)
macro_rules! processor_by_intercept {
    ($wrapper:ident) => {
        impl<P: fpstate_arch::Processor> fpstate_arch::Processor for $wrapper<P> {
            $crate::intercept::pass_on! {
                cpuid(leaf: u32, subleaf: u32) -> fpstate_arch::CpuidRegisters: Other;
                xgetbv() -> Result<ComponentSet, Fault>: Other;
                xgetbv_in_use() -> Result<ComponentSet, Fault>: Other;
                xsetbv(xcr0: fpstate_arch::Xcr0) -> Result<(), Fault>: Xsetbv(xcr0);
                read_xss() -> Result<ComponentSet, Fault>: Other;
                write_xss(xss: fpstate_arch::Xss) -> Result<(), Fault>: WriteXss(xss);
                read_xfd() -> Result<ComponentSet, Fault>: Other;
                read_xfd_err() -> Result<fpstate_arch::XfdErr, Fault>: Other;
                write_xfd_err(xfd_err: fpstate_arch::XfdErr) -> Result<(), Fault>: WriteXfdErr(xfd_err);
                stmxcsr() -> Result<fpstate_arch::Mxcsr, Fault>: Other;
                ldmxcsr(mxcsr: fpstate_arch::Mxcsr) -> Result<(), Fault>: Ldmxcsr(mxcsr);
                fnstcw() -> Result<u16, Fault>: Other;
                fninit() -> Result<(), Fault>: Fninit;
                overwrite_error_pointers() -> Result<(), Fault>: Other;
                rdpkru() -> Result<fpstate_arch::Pkru, Fault>: Other;
                wrpkru(pkru: fpstate_arch::Pkru) -> Result<(), Fault>: Wrpkru(pkru);
                tilerelease() -> Result<(), Fault>: Tilerelease;
            }
            $crate::intercept::saves_and_restores! {
                Save: xsave Xsave, xsaveopt Xsaveopt, xsavec Xsavec, xsaves Xsaves;
                Restore: xrstor Xrstor, xrstors Xrstors;
            }

            fn fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault> {
                let (instruction, legacy) =
                    (fpstate::SaveInstruction::Fxsave, ComponentSet::LEGACY);
                self.note($crate::intercept::Executed::Save(instruction, legacy));
                self.save(instruction, area, legacy)
            }

            fn fxrstor(&mut self, area: &[u8]) -> Result<(), Fault> {
                let (instruction, legacy) =
                    (fpstate::RestoreInstruction::Fxrstor, ComponentSet::LEGACY);
                self.note($crate::intercept::Executed::Restore(instruction, legacy));
                self.restore(instruction, area, legacy)
            }

            fn save_by_moves(
                &mut self,
                area: &mut [u8],
                format: fpstate_arch::Format,
                rfbm: ComponentSet,
            ) -> Result<fpstate_arch::Moved, Fault> {
                $crate::intercept::Intercept::save_by_moves(self, area, format, rfbm)
            }

            fn restore_by_moves(
                &mut self,
                area: &[u8],
                rfbm: ComponentSet,
                in_use: Option<ComponentSet>,
            ) -> Result<fpstate_arch::Moved, Fault> {
                $crate::intercept::Intercept::restore_by_moves(self, area, rfbm, in_use)
            }

            fn told_by_xinuse(&self) -> ComponentSet {
                self.inner.told_by_xinuse()
            }

            fn write_xfd(&mut self, xfd: fpstate_arch::Xfd) -> Result<(), Fault> {
                self.note($crate::intercept::Executed::WriteXfd(xfd));
                self.wrmsr_xfd(xfd)
            }
        }

        impl<P: $crate::user_code::UserCode> $crate::user_code::UserCode for $wrapper<P> {
            fn components(&self) -> ComponentSet {
                self.inner.components()
            }

            fn contents(&mut self, components: ComponentSet) -> $crate::contents::Contents {
                self.inner.contents(components)
            }

            fn write(
                &mut self,
                component: fpstate_arch::Component,
                values: &$crate::contents::Contents,
            ) {
                self.inner.write(component, values);
            }

            fn initialise(&mut self, components: ComponentSet) {
                self.inner.initialise(components);
            }
        }
    };
}

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $answer:ty:
        $executed:ident $(($operand:ident))?;)+) => {
        $(fn $method(&mut self $(, $argument: $kind)*) -> $answer {
            self.note($crate::intercept::Executed::$executed $(($operand))?);
            self.inner.$method($($argument),*)
        })+
    };
}

macro_rules! saves_and_restores {
    (Save: $($save:ident $saving:ident),+; Restore: $($restore:ident $restoring:ident),+;) => {
        $(fn $save(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
            let instruction = fpstate::SaveInstruction::$saving;
            self.note($crate::intercept::Executed::Save(instruction, rfbm));
            self.save(instruction, area, rfbm)
        })+
        $(fn $restore(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
            let instruction = fpstate::RestoreInstruction::$restoring;
            self.note($crate::intercept::Executed::Restore(instruction, rfbm));
            self.restore(instruction, area, rfbm)
        })+
    };
}

pub(crate) use {pass_on, processor_by_intercept, saves_and_restores};
