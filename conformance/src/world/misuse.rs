//! What must be refused.

use fpstate::switch::RegisterContent;
use fpstate::{BoxedArea, Restoring, ThreadFpu};

use super::{Step, World};
use crate::user_code::UserCode;

impl<P: UserCode> World<'_, P> {
    /// What must be refused, and change nothing: the check after the step sees to the latter.
    pub(super) fn misuse(&mut self, cpu: usize, thread: usize) -> Step {
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} tries what is not allowed"
        ));
        let on = &mut self.cpus[cpu].fpu;
        let current = self.threads[thread].as_mut().expect("a thread");
        let running = current.fpu.running_guest();
        let restoring = Restoring::Now;
        for guest in self.guests.iter_mut().flatten() {
            let in_use = guest.fpu.fpstate().is_none();
            let is_own = running == Some(guest.fpu.id());
            if running.is_some() || in_use {
                expect_refusal(
                    "entry",
                    current.fpu.enter_guest(&mut guest.fpu, on, restoring),
                )?;
            }
            if !is_own {
                expect_refusal(
                    "leaving",
                    current.fpu.leave_guest(&mut guest.fpu, on, restoring),
                )?;
            }
        }
        if running.is_some() {
            expect_refusal("exec", current.fpu.exec(on))?;
        }
        self.misuse_elsewhere(cpu, thread)
    }

    /// A state that is in one CPU's registers is asked for on another one.
    fn misuse_elsewhere(&mut self, cpu: usize, thread: usize) -> Step {
        let current: &mut ThreadFpu<'_, BoxedArea> =
            &mut self.threads[thread].as_mut().expect("a thread").fpu;
        let in_registers =
            self.cpus[cpu].fpu.registers() == RegisterContent::OnlyCopyOf(current.active().id());
        for (number, other) in self.cpus.iter_mut().enumerate() {
            if number != cpu && in_registers {
                expect_refusal(
                    "a save elsewhere",
                    current.save_before_switch(&mut other.fpu),
                )?;
                expect_refusal(
                    "a restore elsewhere",
                    current.restore_before_use(&mut other.fpu),
                )?;
                expect_refusal("exec elsewhere", current.exec(&mut other.fpu))?;
            }
        }
        Ok(())
    }
}

fn expect_refusal<T, E>(what: &str, answer: Result<T, E>) -> Step {
    match answer {
        Ok(_) => Err(format!("{what} was not refused")),
        Err(_) => Ok(()),
    }
}
