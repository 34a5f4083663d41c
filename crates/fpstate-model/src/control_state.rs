//! The bits outside the extended state that decide whether an instruction executes.

/// CR0.TS: with it set, instructions of this crate's concern raise #NM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskSwitched {
    /// 0.
    Clear,
    /// 1.
    Set,
}

/// CR0.EM: no x87; FNINIT raises #NM, FXSAVE and the SSE instructions #UD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emulation {
    /// 0.
    Clear,
    /// 1.
    Set,
}

/// CR4.OSXSAVE: without it the XSAVE instructions raise #UD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Osxsave {
    /// 0.
    Clear,
    /// 1.
    Set,
}

/// CR4.OSFXSR: without it the SSE instructions raise #UD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Osfxsr {
    /// 0.
    Clear,
    /// 1.
    Set,
}

/// CR4.PKE: without it RDPKRU and WRPKRU raise #UD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pke {
    /// 0.
    Clear,
    /// 1.
    Set,
}

/// CPL; rings 1 and 2 are as ring 3 for every instruction here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// CPL 0.
    Ring0,
    /// CPL 3.
    Ring3,
}

/// CR0.AM and EFLAGS.AC: at CPL 3 with both set, a processor may signal #AC for a misaligned area
/// where it otherwise signals #GP(0); whether it does is its
/// [`AlignmentCheckWidth`](crate::AlignmentCheckWidth).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlignmentCheck {
    /// One of them is 0.
    Off,
    /// Both are 1.
    On,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlState {
    pub(crate) task_switched: TaskSwitched,
    pub(crate) emulation: Emulation,
    pub(crate) osxsave: Osxsave,
    pub(crate) osfxsr: Osfxsr,
    pub(crate) pke: Pke,
    pub(crate) privilege: Privilege,
    pub(crate) alignment_check: AlignmentCheck,
}

impl ControlState {
    /// An operating system has enabled the XSAVE instructions and SSE, and runs. Protection keys are
    /// for CPUs that have them.
    pub(crate) const OPERATING_SYSTEM: Self = Self {
        task_switched: TaskSwitched::Clear,
        emulation: Emulation::Clear,
        osxsave: Osxsave::Set,
        osfxsr: Osfxsr::Set,
        pke: Pke::Clear,
        privilege: Privilege::Ring0,
        alignment_check: AlignmentCheck::Off,
    };
}
