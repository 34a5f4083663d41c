//! A thread in ring 3: its extended state, its other registers, its block of user memory.

use alloc::string::{String, ToString};

use crate::mxcsr_probe;
use crate::pattern::Pattern;
use crate::percpu::{self, KernelThreadFpu};
use crate::trap::{TrapFrame, cpu_number};
use crate::user_code::{Program, WITHOUT_MXCSR, Width};
use crate::user_memory::{self, Block};
use crate::user_mode;

/// The thread.
#[derive(Debug)]
pub struct UserThread {
    /// Its extended state.
    pub fpu: KernelThreadFpu,
    /// Everything else.
    pub task: Task,
}

/// What a thread has besides its extended state.
#[derive(Debug)]
pub struct Task {
    /// A number to tell it by.
    pub number: u64,
    /// Its general-purpose registers.
    pub frame: TrapFrame,
    /// How often it reported that all is well since its program began.
    pub reports: u32,
    /// How often the timer took it off a CPU.
    pub preempted: u32,
    /// How often it went on on another CPU.
    pub migrated: u32,
    /// How often it forked.
    pub forked: u32,
    /// How often it became another program.
    pub executed: u32,
    /// What it runs.
    pub program: Program,
    pattern: Pattern,
    block: Block,
    last_cpu: Option<usize>,
}

impl UserThread {
    /// A thread with a state in its initial configuration, which fills its registers with values of
    /// its own and then compares.
    ///
    /// # Errors
    /// There is no memory.
    pub fn filling(number: u64) -> Result<Self, String> {
        let pattern = Pattern::of_seed(number, Width::of(percpu::offer()));
        let task = Task::new(number, Program::FillAndCompare, pattern)?;
        let fpu = percpu::new_thread()?;
        Ok(Self { fpu, task })
    }

    /// A thread that compares with the initial configuration, with `fpu` as its state.
    ///
    /// # Errors
    /// There is no memory.
    pub fn comparing(number: u64, fpu: KernelThreadFpu) -> Result<Self, String> {
        let task = Task::new(number, Program::Compare, Pattern::initial())?;
        Ok(Self { fpu, task })
    }
}

impl Task {
    fn new(number: u64, program: Program, pattern: Pattern) -> Result<Self, String> {
        let block = Block::take().ok_or_else(|| "no block of user memory is left".to_string())?;
        let mut task = Self {
            number,
            frame: TrapFrame::ZERO,
            reports: 0,
            preempted: 0,
            migrated: 0,
            forked: 0,
            executed: 0,
            program,
            pattern,
            block,
            last_cpu: None,
        };
        task.begin(program);
        Ok(task)
    }

    /// The same program at the same place, with a block of its own that says the same.
    ///
    /// # Errors
    /// There is no memory.
    pub fn forked(&self, number: u64) -> Result<Self, String> {
        let mut child = Self::new(number, Program::Compare, self.pattern.clone())?;
        let block = child.frame.rdi;
        child.frame.clone_from(&self.frame);
        child.frame.rdi = block;
        child.forked = self.forked;
        Ok(child)
    }

    /// Another program: it expects the initial configuration.
    pub fn execute(&mut self) {
        self.pattern = Pattern::initial();
        self.executed += 1;
        self.begin(Program::Compare);
    }

    /// Fills its registers anew, with other values.
    pub fn refill(&mut self, seed: u64) {
        self.pattern = Pattern::of_seed(seed, Width::of(percpu::offer()));
        self.begin(Program::FillAndCompare);
    }

    /// Notes on which CPU it goes on.
    pub fn arrive(&mut self) {
        let here = cpu_number();
        if self.last_cpu.is_some_and(|last| last != here) {
            self.migrated += 1;
        }
        self.last_cpu = Some(here);
    }

    /// Whether it has been on another CPU than this one last, or on none.
    #[must_use]
    pub fn is_from_elsewhere(&self) -> bool {
        self.last_cpu != Some(cpu_number())
    }

    fn begin(&mut self, program: Program) {
        self.program = program;
        self.block.write(0, self.pattern.bytes());
        let rip = user_memory::address_of(program);
        self.frame = user_mode::frame_at(rip, self.block.stack_end());
        self.frame.rdi = self.block.address();
        self.frame.rsi = Width::of(percpu::offer()) as u64;
        if program == Program::Compare && !mxcsr_probe::is_initialised() {
            self.frame.rsi |= WITHOUT_MXCSR;
        }
        self.reports = 0;
    }
}
