//! A vCPU of VMX.
//!
//! Its VMCS is current during [`enter`](Hardware::enter) alone, and cleared afterwards, so every entry
//! is a VMLAUNCH and the next one may be on another CPU. What the run loop asks between two
//! entries is read before.

use alloc::sync::Arc;
use core::fmt;

use super::controls;
use super::entry::{self, Refused};
use super::ept::Ept;
use super::field::Field;
use super::guest_state::{self, VMXE};
use super::host_state;
use super::msr_bitmap::MsrBitmap;
use super::operation::{self, Unavailable};
use super::vmcs::{CurrentVmcs, Vmcs};
use crate::guest_memory::GuestMemory;
use crate::vcpu::{Exit, GeneralRegisters, Hardware, MsrAccess};

/// A vCPU.
pub struct VmxVcpu {
    vmcs: Vmcs,
    _ept: Ept,
    _memory: Arc<GuestMemory>,
    bitmap: MsrBitmap,
    at_exit: AtExit,
    injection: Option<Injection>,
}

/// What the last exit left.
#[derive(Clone, Copy, Debug, Default)]
struct AtExit {
    rip: u64,
    instruction_len: u64,
    cr0: u64,
    cr4: u64,
    /// Whether the instruction holds back interrupts.
    interruptibility: u64,
}

#[derive(Clone, Copy, Debug)]
struct Injection {
    vector: u8,
    error_code: Option<u32>,
}

impl fmt::Debug for VmxVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmxVcpu at {:#x}", self.at_exit.rip)
    }
}

impl VmxVcpu {
    /// VMCALL.
    pub const HYPERCALL: [u8; 3] = [0x0f, 0x01, 0xc1];

    /// A vCPU that begins at `memory`'s program.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn new(memory: Arc<GuestMemory>) -> Result<Self, Unavailable> {
        operation::begin()?;
        // SAFETY: 1: the line above.
        let mut vmcs = unsafe { Vmcs::new() };
        // SAFETY: 1: as above.
        let mut current = unsafe { vmcs.load() }?;
        // SAFETY: 1: as above.
        unsafe { controls::write(&mut current) }?;
        // SAFETY: 1: as above; the controls have EPT.
        let ept = unsafe { Ept::new(&memory) }?;
        let bitmap = MsrBitmap::default();
        current.write(Field::EptPointer, ept.pointer());
        current.write(Field::MsrBitmap, bitmap.address());
        // SAFETY: 1: as above.
        unsafe { guest_state::write(&mut current) };
        let at_exit = AtExit::read(&current);
        drop(current);
        Ok(Self {
            vmcs,
            _ept: ept,
            _memory: memory,
            bitmap,
            at_exit,
            injection: None,
        })
    }

    fn try_enter(&mut self, registers: &mut GeneralRegisters) -> Result<Exit, Unavailable> {
        operation::begin()?;
        // SAFETY: 1: the line above.
        let mut vmcs = unsafe { self.vmcs.load() }?;
        host_state::write(&mut vmcs);
        vmcs.write(Field::GuestRip, self.at_exit.rip);
        vmcs.write(Field::GuestInterruptibility, self.at_exit.interruptibility);
        if let Some(injection) = self.injection.take() {
            injection.write(&mut vmcs);
        }
        // SAFETY: 1: written just now. 2: by EPT, from `new`.
        let entered = unsafe { entry::launch(&vmcs, registers) };
        self.at_exit = AtExit::read(&vmcs);
        Ok(match entered {
            Ok(()) => reason(&vmcs),
            Err(Refused { error }) => Exit::Other(error | 1 << 32),
        })
    }
}

impl AtExit {
    fn read(vmcs: &CurrentVmcs<'_>) -> Self {
        Self {
            rip: vmcs.read(Field::GuestRip),
            instruction_len: vmcs.read(Field::ExitInstructionLen),
            cr0: vmcs.read(Field::GuestCr0),
            cr4: vmcs.read(Field::GuestCr4) & !VMXE,
            interruptibility: vmcs.read(Field::GuestInterruptibility),
        }
    }
}

impl Injection {
    /// A hardware exception (SDM 3, table 25-17).
    fn write(self, vmcs: &mut CurrentVmcs<'_>) {
        const VALID: u64 = 1 << 31;
        const HARDWARE_EXCEPTION: u64 = 3 << 8;
        const HAS_ERROR_CODE: u64 = 1 << 11;
        let mut information = u64::from(self.vector) | HARDWARE_EXCEPTION | VALID;
        if let Some(error_code) = self.error_code {
            information |= HAS_ERROR_CODE;
            vmcs.write(Field::EntryErrorCode, u64::from(error_code));
        }
        vmcs.write(Field::EntryInterruption, information);
    }
}

/// SDM 3, appendix C.
fn reason(vmcs: &CurrentVmcs<'_>) -> Exit {
    match vmcs.read(Field::ExitReason) {
        0 if vmcs.read(Field::ExitInterruption) & 0x7ff == 0x307 => Exit::DeviceNotAvailable,
        1 => Exit::Interrupt,
        10 => Exit::Cpuid,
        12 => Exit::Halt,
        18 => Exit::Hypercall,
        31 => Exit::ReadMsr,
        32 => Exit::WriteMsr,
        55 => Exit::Xsetbv,
        other => Exit::Other(other),
    }
}

impl Hardware for VmxVcpu {
    fn enter(&mut self, registers: &mut GeneralRegisters) -> Exit {
        self.try_enter(registers).unwrap_or(Exit::Other(1 << 33))
    }

    fn skip_instruction(&mut self) {
        self.at_exit.rip += self.at_exit.instruction_len;
        self.at_exit.interruptibility = 0;
    }

    fn inject(&mut self, vector: u8, error_code: Option<u32>) {
        self.injection = Some(Injection { vector, error_code });
    }

    fn cr0(&self) -> u64 {
        self.at_exit.cr0
    }

    fn cr4(&self) -> u64 {
        self.at_exit.cr4
    }

    fn intercept_msr(&mut self, msr: u32, access: MsrAccess) {
        self.bitmap.set(msr, access);
    }
}
