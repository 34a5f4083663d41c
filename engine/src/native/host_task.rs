//! A thread's state and the values it holds: the host's side of a `vcpu_run`.

use fpstate::{BoxedArea, ThreadFpu};

use crate::pattern::{Patterns, RegisterImage};

/// How often one slice reads the task's registers back.
pub(super) const CHECKS: usize = 3;

/// A host task: an extended state of its own, and a pattern in it.
#[derive(Debug)]
pub(super) struct HostTask<'e> {
    pub(super) number: u32,
    pub(super) thread: ThreadFpu<'e, BoxedArea>,
    pub(super) values: Box<TaskValues>,
}

/// What the task's registers should hold, and what they held.
#[derive(Debug)]
pub(super) struct TaskValues {
    /// What they hold while the task is not running.
    pub(super) held: RegisterImage,
    /// What the task puts there next.
    pub(super) next: RegisterImage,
    /// What they held at each check of a slice.
    pub(super) found: [RegisterImage; CHECKS],
    /// Number of `next`.
    generation: u64,
    seed: u64,
}

impl TaskValues {
    pub(super) fn new(seed: u64) -> Self {
        let initial = RegisterImage::initial_configuration();
        Self {
            held: initial,
            next: initial,
            found: [initial; CHECKS],
            generation: 0,
            seed,
        }
    }

    /// The task is about to put a new pattern into its registers.
    pub(super) fn choose_next(&mut self, patterns: &Patterns) {
        self.generation += 1;
        self.next = patterns.pattern(self.seed, self.generation);
    }

    /// A new program begins: the initial configuration.
    pub(super) fn expect_initial_configuration(&mut self) {
        self.held = RegisterImage::initial_configuration();
    }
}
