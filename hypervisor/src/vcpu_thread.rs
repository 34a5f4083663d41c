//! A thread of this kernel's that runs a vCPU in turns, interrupted meanwhile, each turn on whichever CPU
//! the caller is on.

use fpstate::{LeaveError, SwitchError};

use crate::host_registers::enumeration;
use crate::percpu::{self, KernelThreadFpu, PerCpu};
use crate::tick;
use crate::vcpu::Hardware;
use crate::vcpu_run::{self, Host, Round, RunError, Stop, Vcpu};

/// Interrupts that a turn may have: each lets the guest do a little at least.
const MOST_ROUNDS: u32 = 100_000;

/// What the thread does before it leaves the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It saves what the registers have alone.
    Saves,
    /// It forgets to: the registers are lost.
    Loses,
}

/// A turn that is over.
#[derive(Debug)]
pub struct Turn {
    /// The thread, still in the guest.
    pub thread: KernelThreadFpu,
    /// Why it is over.
    pub result: Result<Stop, RunError>,
    /// How often the guest was interrupted.
    pub interrupted: u32,
}

/// `thread` enters the guest.
///
/// # Errors
/// [`RunError::Enter`].
pub fn enter<H: Hardware + ?Sized>(
    thread: &mut KernelThreadFpu,
    vcpu: &mut Vcpu<'static, H>,
) -> Result<(), RunError> {
    percpu::with(|cpu| vcpu_run::enter(&mut host(thread, cpu), vcpu))
}

/// `thread` leaves the guest.
///
/// # Errors
/// [`RunError::Leave`].
pub fn leave<H: Hardware + ?Sized>(
    thread: &mut KernelThreadFpu,
    vcpu: &mut Vcpu<'static, H>,
) -> Result<(), RunError> {
    percpu::with(|cpu| vcpu_run::leave(&mut host(thread, cpu), vcpu))
}

/// Runs the guest on this CPU until it stops, with interrupts between rounds; `thread` is the CPU's current
/// one, so that the kernel can save what it has in registers. Interrupts are off before and after.
pub fn turn<H: Hardware + ?Sized>(
    thread: KernelThreadFpu,
    vcpu: &mut Vcpu<'static, H>,
    leaving: Leaving,
) -> Turn {
    percpu::with(|cpu| cpu.current = Some(thread));
    let mut interrupted = 0;
    let mut result = Err(RunError::TooManyExits);
    for _ in 0..MOST_ROUNDS {
        match percpu::with(|cpu| round(cpu, vcpu)) {
            Ok(Round::Stopped(stop)) => {
                result = Ok(stop);
                break;
            }
            Ok(Round::Interrupted) => interrupted += 1,
            Ok(Round::GoesOn) => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
        tick::let_in();
    }
    percpu::with(|cpu| {
        vcpu.hardware.leave_cpu();
        let Some(mut thread) = cpu.current.take() else {
            panic!("this function made it the current one");
        };
        if let Err(error) = leave_cpu(&mut thread, cpu, leaving) {
            result = result.and(Err(RunError::Leave(LeaveError::Switch(error))));
        }
        Turn {
            thread,
            result,
            interrupted,
        }
    })
}

fn round<H: Hardware + ?Sized>(
    cpu: &mut PerCpu,
    vcpu: &mut Vcpu<'static, H>,
) -> Result<Round, RunError> {
    let Some(thread) = &mut cpu.current else {
        panic!("`turn` made a thread the current one");
    };
    let mut host = Host {
        thread,
        cpu: &mut cpu.fpu,
        enumeration: enumeration(),
    };
    vcpu_run::round(&mut host, vcpu)
}

fn leave_cpu(
    thread: &mut KernelThreadFpu,
    cpu: &mut PerCpu,
    leaving: Leaving,
) -> Result<(), SwitchError> {
    match leaving {
        Leaving::Saves => thread.save_before_switch(&mut cpu.fpu).map(drop),
        Leaving::Loses => {
            cpu.fpu.discard_registers();
            Ok(())
        }
    }
}

fn host<'h>(
    thread: &'h mut KernelThreadFpu,
    cpu: &'h mut PerCpu,
) -> Host<'h, 'static, fpstate_native::Ring0Processor> {
    Host {
        thread,
        cpu: &mut cpu.fpu,
        enumeration: enumeration(),
    }
}
