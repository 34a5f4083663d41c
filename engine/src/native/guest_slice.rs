//! Into the guest and back: the switch this project exists for.

#![expect(unsafe_code, reason = "carries out scripts that enter a guest")]

use std::sync::atomic::Ordering;

use fpstate::{Restoring, Save, SignalFrame, Switch};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;

use super::host_task::HostTask;
use super::script::{NO_AREA, Omit, area_of};
use super::task_slice::{Checks, Holding};
use super::unit::Outcome;
use super::vcpu::Vcpu;
use super::worker::{SliceError, Worker};
use crate::fault_injection::InjectedFault;

/// The check that follows the leave.
const AFTER_LEAVE: usize = 2;

impl<'e> Worker<'_, 'e> {
    /// A slice of a task with a vCPU: into the guest, or on in it, until it comes back or is taken
    /// off.
    pub(super) fn guest_slice(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
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
        let restoring = if self.random.bool() {
            Restoring::Now
        } else {
            Restoring::Deferred
        };
        let (leave, at_end) = self.script_run(task, vcpu, &mut checks, holding, restoring)?;

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
                let section = self
                    .cpu
                    .commit_begin_kernel_section(Some(&mut task.thread), at_end)?;
                self.section = Some(section);
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
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let restoring = if self.random.bool() {
            Restoring::Now
        } else {
            Restoring::Deferred
        };
        let switch = task
            .thread
            .decide_enter_guest(&vcpu.guest, &self.cpu, restoring)?;
        let outgoing = area_of(task.thread.active_mut());
        let incoming = vcpu.guest.fpstate_mut().map_or(NO_AREA, area_of);
        match restoring {
            Restoring::Now => {
                self.script_incoming_guest(vcpu, switch, outgoing, incoming, migrated)
            }
            Restoring::Deferred => {
                self.script
                    .switch(&mut self.counts, switch, outgoing, NO_AREA, Omit::Nothing);
            }
        }
        task.thread
            .commit_enter_guest(&mut vcpu.guest, &mut self.cpu, restoring, switch)?;
        match restoring {
            Restoring::Now => Ok(()),
            Restoring::Deferred => self.script_guest_restore(task, vcpu, migrated),
        }
    }

    /// The last moment before the guest runs: its state into the registers.
    fn script_guest_restore(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        migrated: Migrated,
    ) -> Result<(), SliceError> {
        let switch = task.thread.decide_restore_before_use(&self.cpu)?;
        let incoming = area_of(task.thread.active_mut());
        self.script_incoming_guest(vcpu, switch, NO_AREA, incoming, migrated);
        Ok(task
            .thread
            .commit_restore_before_use(&mut self.cpu, switch)?)
    }

    /// A switch whose incoming state is the guest's, or what a fault makes of it.
    fn script_incoming_guest(
        &mut self,
        vcpu: &mut Vcpu<'e>,
        switch: Switch,
        outgoing: *mut std::ffi::c_void,
        mut incoming: *mut std::ffi::c_void,
        migrated: Migrated,
    ) {
        let mut omit = Omit::Nothing;
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
            .switch(&mut self.counts, switch, outgoing, incoming, omit);
    }

    /// The guest, and what follows if it comes back by its own call: the leave, a look at the
    /// thread's registers, and the save that Rust code calls for. Nothing of this is noted yet.
    fn script_run(
        &mut self,
        task: &mut HostTask<'e>,
        vcpu: &mut Vcpu<'e>,
        checks: &mut Checks,
        holding: Holding,
        restoring: Restoring,
    ) -> Result<(Switch, Switch), SliceError> {
        self.script.guest(vcpu.block());
        let leave = task
            .thread
            .decide_leave_guest(&vcpu.guest, &self.cpu, restoring)?;
        let guests = area_of(task.thread.active_mut());
        let own = area_of(task.thread.own_mut());
        let omit = if vcpu.will_hold_a_pattern() && self.injector.strikes(InjectedFault::SkipSave) {
            Omit::Save
        } else if restoring == Restoring::Now
            && self.injector.strikes(InjectedFault::SkipHostRestore)
        {
            Omit::Restore
        } else {
            Omit::Nothing
        };
        self.script
            .switch(&mut self.counts, leave, guests, own, omit);
        let save = match restoring {
            Restoring::Deferred => Save::AlreadyInMemory,
            Restoring::Now => {
                let moves = self.machine.moves;
                self.script
                    .store(moves, &mut task.values.found[AFTER_LEAVE]);
                checks.expect(AFTER_LEAVE, holding, "its guest's run");
                self.script.load(moves, &mut task.values.next);
                // What the library will decide once the leave is noted; it refuses another.
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
            .switch(&mut self.counts, at_end, own, NO_AREA, Omit::Nothing);
        Ok((leave, at_end))
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
        let switch = task.thread.decide_save_before_switch(&self.cpu)?;
        self.count_in_memory(switch);
        if self.random.bool() {
            let switch =
                task.thread
                    .leave_guest(&mut vcpu.guest, &mut self.cpu, Restoring::Deferred)?;
            self.count_in_memory(switch);
        }
        let switch = self.cpu.decide_begin_kernel_section(Some(&task.thread))?;
        self.section = Some(
            self.cpu
                .commit_begin_kernel_section(Some(&mut task.thread), switch)?,
        );
        Ok(())
    }

    /// A switch that found everything in memory, outside a script.
    fn count_in_memory(&mut self, switch: Switch) {
        debug_assert_eq!(switch.save, Save::AlreadyInMemory);
        self.counts.saves_skipped += 1;
    }
}

/// Whether the thread ran on another CPU before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Migrated {
    Yes,
    No,
}
