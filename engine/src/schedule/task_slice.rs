//! A host task runs: its own code, switches away and back, kernel sections, fork and exec.

use fpstate::{BoxedArea, Decided, LifeError, ThreadFpu};

use super::backend::Backend;
use super::script::{Area, Image, Omit, Step};
use super::slice_error::SliceError;
use super::tenant::{HostTask, TaskValues};
use super::worker::{Plan, Worker};
use crate::fault_injection::InjectedFault;

/// Which values the task's registers should hold at a point of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// Those it held when the slice began.
    Held,
    /// The ones it chose in this slice.
    Next,
}

impl Holding {
    fn of<B: Backend>(self, values: &TaskValues<B>) -> &B::Values {
        match self {
            Self::Held => &values.held,
            Self::Next => &values.next,
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

impl<'e, B: Backend> Worker<'_, 'e, B> {
    /// Now and then a task starts a new program, or goes on as its child.
    pub(super) fn begin_or_fork(&mut self, task: &mut HostTask<'e, B>) -> Result<(), SliceError> {
        match self.random.u32(..32) {
            0 => self.exec(task),
            1 => self.fork(task),
            _ => Ok(()),
        }
    }

    /// A slice of a task without a vCPU.
    pub(super) fn begin_task_slice(
        &mut self,
        task: &mut HostTask<'e, B>,
    ) -> Result<Plan, SliceError> {
        let mut checks = Checks::default();
        self.script_task(task, &mut checks)?;
        let decided = self.cpu.decide_begin_kernel_section(&task.thread)?;
        self.script_save(decided);
        self.section = Some(
            self.cpu
                .commit_begin_kernel_section(&mut task.thread, decided)?,
        );
        Ok(Plan {
            checks,
            holding: Holding::Next,
            guest: None,
            counted: self.counts,
        })
    }

    /// The task's state into the registers, what it held read back, new values put there, and
    /// something in between.
    pub(super) fn script_task(
        &mut self,
        task: &mut HostTask<'e, B>,
        checks: &mut Checks,
    ) -> Result<(), SliceError> {
        self.script_restore(task)?;
        self.script_check(0);
        checks.expect(0, Holding::Held, "its last switch");
        let interlude = match self.random.u32(..4) {
            0 | 1 => Interlude::Nothing,
            2 => Interlude::AwayAndBack,
            _ => Interlude::KernelSection,
        };
        let after = match interlude {
            Interlude::Nothing => return Ok(()),
            Interlude::AwayAndBack => {
                self.script_away(task)?;
                "a switch to a kernel thread and back"
            }
            Interlude::KernelSection => {
                self.script_kernel_section(task)?;
                "a kernel section"
            }
        };
        self.script_restore(task)?;
        self.script_check(1);
        checks.expect(1, Holding::Next, after);
        Ok(())
    }

    /// The task reads its registers back and puts its next values there.
    pub(super) fn script_check(&mut self, slot: usize) {
        self.script.push(Step::Store(Image::Found(slot)));
        self.script.push(Step::Load(Image::Next));
    }

    /// The task's own state, which is active, into the registers.
    fn script_restore(&mut self, task: &mut HostTask<'e, B>) -> Result<(), SliceError> {
        let decided = task.thread.decide_restore_before_use(&self.cpu)?;
        let own = (Area::Own, Area::Own);
        self.script
            .switch(&mut self.counts, decided.switch(), own, Omit::Nothing);
        Ok(task
            .thread
            .commit_restore_before_use(&mut self.cpu, decided)?)
    }

    /// The save that a decision calls for, of the task's own state, which is active.
    fn script_save(&mut self, decided: Decided) {
        let own = (Area::Own, Area::Own);
        self.script
            .switch(&mut self.counts, decided.switch(), own, Omit::Nothing);
    }

    /// The thread is switched away from.
    fn script_away(&mut self, task: &mut HostTask<'e, B>) -> Result<(), SliceError> {
        let decided = task.thread.decide_save_before_switch(&self.cpu)?;
        self.script_save(decided);
        Ok(task
            .thread
            .commit_save_before_switch(&mut self.cpu, decided)?)
    }

    fn script_kernel_section(&mut self, task: &mut HostTask<'e, B>) -> Result<(), SliceError> {
        if self.injector.strikes(InjectedFault::WrongOwner) {
            // Saved as for any switch, and then the kernel forgets to say what it does.
            self.script_away(task)?;
            self.script.push(Step::Load(Image::Kernel));
            return Ok(());
        }
        let decided = self.cpu.decide_begin_kernel_section(&task.thread)?;
        self.script_save(decided);
        let section = self
            .cpu
            .commit_begin_kernel_section(&mut task.thread, decided)?;
        self.script.push(Step::Load(Image::Kernel));
        self.counts.kernel_sections += 1;
        Ok(self.cpu.end_kernel_section(section)?)
    }

    /// Compares what a script that was carried out read.
    pub(super) fn finish_task(
        &mut self,
        task: &mut HostTask<'e, B>,
        checks: &Checks,
        holding: Holding,
    ) {
        let number = task.number;
        for (slot, expected, after) in &checks.0 {
            if let Some(found) = task.values.found.get(*slot) {
                let expected = expected.of(&task.values);
                self.check(|| format!("host task {number}"), after, expected, found);
            }
        }
        match holding {
            Holding::Held => {}
            Holding::Next => task.values.held = task.values.next.clone(),
        }
    }

    /// The task starts a new program.
    fn exec(&mut self, task: &mut HostTask<'e, B>) -> Result<(), SliceError> {
        match task.thread.exec(&mut self.cpu) {
            // What the old program had grown for goes with it.
            Err(LifeError::Grown { .. }) => {
                let layout = task.thread.own().released_layout()?;
                let memory = BoxedArea::for_layout(&layout).map_err(|_| SliceError::NoMemory)?;
                let former = task.thread.exec_and_release(&mut self.cpu, memory);
                former.map(drop).map_err(|(error, _)| error)?;
                self.counts.releases += 1;
            }
            done => done?,
        }
        task.values.begin_program(&self.backend);
        self.counts.forks_and_execs += 1;
        Ok(())
    }

    /// The task forks and exits; the child goes on with what it inherited.
    fn fork(&mut self, task: &mut HostTask<'e, B>) -> Result<(), SliceError> {
        let child = self.machine.new_state()?;
        let child: ThreadFpu<'e, _> = task
            .thread
            .fork(&mut self.cpu, child)
            .map_err(|(error, _)| error)?;
        let parent = std::mem::replace(&mut task.thread, child);
        task.values.held = self.backend.inherited(task.values.held.clone());
        parent.exit(&mut self.cpu).map_err(|(error, _)| error)?;
        self.counts.forks_and_execs += 1;
        Ok(())
    }
}
