//! One step of a guest between a VM entry and a VM exit, and what a hypervisor does about the exit.

use fpstate::{AfterExit, VmExit};

use super::backend::Model;
use super::guest::GuestStep;
use super::guest_cpu::{Exit, GuestCpu, Reply};
use crate::schedule::SliceError;
use crate::schedule::growth::AfterFault;
use crate::schedule::tenant::{HostTask, Tenant, Vcpu};
use crate::schedule::worker::Worker;

/// Of a guest's steps, one in this many is followed by a timer interrupt.
const INTERRUPT_ONE_IN: u32 = 96;
/// CR0 of a guest that does not switch lazily: TS is 0.
const GUEST_CR0: u64 = 0;

/// What a step of a guest led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// The guest came back by its own call.
    Called,
    /// It goes on.
    GoesOn,
    /// It was taken off.
    TakenOff,
}

/// One step of the guest of `tenant`, whose state is in the registers.
pub(super) fn step_guest<'e>(
    worker: &mut Worker<'_, 'e, Model>,
    tenant: &mut Tenant<'e, Model>,
) -> Result<Stepped, SliceError> {
    let Tenant { task, vcpu, .. } = tenant;
    let Some(vcpu) = vcpu else {
        return Ok(Stepped::Called);
    };
    let xfd = task.thread.guest_xfd_interception(&vcpu.guest)?;
    let mut entry = task
        .thread
        .load_guest_registers(&mut vcpu.guest, &mut worker.cpu)?;
    let step = vcpu.code.step(&mut GuestCpu::new(entry.processor(), xfd));
    let exit = match step {
        GuestStep::Exits(Exit::DeviceNotAvailable) => VmExit::DeviceNotAvailable {
            guest_cr0: GUEST_CR0,
        },
        GuestStep::GoesOn | GuestStep::CalledHost | GuestStep::Exits(_) => VmExit::Other,
    };
    let after = entry.load_host_registers(exit)?;
    worker.counts.xfd_faults += u64::from(exit != VmExit::Other);
    let goes_on = match (after, step) {
        (AfterExit::Expand(expansion), _) => worker.guest_needs(task, vcpu, expansion)?,
        (AfterExit::InjectDeviceNotAvailable, _) => {
            vcpu.code.answer(Reply::DeviceNotAvailable);
            AfterFault::GoesOn
        }
        (AfterExit::Nothing, GuestStep::CalledHost) => return Ok(Stepped::Called),
        (AfterExit::Nothing, GuestStep::Exits(exit)) => {
            let reply = answer(worker, task, vcpu, exit)?;
            vcpu.code.answer(reply);
            AfterFault::GoesOn
        }
        (AfterExit::Nothing, GuestStep::GoesOn) => AfterFault::GoesOn,
    };
    if goes_on == AfterFault::GoesOn && worker.backend.random.u32(..INTERRUPT_ONE_IN) != 0 {
        return Ok(Stepped::GoesOn);
    }
    vcpu.code.taken_off();
    Ok(Stepped::TakenOff)
}

/// Carries out what the guest could not.
fn answer<'e>(
    worker: &mut Worker<'_, 'e, Model>,
    task: &mut HostTask<'e, Model>,
    vcpu: &mut Vcpu<'e, Model>,
    exit: Exit,
) -> Result<Reply, SliceError> {
    let written = match exit {
        Exit::DeviceNotAvailable => return Ok(Reply::DeviceNotAvailable),
        Exit::ReadXfd => {
            let xfd = task.thread.guest_xfd(&vcpu.guest)?;
            return Ok(Reply::Read(xfd.components()));
        }
        Exit::WriteXfd(value) => {
            let Worker { cpu, .. } = worker;
            task.thread.write_guest_xfd(&vcpu.guest, cpu, value)
        }
        Exit::WriteXfdErr(value) => vcpu.guest.write_xfd_err(value),
        Exit::Xsetbv(value) => {
            let written = vcpu.guest.xsetbv(0, value.bits());
            worker.counts.denied += u64::from(written.is_err());
            written
        }
    };
    match written {
        Ok(()) => Ok(Reply::Done),
        Err(error) if error.is_the_guests() => Ok(Reply::GeneralProtection),
        Err(error) => Err(error.into()),
    }
}
