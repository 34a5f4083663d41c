//! A host task runs: its own code, switches away and back, kernel sections, fork and exec.

#![expect(unsafe_code, reason = "carries out scripts")]

use fpstate::{Decided, ThreadFpu};

use super::host_task::{HostTask, TaskValues};
use super::script::{NO_AREA, Omit};
use super::slice_memory::SliceMemory;
use super::unit::Outcome;
use super::worker::{SliceError, Worker};
use crate::fault_injection::InjectedFault;
use crate::pattern::RegisterImage;

/// Which values the task's registers should hold at a point of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// Those it held when the slice began.
    Held,
    /// The ones it chose in this slice.
    Next,
}

impl Holding {
    fn of(self, values: &TaskValues) -> RegisterImage {
        match self {
            Self::Held => values.held,
            Self::Next => values.next,
        }
    }
}

/// Reads of the task's registers that a script contains, to be compared once it is carried out.
#[derive(Debug, Default)]
pub(super) struct Checks(Vec<(usize, Holding, &'static str)>);

impl Checks {
    pub(super) fn expect(&mut self, slot: usize, holding: Holding, after: &'static str) {
        self.0.push((slot, holding, after));
    }

    /// The script was cut short before the read into `slot`.
    pub(super) fn forget(&mut self, slot: usize) {
        self.0.retain(|(expected, _, _)| *expected != slot);
    }
}

/// What happens to a task between two of its own instructions.
#[derive(Clone, Copy, Debug)]
enum Interlude {
    Nothing,
    /// To a kernel thread and back; nobody touches the registers.
    AwayAndBack,
    /// The kernel uses the registers.
    KernelSection,
}

impl<'e> Worker<'_, 'e> {
    /// A slice of a task without a vCPU.
    pub(super) fn task_slice(&mut self, task: &mut HostTask<'e>) -> Result<(), SliceError> {
        match self.random.u32(..32) {
            0 => self.exec(task)?,
            1 => self.fork(task)?,
            _ => {}
        }
        let memory = SliceMemory::of_task(task);
        let mut checks = Checks::default();
        self.script_task(task, memory, &mut checks)?;
        let decided = self.cpu.decide_begin_kernel_section(&task.thread)?;
        self.script_save(memory, decided);
        self.section = Some(
            self.cpu
                .commit_begin_kernel_section(&mut task.thread, decided)?,
        );
        // SAFETY: 1. The areas are the task's and the register images `self`'s and the task's, which
        // nobody borrows now. 2. No guest.
        let outcome = unsafe { self.script.carry_out() };
        debug_assert_eq!(outcome, Outcome::Completed);
        self.verify(task, &checks);
        task.values.held = task.values.next;
        Ok(())
    }

    /// The task's state into the registers, what it held read back, new values put there, and
    /// something in between.
    pub(super) fn script_task(
        &mut self,
        task: &mut HostTask<'e>,
        memory: SliceMemory,
        checks: &mut Checks,
    ) -> Result<(), SliceError> {
        self.script_restore(task, memory)?;
        self.script_check(memory, 0);
        checks.expect(0, Holding::Held, "its last switch");
        let interlude = match self.random.u32(..4) {
            0 | 1 => Interlude::Nothing,
            2 => Interlude::AwayAndBack,
            _ => Interlude::KernelSection,
        };
        let after = match interlude {
            Interlude::Nothing => return Ok(()),
            Interlude::AwayAndBack => {
                self.script_away(task, memory)?;
                "a switch to a kernel thread and back"
            }
            Interlude::KernelSection => {
                self.script_kernel_section(task, memory)?;
                "a kernel section"
            }
        };
        self.script_restore(task, memory)?;
        self.script_check(memory, 1);
        checks.expect(1, Holding::Next, after);
        Ok(())
    }

    /// The task reads its registers back and puts its next values there.
    pub(super) fn script_check(&mut self, memory: SliceMemory, slot: usize) {
        let moves = self.machine.moves;
        if let Some(found) = memory.found.get(slot) {
            self.script.store(moves, *found);
        }
        self.script.load(moves, memory.next);
    }

    /// The task's own state, which is active, into the registers.
    fn script_restore(
        &mut self,
        task: &mut HostTask<'e>,
        memory: SliceMemory,
    ) -> Result<(), SliceError> {
        let decided = task.thread.decide_restore_before_use(&self.cpu)?;
        let switch = decided.switch();
        self.script
            .switch(&mut self.counts, switch, NO_AREA, memory.own, Omit::Nothing);
        Ok(task
            .thread
            .commit_restore_before_use(&mut self.cpu, decided)?)
    }

    /// The save that a decision calls for, of the task's own state, which is active.
    fn script_save(&mut self, memory: SliceMemory, decided: Decided) {
        let switch = decided.switch();
        self.script
            .switch(&mut self.counts, switch, memory.own, NO_AREA, Omit::Nothing);
    }

    /// The thread is switched away from.
    fn script_away(
        &mut self,
        task: &mut HostTask<'e>,
        memory: SliceMemory,
    ) -> Result<(), SliceError> {
        let decided = task.thread.decide_save_before_switch(&self.cpu)?;
        self.script_save(memory, decided);
        Ok(task
            .thread
            .commit_save_before_switch(&mut self.cpu, decided)?)
    }

    fn script_kernel_section(
        &mut self,
        task: &mut HostTask<'e>,
        memory: SliceMemory,
    ) -> Result<(), SliceError> {
        if self.injector.strikes(InjectedFault::WrongOwner) {
            // Saved as for any switch, and then the kernel forgets to say what it does.
            self.script_away(task, memory)?;
            self.script
                .load(self.machine.moves, &raw mut *self.kernel_values);
            return Ok(());
        }
        let decided = self.cpu.decide_begin_kernel_section(&task.thread)?;
        self.script_save(memory, decided);
        let section = self
            .cpu
            .commit_begin_kernel_section(&mut task.thread, decided)?;
        self.script
            .load(self.machine.moves, &raw mut *self.kernel_values);
        self.counts.kernel_sections += 1;
        Ok(self.cpu.end_kernel_section(section)?)
    }

    /// Compares what a script that was carried out read.
    pub(super) fn verify(&mut self, task: &HostTask<'e>, checks: &Checks) {
        let number = task.number;
        for (slot, holding, after) in &checks.0 {
            let expected = holding.of(&task.values);
            if let Some(found) = task.values.found.get(*slot) {
                self.check(|| format!("host task {number}"), after, &expected, found);
            }
        }
    }

    /// The task starts a new program.
    fn exec(&mut self, task: &mut HostTask<'e>) -> Result<(), SliceError> {
        task.thread.exec(&mut self.cpu)?;
        task.values.expect_initial_configuration();
        self.counts.forks_and_execs += 1;
        Ok(())
    }

    /// The task forks and exits; the child goes on with what it inherited.
    fn fork(&mut self, task: &mut HostTask<'e>) -> Result<(), SliceError> {
        let child = self.machine.new_state()?;
        let child: ThreadFpu<'e, _> = task
            .thread
            .fork(&mut self.cpu, child)
            .map_err(|(error, _)| error)?;
        let parent = std::mem::replace(&mut task.thread, child);
        parent.exit(&mut self.cpu).map_err(|(error, _)| error)?;
        self.counts.forks_and_execs += 1;
        Ok(())
    }
}
