//! `vcpu_run`: what a hypervisor does around its guests, as far as extended state is concerned. It is
//! here to be copied.

use alloc::collections::TryReserveError;
use core::fmt;

use fpstate::{
    AfterExit, BoxedArea, CpuFpu, EnterError, GuestEntryError, GuestFpu, GuestRegisterError,
    Interception, LeaveError, ResizeError, Restoring, SwitchError, ThreadFpu, VmExit,
};
use fpstate_arch::{Enumeration, Processor};
use x86_64::instructions::interrupts::without_interrupts;

use crate::vcpu::{Exit, GeneralRegisters, Hardware, MsrAccess};
use crate::vcpu_emulation::{IA32_XFD, IA32_XFD_ERR, IA32_XSS};

/// A guest that needs more exits than this between two stops is lost.
const MOST_EXITS: u32 = 10_000;
const DEVICE_NOT_AVAILABLE: u8 = 7;

/// A vCPU: its hardware, its registers, its extended state.
#[derive(Debug)]
pub struct Vcpu<'e, H: ?Sized> {
    /// Extended state.
    pub fpu: GuestFpu<'e, BoxedArea>,
    /// General-purpose registers.
    pub registers: GeneralRegisters,
    /// The hardware.
    pub hardware: H,
}

/// Whose thread and which CPU the vCPU runs on.
#[derive(Debug)]
pub struct Host<'h, 'e, P> {
    /// The thread.
    pub thread: &'h mut ThreadFpu<'e, BoxedArea>,
    /// The CPU.
    pub cpu: &'h mut CpuFpu<P>,
    /// What CPUID says on CPUs of this kind.
    pub enumeration: &'h Enumeration,
}

/// Why the guest does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A hypercall.
    Hypercall {
        /// RAX.
        number: u64,
        /// RBX.
        value: u64,
    },
    /// HLT.
    Halt,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// The guest stopped.
    Stopped(Stop),
    /// An interrupt of the host's came, which the host takes when interrupts are on: a time to let
    /// another thread run.
    Interrupted,
    /// The guest is to go on.
    GoesOn,
}

/// Runs the vCPU until it stops.
///
/// # Errors
/// [`RunError`]; the thread has left the guest, unless that is what failed.
pub fn vcpu_run<'e, P: Processor, H: Hardware + ?Sized>(
    host: &mut Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<Stop, RunError> {
    enter(host, vcpu)?;
    let stop = run_entered(host, vcpu);
    leave(host, vcpu)?;
    stop
}

/// The guest's state becomes the thread's active one; it is restored at the first entry.
///
/// # Errors
/// [`RunError::Enter`].
pub fn enter<'e, P: Processor, H: Hardware + ?Sized>(
    host: &mut Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<(), RunError> {
    host.thread
        .enter_guest(&mut vcpu.fpu, host.cpu, Restoring::Deferred)
        .map_err(RunError::Enter)?;
    Ok(())
}

/// The thread's own state is active again; it is restored when the thread goes on in user mode.
///
/// # Errors
/// [`RunError::Leave`].
pub fn leave<'e, P: Processor, H: Hardware + ?Sized>(
    host: &mut Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<(), RunError> {
    host.thread
        .leave_guest(&mut vcpu.fpu, host.cpu, Restoring::Deferred)
        .map_err(RunError::Leave)?;
    Ok(())
}

/// Entries and exits, between [`enter`] and [`leave`], until the guest stops.
///
/// # Errors
/// [`RunError`]; the thread is still in the guest.
pub fn run_entered<'e, P: Processor, H: Hardware + ?Sized>(
    host: &mut Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<Stop, RunError> {
    for _ in 0..MOST_EXITS {
        if let Round::Stopped(stop) = round(host, vcpu)? {
            return Ok(stop);
        }
    }
    Err(RunError::TooManyExits)
}

