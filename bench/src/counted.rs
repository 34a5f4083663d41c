//! `Counted`: a processor that is counted.

use fpstate_arch::{
    ComponentSet, CpuidRegisters, Fault, Format, Moved, Mxcsr, Pkru, Processor, Xcr0, Xfd, XfdErr,
    Xss,
};

use crate::tally::{Operation, Tally};

/// A processor around another one, which counts what it passes on.
#[derive(Debug)]
pub struct Counted<'t, P> {
    inner: P,
    tally: &'t Tally,
}

impl<'t, P> Counted<'t, P> {
    /// What `inner` executes is noted in `tally`.
    pub const fn new(inner: P, tally: &'t Tally) -> Self {
        Self { inner, tally }
    }

    /// The processor inside, not counted.
    pub const fn inner(&mut self) -> &mut P {
        &mut self.inner
    }
}

/// One line for each instruction: its method, and what it counts as.
macro_rules! counted {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $answer:ty: $operation:ident;)+) => {
        $(fn $method(&mut self $(, $argument: $kind)*) -> $answer {
            self.tally.note(Operation::$operation);
            self.inner.$method($($argument),*)
        })+
    };
}

impl<P: Processor> Processor for Counted<'_, P> {
    counted! {
        cpuid(leaf: u32, subleaf: u32) -> CpuidRegisters: Cpuid;
        xgetbv() -> Result<ComponentSet, Fault>: Xgetbv;
        xgetbv_in_use() -> Result<ComponentSet, Fault>: Xgetbv;
        xsetbv(xcr0: Xcr0) -> Result<(), Fault>: Xsetbv;
        read_xss() -> Result<ComponentSet, Fault>: Rdmsr;
        write_xss(xss: Xss) -> Result<(), Fault>: Wrmsr;
        read_xfd() -> Result<ComponentSet, Fault>: Rdmsr;
        write_xfd(xfd: Xfd) -> Result<(), Fault>: Wrmsr;
        read_xfd_err() -> Result<XfdErr, Fault>: Rdmsr;
        write_xfd_err(xfd_err: XfdErr) -> Result<(), Fault>: Wrmsr;
        xsave(area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>: Xsave;
        xsaveopt(area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>: Xsave;
        xsavec(area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>: Xsave;
        xsaves(area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault>: Xsave;
        xrstor(area: &[u8], rfbm: ComponentSet) -> Result<(), Fault>: Xrstor;
        xrstors(area: &[u8], rfbm: ComponentSet) -> Result<(), Fault>: Xrstor;
        fxsave(area: &mut [u8]) -> Result<(), Fault>: Xsave;
        fxrstor(area: &[u8]) -> Result<(), Fault>: Xrstor;
        stmxcsr() -> Result<Mxcsr, Fault>: Stmxcsr;
        ldmxcsr(mxcsr: Mxcsr) -> Result<(), Fault>: Ldmxcsr;
        fnstcw() -> Result<u16, Fault>: Fnstcw;
        fninit() -> Result<(), Fault>: Fninit;
        overwrite_error_pointers() -> Result<(), Fault>: OverwriteErrorPointers;
        rdpkru() -> Result<Pkru, Fault>: Pkru;
        wrpkru(pkru: Pkru) -> Result<(), Fault>: Pkru;
        tilerelease() -> Result<(), Fault>: Tilerelease;
    }

    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        let moved = self.inner.save_by_moves(area, format, rfbm)?;
        self.tally.note(match moved {
            Moved::Done { .. } => Operation::SavedByMoves,
            Moved::NotCovered { .. } => Operation::SaveNotCovered,
        });
        Ok(moved)
    }

    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        let moved = self.inner.restore_by_moves(area, rfbm, in_use)?;
        self.tally.note(match moved {
            Moved::Done { .. } => Operation::RestoredByMoves,
            Moved::NotCovered { .. } => Operation::RestoreNotCovered,
        });
        Ok(moved)
    }

    #[inline]
    fn told_by_xinuse(&self) -> ComponentSet {
        self.inner.told_by_xinuse()
    }
}
