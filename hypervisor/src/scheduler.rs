//! Threads take turns on all CPUs: one queue, round robin, preempted by the timer. Everything about
//! extended state is here: what is called when, and what is left out on purpose.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fpstate::BoxedArea;
use spin::Mutex;

use crate::percpu::{self, InterruptWork, KernelThreadFpu, PerCpu};
use crate::rules::{Between, KernelWork, LeftOut, Placement, Rules};
use crate::user_code::{self, Width};
use crate::user_thread::{Task, UserThread};
use crate::user_turn::{self, Stop};
use crate::{smp, tick};

/// The threads and their rules.
#[derive(Debug)]
pub struct Scheduler {
    rules: Rules,
    queue: Mutex<VecDeque<UserThread>>,
    /// Threads that have not ended.
    live: AtomicUsize,
    stopped: AtomicBool,
    ended: Mutex<Vec<Task>>,
    failures: Mutex<Vec<String>>,
}

impl Scheduler {
    /// No threads yet.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            queue: Mutex::new(VecDeque::new()),
            live: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            ended: Mutex::new(Vec::new()),
            failures: Mutex::new(Vec::new()),
        }
    }

    /// One more thread.
    pub fn add(&self, thread: UserThread) {
        self.live.fetch_add(1, Ordering::AcqRel);
        self.queue.lock().push_back(thread);
    }

    /// Runs the threads on this CPU, as it is, for so many turns or until all have ended. The registers may hold
    /// the last one's copy then.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_some(&self, turns: u32) -> Result<(), String> {
        tick::start();
        let done = self.take_turns(turns);
        tick::stop();
        done?;
        match self.failures.lock().pop() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// Runs the threads on this CPU alone until all have ended.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_alone(self) -> Result<Vec<Task>, String> {
        if let Err(reason) = self.run_here() {
            self.fail(reason);
        }
        self.outcome()
    }

    /// Runs the threads on every CPU until all have ended; gives what became of them.
    ///
    /// # Errors
    /// What went wrong first: a register that changed, a call of the library's that was refused, a
    /// fault.
    pub fn run(self) -> Result<Vec<Task>, String> {
        smp::run_on_all(|| {
            if let Err(reason) = self.run_here() {
                self.fail(reason);
            }
        });
        self.outcome()
    }

    fn outcome(self) -> Result<Vec<Task>, String> {
        match self.failures.into_inner().into_iter().next() {
            Some(reason) => Err(reason),
            None => Ok(self.ended.into_inner()),
        }
    }

    /// This CPU, which comes online for it and believes nothing of what was before.
    fn run_here(&self) -> Result<(), String> {
        self.bring_up()?;
        tick::start();
        let done = self.take_turns(u32::MAX);
        tick::stop();
        percpu::with(|cpu| {
            cpu.fpu.discard_registers();
            cpu.work = InterruptWork::Nothing;
            match cpu.refused.take() {
                Some(error) => Err(format!("in an interrupt: {error}")),
                None => done,
            }
        })
    }

    fn bring_up(&self) -> Result<(), String> {
        percpu::bring_up()?;
        percpu::with(|cpu| {
            cpu.work = match self.rules.kernel {
                KernelWork::Nothing => InterruptWork::Nothing,
                KernelWork::Sections => InterruptWork::KernelSection,
                KernelWork::WithoutSections => InterruptWork::WithoutSection,
            }
        });
        Ok(())
    }

    fn take_turns(&self, most: u32) -> Result<(), String> {
        let mut taken = 0;
        while taken != most
            && self.live.load(Ordering::Acquire) != 0
            && !self.stopped.load(Ordering::Acquire)
        {
            match self.next() {
                Some(thread) => {
                    self.turn(thread);
                    self.between()?;
                    taken += 1;
                }
                None => tick::let_in(),
            }
        }
        Ok(())
    }

    /// The thread whose turn it is on this CPU.
    fn next(&self) -> Option<UserThread> {
        let mut queue = self.queue.lock();
        let first = match self.rules.placement {
            Placement::Anywhere => 0,
            Placement::Elsewhere => queue
                .iter()
                .position(|thread| thread.task.is_from_elsewhere())?,
        };
        queue.remove(first)
    }

    /// What happens to this CPU between two threads.
    fn between(&self) -> Result<(), String> {
        let notice = self.rules.left_out != LeftOut::Notice;
        match self.rules.between {
            Between::Nothing => {}
            Between::Idle => {
                tick::wait();
                percpu::with(|cpu| {
                    cpu.fpu.release_tiles()?;
                    user_code::smash(Width::of(percpu::offer()));
                    if notice {
                        cpu.fpu.registers_taken()
                    } else {
                        Ok(())
                    }
                })
                .map_err(|error| error.to_string())?;
            }
            Between::Offline => {
                user_code::smash(Width::of(percpu::offer()));
                if notice {
                    self.bring_up()?;
                }
            }
        }
        Ok(())
    }

    /// One turn of a thread, and where it goes after it.
    fn turn(&self, thread: UserThread) {
        let UserThread { fpu, mut task } = thread;
        task.arrive();
        percpu::with(|cpu| cpu.current = Some(fpu));
        let stop = user_turn::run(&self.rules, &mut task, |child| self.add(child));
        let fpu = percpu::with(|cpu| cpu.current.take());
        let done = match (stop, fpu) {
            (Ok(stop), Some(fpu)) => self.leave(stop, UserThread { fpu, task }),
            (Err(reason), _) => Err(format!("thread {}: {reason}", task.number)),
            (Ok(_), None) => Err("a thread lost its state".to_string()),
        };
        if let Err(reason) = done {
            self.fail(reason);
        }
    }

    fn leave(&self, stop: Stop, thread: UserThread) -> Result<(), String> {
        let UserThread { fpu, task } = thread;
        match stop {
            Stop::Preempted => {
                let fpu = percpu::with(|cpu| self.take_off(cpu, fpu))?;
                self.queue.lock().push_back(UserThread { fpu, task });
                return Ok(());
            }
            Stop::Exit => drop(self.end(fpu)?),
            Stop::Successor => {
                let memory = self.end(fpu)?;
                let fpu = percpu::new_thread_in(memory)?;
                self.add(UserThread::comparing(task.number + 3000, fpu)?);
            }
        }
        self.ended.lock().push(task);
        self.live.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    /// The thread ends here; its memory.
    fn end(&self, fpu: KernelThreadFpu) -> Result<BoxedArea, String> {
        if self.rules.left_out == LeftOut::Exit {
            drop(fpu);
            return percpu::new_memory();
        }
        percpu::with(|cpu| fpu.exit(&mut cpu.fpu)).map_err(|(error, _)| error.to_string())
    }

    fn take_off(
        &self,
        cpu: &mut PerCpu,
        mut fpu: KernelThreadFpu,
    ) -> Result<KernelThreadFpu, String> {
        if self.rules.left_out != LeftOut::Save {
            fpu.save_before_switch(&mut cpu.fpu)
                .map_err(|error| error.to_string())?;
        }
        Ok(fpu)
    }

    fn fail(&self, reason: String) {
        self.failures.lock().push(reason);
        self.stopped.store(true, Ordering::Release);
    }
}
