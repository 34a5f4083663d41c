//! How a scheduler runs threads: what they want, what the kernel does besides, and which call is left
//! out on purpose.

use crate::user_thread::Task;

/// The call that is left out, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// None.
    Nothing,
    /// `save_before_switch`.
    Save,
    /// `restore_before_use`.
    Restore,
    /// `restore_before_use` of a thread that expects the initial configuration, until its first report.
    FirstRestore,
    /// `exec` of the library's.
    Exec,
    /// `exit` of the library's.
    Exit,
    /// What tells of the end of something that takes a CPU's registers: `registers_taken`, or a new `CpuFpu`.
    Notice,
}

/// What a thread wants when it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    GoOn,
    /// To end.
    Exit,
    /// To end, and a new thread in its memory.
    Successor,
    /// A child; the parent goes on with other values.
    Fork,
    /// To become another program.
    Exec,
}

/// What the kernel does with extended registers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelWork {
    /// Nothing.
    Nothing,
    /// In timer interrupts and in system calls, in sections.
    Sections,
    /// The same without sections.
    WithoutSections,
}

/// What happens to a CPU between two threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Nothing.
    Nothing,
    /// It idles, and the idle loop takes its registers.
    Idle,
    /// It goes offline, loses its registers and comes back.
    Offline,
}

/// Where a thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On any CPU.
    Anywhere,
    /// On another CPU each time.
    Elsewhere,
}

/// How threads are run.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What is left out.
    pub left_out: LeftOut,
    /// What the kernel does itself.
    pub kernel: KernelWork,
    /// What happens between two threads.
    pub between: Between,
    /// Where a thread goes on.
    pub placement: Placement,
    /// What a thread wants at each report.
    pub wish: fn(&Task) -> Wish,
}

impl Rules {
    /// Nothing left out, nothing besides.
    #[must_use]
    pub const fn plain(wish: fn(&Task) -> Wish) -> Self {
        Self {
            left_out: LeftOut::Nothing,
            kernel: KernelWork::Nothing,
            between: Between::Nothing,
            placement: Placement::Anywhere,
            wish,
        }
    }
}
