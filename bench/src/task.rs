//! What a Linux task knows of its registers, beside the bytes: for the two designs that are Linux's.

/// `TIF_NEED_FPU_LOAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedFpuLoad {
    /// The registers are the task's.
    Clear,
    /// They are to be loaded before the task uses them.
    Set,
}

/// The task's flag and `fpu->last_cpu`; the CPU's `fpu_fpregs_owner_ctx`. There is one task and one
/// CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskRegisters {
    need_load: NeedFpuLoad,
    last_cpu: Option<u32>,
    owner: Option<u32>,
}

const THIS_CPU: u32 = 0;
const THIS_TASK: u32 = 1;

impl TaskRegisters {
    /// Nothing is loaded.
    pub(crate) const SWITCHED_OUT: Self = Self {
        need_load: NeedFpuLoad::Set,
        last_cpu: None,
        owner: None,
    };

    #[inline]
    pub(crate) const fn need_load(&self) -> NeedFpuLoad {
        self.need_load
    }

    /// `fpregs_mark_activate()`.
    #[inline]
    pub(crate) const fn mark_activate(&mut self) {
        self.owner = Some(THIS_TASK);
        self.last_cpu = Some(THIS_CPU);
        self.need_load = NeedFpuLoad::Clear;
    }

    /// What `switch_fpu()` notes once the registers are in memory.
    #[inline]
    pub(crate) const fn switched_out(&mut self) {
        self.last_cpu = Some(THIS_CPU);
        self.need_load = NeedFpuLoad::Set;
    }

    /// `fpregs_state_valid()`: nobody else had the registers since.
    #[inline]
    pub(crate) fn still_valid(&self) -> bool {
        self.owner == Some(THIS_TASK) && self.last_cpu == Some(THIS_CPU)
    }

    /// Somebody else is the owner.
    pub(crate) const fn lose_registers(&mut self) {
        self.owner = None;
    }
}
