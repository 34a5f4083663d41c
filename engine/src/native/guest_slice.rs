//! Into the guest and back: the switch this project exists for.

#![expect(unsafe_code, reason = "carries out scripts that enter a guest")]

use std::sync::atomic::Ordering;

use fpstate::{Decided, Restoring, Save, SignalFrame, Switch};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;

use super::host_task::HostTask;
use super::script::{NO_AREA, Omit};
use super::slice_memory::SliceMemory;
use super::task_slice::{Checks, Holding};
use super::unit::Outcome;
use super::vcpu::Vcpu;
use super::worker::{SliceError, Worker};
use crate::fault_injection::InjectedFault;

/// The check that follows the leave.
const AFTER_LEAVE: usize = 2;

/// Whether the thread ran on another CPU before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Migrated {
    Yes,
    No,
}

impl<'e> Worker<'_, 'e> {
    /// A slice of a task with a vCPU: into the guest, or on in it, until it comes back or is taken
    /// off.
    pub(super) fn guest_slice(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let memory = SliceMemory::of_task_and_vcpu(task, vcpu);
        let mut checks = Checks::default();
        let mut holding = Holding::Held;
        if task.thread.running_guest().is_some() {
            self.script_guest_restore(task, vcpu, memory, migrated)?;
        } else {
            // A thread that calls vcpu_run from its own code has live registers; one that was
            // switched to inside the kernel has its state in memory.
            if self.random.bool() {
                self.script_task(task, memory, &mut checks)?;
                holding = Holding::Next;
            }
            self.script_entry(task, vcpu, memory, migrated)?;
        }
        let restoring = if self.random.bool() {
            Restoring::Now
        } else {
            Restoring::Deferred
        };
        let (leave, at_end) = self.script_run(task, vcpu, memory, restoring)?;
        if restoring == Restoring::Now {
            checks.expect(AFTER_LEAVE, holding, "its guest's run");
        }

        let block = vcpu.block();
        let script = &mut self.script;
        // SAFETY: 1. The areas are the task's and the guest's, the register images the task's and
        // `self`'s, which nobody borrows now. 2. This is the call; the vCPU is borrowed by us.
        let outcome = self
            .image
            .while_preemptible(block, || unsafe { script.carry_out() });
        self.counts.entries += 1;
        self.machine.entries.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Completed => {
                self.counts.exits += 1;
                task.thread
                    .commit_leave_guest(&mut vcpu.guest, &mut self.cpu, restoring, leave)?;
                self.rust_code_again(task, Some(at_end))?;
                if restoring == Restoring::Now {
                    holding = Holding::Next;
                }
            }
            Outcome::Preempted => {
                self.counts.preemptions += 1;
                checks.forget(AFTER_LEAVE);
                self.guest_taken_off(task, vcpu)?;
            }
        }
        self.verify(task, &checks);
        if holding == Holding::Next {
            task.values.held = task.values.next;
        }
        if outcome == Outcome::Completed {
            self.guest_came_back(vcpu)?;
        }
        Ok(())
    }

    /// The thread's and the guest's state change places, and the guest's goes into the registers.
    fn script_entry(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        memory: SliceMemory,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let restoring = if self.random.bool() {
            Restoring::Now
        } else {
            Restoring::Deferred
        };
        let decided = task
            .thread
            .decide_enter_guest(&vcpu.guest, &self.cpu, restoring)?;
        let switch = decided.switch();
        match restoring {
            Restoring::Now => self.script_incoming_guest(vcpu, switch, memory, migrated),
            Restoring::Deferred => {
                self.script
                    .switch(&mut self.counts, switch, memory.own, NO_AREA, Omit::Nothing);
            }
        }
        task.thread
            .commit_enter_guest(&mut vcpu.guest, &mut self.cpu, restoring, decided)?;
        match restoring {
            Restoring::Now => Ok(()),
            Restoring::Deferred => self.script_guest_restore(task, vcpu, memory, migrated),
        }
    }

    /// The last moment before the guest runs: its state into the registers.
    fn script_guest_restore(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        memory: SliceMemory,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let decided = task.thread.decide_restore_before_use(&self.cpu)?;
        self.script_incoming_guest(vcpu, decided.switch(), memory, migrated);
        Ok(task
            .thread
            .commit_restore_before_use(&mut self.cpu, decided)?)
    }

    /// A switch whose incoming state is the guest's, or what a fault makes of it.
    fn script_incoming_guest(
        &mut self,
        vcpu: &mut Vcpu<'e>,
        switch: Switch,
        memory: SliceMemory,
        migrated: Migrated,
    ) {
        let (mut incoming, mut omit) = (memory.guest, Omit::Nothing);
        if vcpu.holds_only_a_pattern() {
            if self.injector.strikes(InjectedFault::SkipGuestRestore) {
                omit = Omit::Restore;
            }
            if let (Migrated::Yes, Some(former)) = (migrated, vcpu.former_area())
                && self.injector.strikes(InjectedFault::StaleAfterMigration)
            {
                incoming = former;
            }
        }
        self.script
            .switch(&mut self.counts, switch, memory.own, incoming, omit);
    }

    /// The guest, and what follows if it comes back by its own call: the leave, a look at the
    /// thread's registers, and the save that Rust code calls for. Nothing of this is noted yet.
    fn script_run(
        &mut self,
        task: &HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        memory: SliceMemory,
        restoring: Restoring,
    ) -> Result<(Decided, Switch), SliceError> {
        self.script.guest(vcpu.block());
        let leave = task
            .thread
            .decide_leave_guest(&vcpu.guest, &self.cpu, restoring)?;
        let omit = if vcpu.will_hold_a_pattern() && self.injector.strikes(InjectedFault::SkipSave) {
            Omit::Save
        } else if restoring == Restoring::Now
            && self.injector.strikes(InjectedFault::SkipHostRestore)
        {
            Omit::Restore
        } else {
            Omit::Nothing
        };
        self.script.switch(
            &mut self.counts,
            leave.switch(),
            memory.guest,
            memory.own,
            omit,
        );
        let save = match restoring {
            Restoring::Deferred => Save::AlreadyInMemory,
            Restoring::Now => {
                self.script_check(memory, AFTER_LEAVE);
                // What the library will decide once the leave is noted: see `rust_code_again`.
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
        self.script
            .switch(&mut self.counts, at_end, memory.own, NO_AREA, Omit::Nothing);
        Ok((leave, at_end))
    }

    /// Rust code has the registers again; `done` was carried out ahead of its decision.
    fn rust_code_again(
        &mut self,
        task: &mut HostTask<'e>,
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

    /// A guest was taken off by a signal: what its registers held is in the signal frame. Its
    /// thread leaves it, or is switched away from with the guest's state active and goes on on
    /// whichever CPU takes it next.
    fn guest_taken_off(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
    ) -> Result<(), SliceError> {
        let bytes = self.image.bytes();
        let legacy = bytes
            .first_chunk::<LEGACY_REGION_LEN>()
            .ok_or(SliceError::NoImage)?;
        let image = SignalFrame::from_legacy_region(legacy)?.image(
            bytes,
            self.machine.enumeration,
            self.machine.mxcsr_mask,
        )?;
        let elsewhere = self.machine.kept_elsewhere;
        task.thread
            .import_instead_of_saving(&mut self.cpu, &image, elsewhere)?;
        let switch = task.thread.save_before_switch(&mut self.cpu)?;
        self.count_in_memory(switch);
        if self.random.bool() {
            let switch =
                task.thread
                    .leave_guest(&mut vcpu.guest, &mut self.cpu, Restoring::Deferred)?;
            self.count_in_memory(switch);
        }
        self.rust_code_again(task, None)
    }

    /// A switch that found everything in memory, outside a script.
    fn count_in_memory(&mut self, switch: Switch) {
        debug_assert_eq!(switch.save, Save::AlreadyInMemory);
        self.counts.saves_skipped += 1;
    }
}
