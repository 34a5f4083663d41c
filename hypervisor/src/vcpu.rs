//! A vCPU as the run loop sees it, whatever the hardware: SVM or VMX.
//!
//! The hardware's own files (`svm`, `vmx`) enter and exit; everything about extended state is decided
//! in the run loop, by the library.

use alloc::boxed::Box;
use core::fmt;

/// General-purpose registers of a guest that the hardware does not keep.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GeneralRegisters {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// RBP.
    pub rbp: u64,
    /// R8 to R15.
    pub r8_to_r15: [u64; 8],
}

/// Why the guest exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// CPUID; leaf and sub-leaf are in RAX and RCX.
    Cpuid,
    /// XSETBV; register number in RCX, value in RDX:RAX.
    Xsetbv,
    /// RDMSR; number in RCX.
    ReadMsr,
    /// WRMSR; number in RCX, value in RDX:RAX.
    WriteMsr,
    /// #NM.
    DeviceNotAvailable,
    /// VMMCALL or VMCALL; its number is in RAX.
    Hypercall,
    /// HLT.
    Halt,
    /// An interrupt of the host's; the host has taken it by the time this is returned, or takes it as
    /// soon as interrupts are on.
    Interrupt,
    /// Anything else: a mistake. The hardware's own code.
    Other(u64),
}

/// A vCPU of the hardware's.
pub trait Hardware: fmt::Debug + Send {
    /// Enters the guest and comes back at the next exit. The host's XCR0, extended registers and PKRU are
    /// the guest's already; interrupts are off.
    fn enter(&mut self, registers: &mut GeneralRegisters) -> Exit;

    /// The vCPU goes to another CPU: nothing of it stays in this one. Interrupts are off.
    fn leave_cpu(&mut self) {}

    /// Continues behind the instruction that exited.
    fn skip_instruction(&mut self);

    /// The next entry raises this exception in the guest.
    fn inject(&mut self, vector: u8, error_code: Option<u32>);

    /// The guest's CR0.
    fn cr0(&self) -> u64;

    /// The guest's CR4.
    fn cr4(&self) -> u64;

    /// Whether accesses of the guest to an MSR exit; the MSRs of the library's concern are IA32_XSS
    /// (DA0H), IA32_XFD (1C4H) and IA32_XFD_ERR (1C5H).
    fn intercept_msr(&mut self, msr: u32, access: MsrAccess);
}

/// Which accesses to an MSR exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrAccess {
    /// None.
    PassedThrough,
    /// Writes.
    WritesExit,
    /// All.
    Exits,
}

impl<H: Hardware + ?Sized> Hardware for Box<H> {
    fn enter(&mut self, registers: &mut GeneralRegisters) -> Exit {
        (**self).enter(registers)
    }

    fn leave_cpu(&mut self) {
        (**self).leave_cpu();
    }

    fn skip_instruction(&mut self) {
        (**self).skip_instruction();
    }

    fn inject(&mut self, vector: u8, error_code: Option<u32>) {
        (**self).inject(vector, error_code);
    }

    fn cr0(&self) -> u64 {
        (**self).cr0()
    }

    fn cr4(&self) -> u64 {
        (**self).cr4()
    }

    fn intercept_msr(&mut self, msr: u32, access: MsrAccess) {
        (**self).intercept_msr(msr, access);
    }
}
