//! Restores that fault half-way.

use fpstate::{EnterError, Restore, Restoring, SwitchError};

use super::values::KERNELS;
use super::witness::Restores;
use super::world::{Mode, Step, World};

impl World<'_> {
    pub(super) fn faulting_return(&mut self, cpu: usize) -> Step {
        let (fpu, thread) = self.parts(cpu);
        fpu.processor().restores = Restores::Fault;
        let restored = thread.fpu.restore_before_use(fpu);
        fpu.processor().restores = Restores::Succeed;
        match restored {
            Ok(switch) => self.restored(cpu, switch.restore),
            Err(SwitchError::Fault(_)) => self.faulted(cpu),
            Err(error) => Err(format!("the restore is refused: {error}")),
        }
    }

    pub(super) fn faulting_enter(&mut self, cpu: usize, slot: usize) -> Step {
        let current = self.current(cpu);
        let fpu = self.cpus[cpu].fpu.as_mut().expect("online");
        let thread = self.threads[current].as_mut().expect("a thread");
        let guest = &mut self.guests[slot];
        fpu.processor().restores = Restores::Fault;
        let entered = thread.fpu.enter_guest(&mut guest.fpu, fpu, Restoring::Now);
        fpu.processor().restores = Restores::Succeed;
        match entered {
            Ok(switch) if switch.restore == Restore::AlreadyInRegisters => {
                thread.guest = Some(slot);
                self.restored(cpu, switch.restore)
            }
            Err(EnterError::Switch(SwitchError::Fault(_))) => self.faulted(cpu),
            other => Err(format!("I38: a restore that faults: {other:?}")),
        }
    }

    /// The registers hold no one's values (I38).
    fn faulted(&mut self, cpu: usize) -> Step {
        self.cpus[cpu].mode = Mode::Kernel;
        self.scribble(cpu, KERNELS);
        Ok(())
    }
}
