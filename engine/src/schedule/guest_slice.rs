//! Into the guest and back: the switch this project exists for.

use std::sync::atomic::Ordering;

use fpstate::{Decided, Restore, Restoring, Save, Switch};

use super::backend::{Backend, GuestCode};
use super::script::{Area, Omit, Outcome, Step};
use super::slice_error::SliceError;
use super::task_slice::{Checks, Holding};
use super::tenant::{HostTask, Vcpu};
use super::worker::{GuestPlan, Migrated, Plan, Worker};
use crate::fault_injection::InjectedFault;

/// The check that follows the leave.
const AFTER_LEAVE: usize = 2;

impl<'e, B: Backend> Worker<'_, 'e, B> {
    /// A slice of a task with a vCPU: into the guest, or on in it, until it comes back or is taken
    /// off.
    pub(super) fn begin_guest_slice(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
        migrated: Migrated,
    ) -> Result<Plan, SliceError> {
        self.expand_pending(task, vcpu)?;
        let mut checks = Checks::default();
        let mut holding = Holding::Held;
        if task.thread.running_guest().is_some() {
            self.script_guest_restore(task, vcpu, migrated)?;
        } else {
            // A thread that calls vcpu_run from its own code has live registers; one that was
            // switched to inside the kernel has its state in memory.
            if self.random.bool() {
                self.script_task(task, &mut checks)?;
                holding = Holding::Next;
            }
            self.script_entry(task, vcpu, migrated)?;
        }
        self.script.push(Step::Guest);
        let counted = self.counts;
        let guest = self.script_way_back(task, vcpu)?;
        if guest.restoring == Restoring::Now {
            checks.expect(AFTER_LEAVE, holding, "its guest's run");
        }
        Ok(Plan {
            checks,
            holding,
            guest: Some(guest),
            counted,
        })
    }

    /// While the guest runs its state may have grown, or its IA32_XFD have changed: then the way
    /// back, which follows step `guest_step`, is decided again.
    pub(crate) fn keep_way_back_current(
        &mut self,
        (task, vcpu): (&HostTask<'e, B>, &Vcpu<'e, B>),
        plan: &mut Plan,
        guest_step: usize,
    ) -> Result<(), SliceError> {
        let Some(guest) = &plan.guest else {
            return Ok(());
        };
        let now = task
            .thread
            .decide_leave_guest(&vcpu.guest, &self.cpu, guest.restoring)?;
        if now == guest.leave {
            return Ok(());
        }
        if guest.omit != Omit::Nothing {
            self.injector.take_back();
        }
        self.counts.take_back_switches(&plan.counted);
        plan.checks.forget(AFTER_LEAVE);
        self.script.truncate(guest_step + 1);
        let guest = self.script_way_back(task, vcpu)?;
        if guest.restoring == Restoring::Now {
            plan.checks
                .expect(AFTER_LEAVE, plan.holding, "its guest's run");
        }
        plan.guest = Some(guest);
        Ok(())
    }

    /// The thread's and the guest's state change places, and the guest's goes into the registers.
    fn script_entry(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let restoring = self.either_restoring();
        let decided = task
            .thread
            .decide_enter_guest(&vcpu.guest, &self.cpu, restoring)?;
        self.script_incoming_guest(vcpu, decided, migrated);
        task.thread
            .commit_enter_guest(&mut vcpu.guest, &mut self.cpu, restoring, decided)?;
        match restoring {
            Restoring::Now => Ok(()),
            Restoring::Deferred => self.script_guest_restore(task, vcpu, migrated),
        }
    }

    /// The last moment before the guest runs: its state into the registers.
    fn script_guest_restore(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let decided = task.thread.decide_restore_before_use(&self.cpu)?;
        self.script_incoming_guest(vcpu, decided, migrated);
        Ok(task
            .thread
            .commit_restore_before_use(&mut self.cpu, decided)?)
    }

    /// A switch whose incoming state is the guest's, or what a fault makes of it.
    fn script_incoming_guest(
        &mut self,
        vcpu: &mut Vcpu<'e, B>,
        decided: Decided,
        migrated: Migrated,
    ) {
        let (mut incoming, mut omit) = (Area::Guest, Omit::Nothing);
        let restores = matches!(decided.switch().restore, Restore::Area { .. });
        if restores && vcpu.code.holds_only_a_pattern() {
            if self.injector.strikes(InjectedFault::SkipGuestRestore) {
                omit = Omit::Restore;
            }
            if migrated == Migrated::Yes
                && vcpu.has_former_area()
                && self.injector.strikes(InjectedFault::StaleAfterMigration)
            {
                incoming = Area::Former;
            }
        }
        let areas = (Area::Own, incoming);
        self.script
            .switch(&mut self.counts, decided.switch(), areas, omit);
    }

    /// What follows if the guest comes back by its own call: the leave, a look at the thread's
    /// registers, and the save that the engine's own code calls for. Nothing of this is noted yet.
    fn script_way_back(
        &mut self,
        task: &HostTask<'e, B>,
        vcpu: &Vcpu<'e, B>,
    ) -> Result<GuestPlan, SliceError> {
        let restoring = self.either_restoring();
        let leave = task
            .thread
            .decide_leave_guest(&vcpu.guest, &self.cpu, restoring)?;
        let omit = self.omission_of_leave(vcpu, restoring);
        let areas = (Area::Guest, Area::Own);
        self.script
            .switch(&mut self.counts, leave.switch(), areas, omit);
        let save = match restoring {
            Restoring::Deferred => Save::AlreadyInMemory,
            Restoring::Now => {
                self.script_check(AFTER_LEAVE);
                // What the library will decide once the leave is noted: see `own_code_again`.
                let instruction = self.cpu.instructions().save();
                Save::Registers {
                    instruction,
                    rfbm: task.thread.own().components(),
                }
            }
        };
        let at_end = Switch {
            save,
            ..Switch::NOTHING
        };
        self.script.switch(
            &mut self.counts,
            at_end,
            (Area::Own, Area::Own),
            Omit::Nothing,
        );
        Ok(GuestPlan {
            restoring,
            leave,
            omit,
            at_end,
        })
    }

    fn omission_of_leave(&mut self, vcpu: &Vcpu<'e, B>, restoring: Restoring) -> Omit {
        if vcpu.code.will_hold_a_pattern() && self.injector.strikes(InjectedFault::SkipSave) {
            Omit::Save
        } else if restoring == Restoring::Now
            && self.injector.strikes(InjectedFault::SkipHostRestore)
        {
            Omit::Restore
        } else {
            Omit::Nothing
        }
    }

    fn either_restoring(&mut self) -> Restoring {
        if self.random.bool() {
            Restoring::Now
        } else {
            Restoring::Deferred
        }
    }

    /// Notes and compares what a script with a guest did.
    pub(super) fn finish_guest_slice(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
        (mut checks, mut holding): (Checks, Holding),
        plan: GuestPlan,
        outcome: Outcome,
    ) -> Result<(), SliceError> {
        let GuestPlan {
            restoring,
            leave,
            omit,
            at_end,
        } = plan;
        self.counts.entries += 1;
        self.machine.entries.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Completed => {
                self.counts.exits += 1;
                task.thread
                    .commit_leave_guest(&mut vcpu.guest, &mut self.cpu, restoring, leave)?;
                self.release_unused(vcpu)?;
                self.own_code_again(task, Some(at_end))?;
                if restoring == Restoring::Now {
                    holding = Holding::Next;
                }
            }
            Outcome::Preempted => {
                self.counts.preemptions += 1;
                checks.forget(AFTER_LEAVE);
                if omit != Omit::Nothing {
                    self.injector.take_back();
                }
                self.guest_taken_off(task, vcpu)?;
            }
        }
        self.finish_task(task, &checks, holding);
        match outcome {
            Outcome::Completed => self.guest_came_back(vcpu),
            Outcome::Preempted => Ok(()),
        }
    }

    /// The engine's own code has the registers again; `done` was carried out ahead of its decision.
    fn own_code_again(
        &mut self,
        task: &mut HostTask<'e, B>,
        done: Option<Switch>,
    ) -> Result<(), SliceError> {
        let decided = self.cpu.decide_begin_kernel_section(&task.thread)?;
        match done {
            Some(done) if done != decided.switch() => {
                return Err(SliceError::DoneAhead {
                    done,
                    decided: decided.switch(),
                });
            }
            Some(_) | None => {}
        }
        self.section = Some(
            self.cpu
                .commit_begin_kernel_section(&mut task.thread, decided)?,
        );
        Ok(())
    }

    /// A guest was taken off. Its thread leaves it, or is switched away from with the guest's state
    /// active and goes on on whichever CPU takes it next.
    fn guest_taken_off(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
    ) -> Result<(), SliceError> {
        let switch = self
            .backend
            .guest_taken_off(&mut task.thread, &mut self.cpu)?;
        self.count_save(switch);
        if self.random.bool() {
            let switch =
                task.thread
                    .leave_guest(&mut vcpu.guest, &mut self.cpu, Restoring::Deferred)?;
            self.count_save(switch);
            // A state that is about to grow is not shrunk first.
            if vcpu.pending.is_none() {
                self.release_unused(vcpu)?;
            }
        }
        self.own_code_again(task, None)
    }

    /// A switch outside a script.
    fn count_save(&mut self, switch: Switch) {
        match switch.save {
            Save::Registers { .. } => self.counts.saves += 1,
            Save::AlreadyInMemory | Save::Deferred => self.counts.saves_skipped += 1,
            Save::ControlWords | Save::Nothing => {}
        }
    }
}
