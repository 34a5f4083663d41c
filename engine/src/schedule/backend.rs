//! What carries the schedule out: the real CPU or a software one.

use std::fmt::Debug;

use fpstate::{BoxedArea, CpuFpu, Switch, ThreadFpu};
use fpstate_arch::Processor;

use super::slice_error::SliceError;
use super::tenant::HostTask;
use crate::report::{Counts, KnownAnswers};

/// What a slice runs on.
pub(crate) trait Backend: Sized + Debug {
    /// What the library's instructions go to.
    type Processor: Processor;
    /// What all registers of a task or guest hold at a time.
    type Values: Clone + Debug;
    /// What the kernel keeps of a task beside its extended state, and switches itself.
    type KeptByKernel: Clone + Debug + Default;
    /// A guest's code and where it is in it.
    type Guest: GuestCode<Values = Self::Values>;

    /// The longest hold, in turns of its loop: longer than a guest runs before it is taken off.
    const LONGEST_HOLD: u64;

    /// The initial configuration.
    fn initial_values(&self) -> Self::Values;

    /// A different value for every register that `filler` writes; the same ones for the same
    /// arguments.
    fn pattern(&self, filler: Filler, seed: u64, generation: u64) -> Self::Values;

    /// `values`, but with what a program keeps in on-demand components, which it writes apart from
    /// all others, as `held` has them.
    fn with_on_demand_of(&self, values: Self::Values, _held: &Self::Values) -> Self::Values {
        values
    }

    /// Code of a task that uses on-demand components now and then, where the CPU has any. The
    /// task's own state is active, and nobody has the registers of `cpu`.
    fn use_on_demand(
        &mut self,
        _task: &mut HostTask<'_, Self>,
        _cpu: &mut CpuFpu<Self::Processor>,
        _counts: &mut Counts,
    ) -> Result<(), SliceError> {
        Ok(())
    }

    /// What a child finds in its registers where its parent held `values`.
    fn inherited(&self, values: Self::Values) -> Self::Values;

    /// Compares register by register.
    fn compare(&self, expected: &Self::Values, found: &Self::Values) -> Comparison;

    /// The guest of `thread` was taken off: its state, of which there is no copy in memory, goes
    /// there. Gives what the library saw of it.
    fn guest_taken_off(
        &mut self,
        thread: &mut ThreadFpu<'_, BoxedArea>,
        cpu: &mut CpuFpu<Self::Processor>,
    ) -> Result<Switch, SliceError>;
}

/// What a comparison of all registers found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Registers compared.
    pub(crate) checked: u32,
    /// Registers that differ.
    pub(crate) mismatches: u32,
    /// The first of them.
    pub(crate) first: Option<Difference>,
}

/// A register that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) register: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestKind {
    /// Holds a different value in every register, but for tiles, which it may be offered.
    Pattern,
    /// Computes known answers.
    KnownAnswer,
    /// Holds a different value in every register, tiles among them for a while.
    TilePattern,
    /// Computes products of matrices in tiles.
    TileProduct,
    /// Uses tiles, and disables and enables them by its own IA32_XFD.
    TogglesXfd,
    /// As [`Pattern`](Self::Pattern), but is not offered tiles and tries to use them.
    Denied,
}

/// Who puts a pattern into registers: that decides which ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filler {
    /// A host task, or the kernel.
    Host,
    /// A guest.
    Guest(GuestKind),
}

/// Where a guest is when it comes back by its own call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestPhase {
    /// Just begun: it has read the registers as it found them.
    Begun,
    /// Its registers hold its pattern.
    Holding,
    /// It has read the registers after it had held its pattern.
    Held,
    /// A known answer was computed.
    Answered,
}

/// How a guest holds its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Across a call of the host, after this many turns of a loop.
    AcrossACall(u64),
    /// For this many turns of a loop, in which it is taken off or not.
    ForAWhile(u64),
}

/// A guest's code, seen from the host between two runs.
pub(crate) trait GuestCode: Debug {
    /// As the backend's.
    type Values;

    /// Where it came back from.
    fn phase(&self) -> GuestPhase;

    /// What it read last.
    fn found(&self) -> Self::Values;

    /// What it was told to hold.
    fn pattern(&self) -> Self::Values;

    /// Tells it what to hold next, and how.
    fn hold(&mut self, pattern: Self::Values, how: Hold);

    /// Known answers computed since they were last taken.
    fn take_answers(&mut self) -> KnownAnswers;

    /// Back before its first instruction.
    fn begin_again(&mut self);

    /// Whether it is in its own call of the host with its pattern in every register, so that damage
    /// to them shows as wrong registers and nothing else.
    fn holds_only_a_pattern(&self) -> bool;

    /// Whether its next call of the host will come with a pattern in every register.
    fn will_hold_a_pattern(&self) -> bool;
}
