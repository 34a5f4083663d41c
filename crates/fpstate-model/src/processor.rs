//! The instructions under the names of `Processor`.

use fpstate_arch::{
    ComponentSet, CpuidRegisters, Fault, Format, Moved, Mxcsr, Pkru, Processor, Xcr0, Xfd, XfdErr,
    Xss,
};

use crate::cpu::ModelCpu;

impl Processor for ModelCpu {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        self.execute_cpuid(leaf, subleaf)
    }

    fn xgetbv(&mut self) -> Result<ComponentSet, Fault> {
        self.execute_xgetbv()
    }

    fn xgetbv_in_use(&mut self) -> Result<ComponentSet, Fault> {
        self.execute_xgetbv_in_use()
    }

    fn xsetbv(&mut self, xcr0: Xcr0) -> Result<(), Fault> {
        self.execute_xsetbv(xcr0)
    }

    fn read_xss(&mut self) -> Result<ComponentSet, Fault> {
        self.rdmsr_xss()
    }

    fn write_xss(&mut self, xss: Xss) -> Result<(), Fault> {
        self.wrmsr_xss(xss)
    }

    fn read_xfd(&mut self) -> Result<ComponentSet, Fault> {
        self.rdmsr_xfd()
    }

    fn write_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        self.wrmsr_xfd(xfd)
    }

    fn read_xfd_err(&mut self) -> Result<XfdErr, Fault> {
        self.rdmsr_xfd_err()
    }

    fn write_xfd_err(&mut self, xfd_err: XfdErr) -> Result<(), Fault> {
        self.wrmsr_xfd_err(xfd_err)
    }

    fn xsave(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.execute_xsave(area, rfbm)
    }

    fn xsaveopt(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.execute_xsaveopt(area, rfbm)
    }

    fn xsavec(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.execute_xsavec(area, rfbm)
    }

    fn xsaves(&mut self, area: &mut [u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.execute_xsaves(area, rfbm)
    }

    fn xrstor(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.execute_xrstor(area, rfbm)
    }

    fn xrstors(&mut self, area: &[u8], rfbm: ComponentSet) -> Result<(), Fault> {
        self.execute_xrstors(area, rfbm)
    }

    fn fxsave(&mut self, area: &mut [u8]) -> Result<(), Fault> {
        self.execute_fxsave(area)
    }

    fn fxrstor(&mut self, area: &[u8]) -> Result<(), Fault> {
        self.execute_fxrstor(area)
    }

    fn stmxcsr(&mut self) -> Result<Mxcsr, Fault> {
        self.execute_stmxcsr()
    }

    fn ldmxcsr(&mut self, mxcsr: Mxcsr) -> Result<(), Fault> {
        self.execute_ldmxcsr(mxcsr)
    }

    fn fnstcw(&mut self) -> Result<u16, Fault> {
        self.execute_fnstcw()
    }

    fn fninit(&mut self) -> Result<(), Fault> {
        self.execute_fninit()
    }

    fn overwrite_error_pointers(&mut self) -> Result<(), Fault> {
        self.execute_fnclex_emms_fild()
    }

    fn rdpkru(&mut self) -> Result<Pkru, Fault> {
        self.execute_rdpkru()
    }

    fn wrpkru(&mut self, pkru: Pkru) -> Result<(), Fault> {
        self.execute_wrpkru(pkru)
    }

    fn tilerelease(&mut self) -> Result<(), Fault> {
        self.execute_tilerelease()
    }

    fn save_by_moves(
        &mut self,
        area: &mut [u8],
        format: Format,
        rfbm: ComponentSet,
    ) -> Result<Moved, Fault> {
        self.execute_save_by_moves(area, format, rfbm)
    }

    fn restore_by_moves(
        &mut self,
        area: &[u8],
        rfbm: ComponentSet,
        in_use: Option<ComponentSet>,
    ) -> Result<Moved, Fault> {
        self.execute_restore_by_moves(area, rfbm, in_use)
    }

    fn told_by_xinuse(&self) -> ComponentSet {
        self.told_by_xinuse_of_vendor()
    }
}