/// One entry and what its exit calls for. Between two rounds the thread can be
/// preempted, and go on on another CPU after [`leave_cpu`](Hardware::leave_cpu).
///
/// # Errors
/// [`RunError`]; the thread is still in the guest.
pub fn round<'e, P: Processor, H: Hardware + ?Sized>(
    host: &mut Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<Round, RunError> {
    intercept(host, vcpu)?;
    let (exit, after) = without_interrupts(|| one_entry(host, vcpu))?;
    match after {
        AfterExit::Nothing => {}
        AfterExit::InjectDeviceNotAvailable => {
            vcpu.hardware.inject(DEVICE_NOT_AVAILABLE, None);
        }
        AfterExit::Expand(expansion) => {
            let storage = BoxedArea::for_layout(expansion.layout()).map_err(RunError::NoMemory)?;
            let former = host.thread.expand(expansion, host.cpu, storage);
            drop(former.map_err(|(error, _)| RunError::Expand(error))?);
        }
    }
    match exit {
        Exit::Cpuid => vcpu.emulate_cpuid(host)?,
        Exit::Xsetbv => vcpu.emulate_xsetbv()?,
        Exit::ReadMsr => vcpu.emulate_rdmsr(host)?,
        Exit::WriteMsr => vcpu.emulate_wrmsr(host)?,
        // Dealt with above.
        Exit::DeviceNotAvailable => {}
        Exit::Interrupt => return Ok(Round::Interrupted),
        Exit::Hypercall => {
            vcpu.hardware.skip_instruction();
            let GeneralRegisters { rax, rbx, .. } = vcpu.registers;
            return Ok(Round::Stopped(Stop::Hypercall {
                number: rax,
                value: rbx,
            }));
        }
        Exit::Halt => {
            vcpu.hardware.skip_instruction();
            return Ok(Round::Stopped(Stop::Halt));
        }
        Exit::Other(code) => return Err(RunError::Exit { code }),
    }
    Ok(Round::GoesOn)
}

/// Interrupts are off.
fn one_entry<'e, P: Processor, H: Hardware + ?Sized>(
    host: &mut Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<(Exit, AfterExit<'e>), RunError> {
    host.thread
        .restore_before_use(host.cpu)
        .map_err(RunError::Restore)?;
    let entry = host
        .thread
        .load_guest_registers(&mut vcpu.fpu, host.cpu)
        .map_err(RunError::Entry)?;
    let exit = vcpu.hardware.enter(&mut vcpu.registers);
    let vm_exit = if exit == Exit::DeviceNotAvailable {
        let guest_cr0 = vcpu.hardware.cr0();
        VmExit::DeviceNotAvailable { guest_cr0 }
    } else {
        VmExit::Other
    };
    let after = entry
        .load_host_registers(vm_exit)
        .map_err(RunError::Entry)?;
    Ok((exit, after))
}

/// Which MSRs exit from here on.
fn intercept<'e, P: Processor, H: Hardware + ?Sized>(
    host: &Host<'_, 'e, P>,
    vcpu: &mut Vcpu<'e, H>,
) -> Result<(), RunError> {
    let (xfd, xfd_err) = match host
        .thread
        .guest_xfd_interception(&vcpu.fpu)
        .map_err(RunError::Register)?
    {
        Interception::Intercepted => (MsrAccess::Exits, MsrAccess::Exits),
        Interception::PassedThrough => (MsrAccess::PassedThrough, MsrAccess::WritesExit),
    };
    vcpu.hardware.intercept_msr(IA32_XSS, MsrAccess::Exits);
    vcpu.hardware.intercept_msr(IA32_XFD, xfd);
    vcpu.hardware.intercept_msr(IA32_XFD_ERR, xfd_err);
    Ok(())
}

/// Why a vCPU cannot run on.
#[derive(Clone, Debug)]
pub enum RunError {
    /// The thread cannot enter the guest.
    Enter(EnterError),
    /// The guest's state cannot be restored.
    Restore(SwitchError),
    /// The guest's registers cannot be loaded, or the host's.
    Entry(GuestEntryError),
    /// The thread cannot leave the guest.
    Leave(LeaveError),
    /// A register of the guest's is not where it was asked for.
    Register(GuestRegisterError),
    /// The host's CPUID contradicts itself.
    Cpuid(fpstate::LayoutError),
    /// There is no memory for the guest's state to grow.
    NoMemory(TryReserveError),
    /// The guest's state cannot grow.
    Expand(ResizeError),
    /// The guest did something that nothing is prepared for.
    Exit {
        /// The hardware's code.
        code: u64,
    },
    /// The guest does not come to a stop.
    TooManyExits,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enter(error) => error.fmt(f),
            Self::Restore(error) => error.fmt(f),
            Self::Entry(error) => error.fmt(f),
            Self::Leave(error) => error.fmt(f),
            Self::Register(error) => error.fmt(f),
            Self::Cpuid(error) => error.fmt(f),
            Self::NoMemory(error) => error.fmt(f),
            Self::Expand(error) => error.fmt(f),
            Self::Exit { code } => write!(f, "unexpected exit {code:#x}"),
            Self::TooManyExits => write!(f, "{MOST_EXITS} exits without a stop"),
        }
    }
}

impl core::error::Error for RunError {}
