//! What a guest does that exits and concerns extended state: CPUID, XSETBV, three MSRs.

use fpstate::{GuestFeatures, GuestRegisterError};
use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Processor};
use fpstate_native::cpuid;

use crate::vcpu::Hardware;
use crate::vcpu_run::{Host, RunError, Vcpu};

/// IA32_XFD.
pub const IA32_XFD: u32 = 0x1c4;
/// IA32_XFD_ERR.
pub const IA32_XFD_ERR: u32 = 0x1c5;
/// IA32_XSS.
pub const IA32_XSS: u32 = 0xda0;

const GENERAL_PROTECTION: u8 = 13;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

impl<'e, H: Hardware + ?Sized> Vcpu<'e, H> {
    /// CPUID.
    pub(crate) fn emulate_cpuid<P: Processor>(
        &mut self,
        host: &Host<'_, 'e, P>,
    ) -> Result<(), RunError> {
        let (leaf, subleaf) = (low(self.registers.rax), low(self.registers.rcx));
        let found = self.cpuid(host, leaf, subleaf)?;
        let CpuidRegisters { eax, ebx, ecx, edx } = found;
        self.registers.rax = eax.into();
        self.registers.rbx = ebx.into();
        self.registers.rcx = ecx.into();
        self.registers.rdx = edx.into();
        self.hardware.skip_instruction();
        Ok(())
    }

    fn cpuid<P: Processor>(
        &self,
        host: &Host<'_, 'e, P>,
        leaf: u32,
        subleaf: u32,
    ) -> Result<CpuidRegisters, RunError> {
        const VMX: u32 = 1 << 5;
        const OSXSAVE: u32 = 1 << 27;
        const XSAVE: u32 = 1 << 26;
        const AVX: u32 = 1 << 28;
        const OSPKE: u32 = 1 << 4;
        const PKU: u32 = 1 << 3;
        const SVM: u32 = 1 << 2;
        let of_state = self.fpu.cpuid(leaf, subleaf, host.enumeration);
        if let Some(registers) = of_state.map_err(RunError::Cpuid)? {
            return Ok(registers);
        }
        let mut registers = cpuid(leaf, subleaf);
        let cr4 = self.hardware.cr4();
        match (leaf, subleaf) {
            (1, _) => {
                let osxsave = if cr4 & CR4_OSXSAVE == 0 { 0 } else { OSXSAVE };
                registers.ecx = registers.ecx & !(VMX | OSXSAVE) | osxsave;
                if self.fpu.features() == GuestFeatures::WITHOUT_XSAVE {
                    registers.ecx &= !(XSAVE | OSXSAVE | AVX);
                }
            }
            (7, 0) => {
                let has_keys = self.fpu.features().user().contains(Component::Pkru);
                let pku = if has_keys { PKU } else { 0 };
                let ospke = if cr4 & CR4_PKE == 0 { 0 } else { OSPKE };
                registers.ecx = registers.ecx & !(PKU | OSPKE) | (pku & registers.ecx) | ospke;
            }
            (0x8000_0001, _) => registers.ecx &= !SVM,
            _ => {}
        }
        Ok(registers)
    }

    /// XSETBV: what the guest may not write is #GP.
    pub(crate) fn emulate_xsetbv(&mut self) -> Result<(), RunError> {
        let value = self.in_edx_eax();
        let written = self.fpu.xsetbv(low(self.registers.rcx), value);
        self.finish(written)
    }

    /// RDMSR of one of the three registers, where the guest's CPUID announces it.
    pub(crate) fn emulate_rdmsr<P: Processor>(
        &mut self,
        host: &Host<'_, 'e, P>,
    ) -> Result<(), RunError> {
        let value = match self.announced(host)? {
            Some(IA32_XSS) => self.fpu.xss().components(),
            Some(IA32_XFD_ERR) => self.fpu.xfd_err().components(),
            Some(IA32_XFD) => {
                let xfd = host.thread.guest_xfd(&self.fpu);
                xfd.map_err(RunError::Register)?.components()
            }
            _ => {
                self.hardware.inject(GENERAL_PROTECTION, Some(0));
                return Ok(());
            }
        };
        let (eax, edx) = value.halves();
        (self.registers.rax, self.registers.rdx) = (eax.into(), edx.into());
        self.hardware.skip_instruction();
        Ok(())
    }

    /// WRMSR of one of them.
    pub(crate) fn emulate_wrmsr<P: Processor>(
        &mut self,
        host: &mut Host<'_, 'e, P>,
    ) -> Result<(), RunError> {
        let value = ComponentSet::from_bits(self.in_edx_eax());
        let written = match self.announced(host)? {
            Some(IA32_XSS) => self.fpu.write_xss(value),
            Some(IA32_XFD_ERR) => self.fpu.write_xfd_err(value),
            Some(IA32_XFD) => host.thread.write_guest_xfd(&self.fpu, host.cpu, value),
            _ => {
                self.hardware.inject(GENERAL_PROTECTION, Some(0));
                return Ok(());
            }
        };
        self.finish(written)
    }

    /// The MSR in ECX, if CPUID.(0DH,1):EAX says that the guest has it: bit 3 or bit 4.
    fn announced<P: Processor>(&self, host: &Host<'_, 'e, P>) -> Result<Option<u32>, RunError> {
        let msr = low(self.registers.rcx);
        let bit = match msr {
            IA32_XSS => 1 << 3,
            IA32_XFD | IA32_XFD_ERR => 1 << 4,
            _ => return Ok(None),
        };
        let announced = self.cpuid(host, 0xd, 1)?.eax;
        Ok((announced & bit != 0).then_some(msr))
    }

    fn in_edx_eax(&self) -> u64 {
        u64::from(low(self.registers.rdx)) << 32 | u64::from(low(self.registers.rax))
    }

    fn finish(&mut self, written: Result<(), GuestRegisterError>) -> Result<(), RunError> {
        match written {
            Ok(()) => self.hardware.skip_instruction(),
            Err(error) if error.is_the_guests() => {
                self.hardware.inject(GENERAL_PROTECTION, Some(0));
            }
            Err(error) => return Err(RunError::Register(error)),
        }
        Ok(())
    }
}

/// The low half: 32-bit operands ignore the rest.
const fn low(register: u64) -> u32 {
    let [a, b, c, d, ..] = register.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
