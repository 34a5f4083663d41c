//! What must be refused, and change nothing: the check after the step sees to the latter.

use fpstate::{EnterError, LeaveError, RegisterContent, Restoring};
use fpstate_arch::ComponentSet;

use super::{GrowthWorld, Hardware, Mode, Step};

/// As many as a small world has.
const SOME_GUESTS: usize = 3;

impl<P: Hardware> GrowthWorld<'_, P> {
    /// All of it, on a CPU with a thread.
    pub(super) fn misuse(&mut self, cpu: usize, thread: usize) -> Step {
        self.use_other_guests(cpu, thread)?;
        if self.has_only_copy(cpu, thread) {
            self.use_another_cpu(cpu, thread)?;
            self.use_by_another_thread(cpu)?;
        }
        self.idle_with_a_thread(cpu, thread)
    }

    /// Whether `cpu`'s registers are the only place where the thread's active state is.
    fn has_only_copy(&self, cpu: usize, thread: usize) -> bool {
        let held = self.thread(thread).fpu.only_in_registers();
        held.is_some_and(|state| {
            self.cpus[cpu].fpu.registers() == RegisterContent::OnlyCopyOf(state.id())
        })
    }

    /// I26: entering a guest from a guest, or one in use; leaving one that the thread is not in.
    fn use_other_guests(&mut self, cpu: usize, thread: usize) -> Step {
        let current = self.threads[thread].as_mut().expect("a thread");
        let running = current.fpu.running_guest();
        let on = &mut self.cpus[cpu].fpu;
        let first = self.random.usize(0..self.guests.len());
        let some = (first..self.guests.len()).chain(0..first);
        for slot in some.take(SOME_GUESTS) {
            self.touched.guest(slot);
            let Some(guest) = self.guests[slot].as_mut() else {
                continue;
            };
            let in_use = guest.fpu.fpstate().is_none();
            let (id, now) = (guest.fpu.id(), Restoring::Now);
            if running.is_some() || in_use {
                let entered = current.fpu.enter_guest(&mut guest.fpu, on, now);
                if !matches!(
                    entered,
                    Err(EnterError::AlreadyInGuest { .. } | EnterError::GuestInUse { .. })
                ) {
                    return Err(format!("I26: entering {id}: {entered:?}"));
                }
            }
            if running != Some(id) {
                let left = current.fpu.leave_guest(&mut guest.fpu, on, now);
                if !matches!(
                    left,
                    Err(LeaveError::NotInGuest | LeaveError::OtherGuest { .. })
                ) {
                    return Err(format!("I26: leaving {id}: {left:?}"));
                }
            }
        }
        Ok(())
    }

    /// A state that is in `cpu`'s registers alone is asked for on another CPU.
    fn use_another_cpu(&mut self, cpu: usize, thread: usize) -> Step {
        let other = self.random.usize(0..self.cpus.len());
        if other == cpu {
            return Ok(());
        }
        self.touch_cpu(other);
        let current = self.threads[thread].as_mut().expect("a thread");
        let (id, on) = (current.fpu.active().id(), &mut self.cpus[other].fpu);
        let saved = current.fpu.save_before_switch(on).map(drop);
        let restored = current.fpu.restore_before_use(on).map(drop);
        let executed = current.fpu.exec(on);
        if saved.is_ok() || restored.is_ok() || executed.is_ok() {
            let found = (saved, restored, executed);
            return Err(format!("I6: {id} was used on CPU {other}: {found:?}"));
        }
        Ok(())
    }

    /// A switch that forgets to save: another thread's state into registers that are the only copy.
    fn use_by_another_thread(&mut self, cpu: usize) -> Step {
        let waits = |world: &Self, slot: usize| {
            let thread = world.threads[slot].as_ref();
            thread.is_some_and(|thread| thread.on_cpu.is_none())
        };
        let Some(slot) = self.any_thread(waits) else {
            return Ok(());
        };
        let other = self.threads[slot].as_mut().expect("a thread");
        let id = other.fpu.active().id();
        match other.fpu.restore_before_use(&mut self.cpus[cpu].fpu) {
            Ok(_) => Err(format!("I9: {id} took CPU {cpu} from its only copy")),
            Err(_) => Ok(()),
        }
    }

    /// Tiles are not released for idling while a thread has them.
    fn idle_with_a_thread(&mut self, cpu: usize, thread: usize) -> Step {
        let only_copy = self.has_only_copy(cpu, thread);
        let released = self.cpus[cpu].fpu.release_tiles();
        if released.is_err() != only_copy && released != Ok(ComponentSet::EMPTY) {
            return Err(format!("idling with a thread: {released:?}"));
        }
        if !only_copy {
            self.cpus[cpu].mode = Mode::Kernel;
        }
        Ok(())
    }
}
