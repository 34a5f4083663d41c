//! Entering and leaving guests.

use fpstate::{CpuFpu, Restore, Restoring, Save, Switch};
use fpstate_arch::{Fault, Processor};
use fpstate_model::ModelCpu;

use super::action::How;
use super::witness::Witness;
use super::world::{Mode, Step, World};

impl World<'_> {
    pub(super) fn enter(&mut self, cpu: usize, guest: usize, how: How) -> Step {
        let slot = self.current(cpu);
        let on = &mut self.cpus[cpu];
        let fpu = on.fpu.as_mut().expect("online");
        let thread = self.threads[slot].as_mut().expect("a thread");
        let state = &mut self.guests[guest];
        on.mode = Mode::Kernel;
        let entered = match how {
            How::Now => thread.fpu.enter_guest(&mut state.fpu, fpu, Restoring::Now),
            How::Deferred => {
                let deferred = Restoring::Deferred;
                thread.fpu.enter_guest(&mut state.fpu, fpu, deferred)
            }
            How::ByHand => {
                let now = Restoring::Now;
                let decided = thread.fpu.decide_enter_guest(&state.fpu, fpu, now);
                decided.and_then(|decided| {
                    let (own, _) = thread.fpu.areas();
                    let incoming = state.fpu.area().expect("it does not run");
                    carry_out(fpu, decided.switch(), own, incoming).expect("no fault");
                    let committed =
                        thread
                            .fpu
                            .commit_enter_guest(&mut state.fpu, fpu, now, decided);
                    committed.map(|()| decided.switch())
                })
            }
        };
        let switch = entered.map_err(|error| format!("the guest is not entered: {error}"))?;
        thread.guest = Some(guest);
        self.switched(cpu, how, switch)
    }

    pub(super) fn leave(&mut self, cpu: usize, how: How) -> Step {
        let (slot, guest) = (self.current(cpu), self.guest_on(cpu));
        let on = &mut self.cpus[cpu];
        let fpu = on.fpu.as_mut().expect("online");
        let thread = self.threads[slot].as_mut().expect("a thread");
        let state = &mut self.guests[guest.expect("a guest")];
        on.mode = Mode::Kernel;
        let left = match how {
            How::Now => thread.fpu.leave_guest(&mut state.fpu, fpu, Restoring::Now),
            How::Deferred => {
                let deferred = Restoring::Deferred;
                thread.fpu.leave_guest(&mut state.fpu, fpu, deferred)
            }
            How::ByHand => {
                let now = Restoring::Now;
                let decided = thread.fpu.decide_leave_guest(&state.fpu, fpu, now);
                decided.and_then(|decided| {
                    let (own, outgoing) = thread.fpu.areas();
                    let outgoing = outgoing.expect("the guest's area");
                    carry_out(fpu, decided.switch(), outgoing, own).expect("no fault");
                    let committed =
                        thread
                            .fpu
                            .commit_leave_guest(&mut state.fpu, fpu, now, decided);
                    committed.map(|()| decided.switch())
                })
            }
        };
        let switch = left.map_err(|error| format!("the guest is not left: {error}"))?;
        thread.guest = None;
        self.switched(cpu, how, switch)
    }

    /// With it the save of the thread's own state, if that was put off.
    pub(super) fn return_by_hand(&mut self, cpu: usize) -> Step {
        let (fpu, thread) = self.parts(cpu);
        let decided = thread.fpu.decide_restore_before_use(fpu);
        let committed = decided.and_then(|decided| {
            let (own, guest) = thread.fpu.areas();
            let guest = guest.expect("the guest's area");
            carry_out(fpu, decided.switch(), own, guest).expect("no fault");
            let committed = thread.fpu.commit_restore_before_use(fpu, decided);
            committed.map(|()| decided.switch())
        });
        let switch = committed.map_err(|error| format!("the restore is refused: {error}"))?;
        self.switched(cpu, How::ByHand, switch)
    }

    fn switched(&mut self, cpu: usize, how: How, switch: Switch) -> Step {
        self.check_moves()?;
        match how {
            How::Now | How::ByHand => self.restored(cpu, switch.restore),
            How::Deferred => Ok(()),
        }
    }
}

/// What an engine does whose own code uses vector registers between any two lines.
fn carry_out(
    fpu: &mut CpuFpu<Witness<ModelCpu>>,
    switch: Switch,
    outgoing: &mut [u8],
    incoming: &[u8],
) -> Result<(), Fault> {
    let processor = fpu.processor();
    if let Save::Registers { instruction, rfbm } = switch.save {
        instruction.execute(processor, outgoing, rfbm)?;
    }
    if let Some(xfd) = switch.xfd {
        processor.write_xfd(xfd)?;
    }
    if let Restore::Area {
        instruction, rfbm, ..
    } = switch.restore
    {
        instruction.execute(processor, incoming, rfbm)?;
    }
    Ok(())
}
