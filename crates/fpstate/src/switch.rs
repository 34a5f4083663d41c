//! What a switch has to do, as a plain value, and what it is decided from.
//!
//! Deciding and doing are apart. The functions of [`decision`](crate::decision) are pure: from where
//! two states are and what a CPU's registers hold they make a [`Switch`], which somebody else
//! carries out - [`CpuFpu`] at once
//! through its [`Processor`](fpstate_arch::Processor), or, in a process whose compiler uses vector
//! registers itself, one assembly unit that saves, restores and jumps. No executor holds policy.
//!
//! The order within a switch is fixed (invariants I11, I24-I30): save the outgoing state while XFD is
//! still its own; write XFD; restore the incoming state.
//!
//! [`CpuFpu`]: crate::CpuFpu

use fpstate_arch::component::ComponentSet;
use fpstate_arch::error_pointers::ErrorPointers;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xsave_header::Format;

use crate::instructions::SwitchInstructions;
use crate::ownership::{CpuId, Residence, StateId};
use crate::save_and_restore::{RestoreInstruction, SaveInstruction};

/// When the incoming state goes into the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restoring {
    /// As part of the switch.
    Now,
    /// At the last moment before the registers are used:
    /// [`ThreadFpu::restore_before_use`](crate::ThreadFpu::restore_before_use). On the way into a guest
    /// the save of the thread's own state is put off with it: an entry that leaves at once does
    /// neither.
    Deferred,
}

/// What happens to the outgoing state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Save {
    /// The registers hold the only copy: execute this.
    Registers {
        /// The instruction.
        instruction: SaveInstruction,
        /// Its requested-feature bitmap: the components of the outgoing area.
        rfbm: ComponentSet,
    },
    /// The registers hold the only copy, of which a caller keeps the control words alone: STMXCSR, FNSTCW,
    /// and an image with nothing else.
    ControlWords,
    /// Skipped: its area holds it already.
    AlreadyInMemory,
    /// Put off until the registers are needed: they go on holding the only copy.
    Deferred,
    /// There is no state to save, or the hardware keeps it.
    Nothing,
}

/// What happens to the incoming state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restore {
    /// Execute this.
    Area {
        /// The instruction.
        instruction: RestoreInstruction,
        /// Its requested-feature bitmap: every component the CPU switches, not only those of the
        /// incoming area, so that nothing of the previous owner survives (invariant I7). What is known
        /// to be initial before and after may be left out: [`RestoreMask`](crate::RestoreMask).
        rfbm: ComponentSet,
        /// Where the instruction leaves FIP, FDP and FOP alone they are overwritten before
        /// (CVE-2006-1056): [`Processor::overwrite_error_pointers`](
        /// fpstate_arch::Processor::overwrite_error_pointers).
        error_pointers: ErrorPointers,
    },
    /// Skipped: the registers hold it already.
    AlreadyInRegisters,
    /// Later, before the registers are used.
    Deferred,
    /// There is no state to restore, or the hardware keeps it.
    Nothing,
}

/// What a switch has to do, in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch {
    /// First.
    pub save: Save,
    /// Then: the value for IA32_XFD, where it changes.
    pub xfd: Option<Xfd>,
    /// Last.
    pub restore: Restore,
}

impl Switch {
    /// Nothing to do.
    pub const NOTHING: Self = Self {
        save: Save::Nothing,
        xfd: None,
        restore: Restore::Nothing,
    };
}

/// What a decision needs to know of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateFacts {
    /// Its identity.
    pub id: StateId,
    /// How often its memory changed.
    pub version: u32,
    /// Where it is.
    pub residence: Residence,
    /// The format of its area.
    pub format: Format,
    /// The components its area has room for.
    pub components: ComponentSet,
    /// Its IA32_XFD.
    pub xfd: Xfd,
}

/// What the registers of a CPU hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterContent {
    /// Nobody's state: what is in them may be overwritten and must not be believed.
    Nobody,
    /// A copy of what this state has in memory.
    CopyOf(StateId),
    /// This state, which is nowhere else.
    OnlyCopyOf(StateId),
    /// The kernel's own values, until its section ends.
    Kernel,
}

impl RegisterContent {
    /// The state that the registers hold.
    #[must_use]
    #[inline]
    pub const fn owner(self) -> Option<StateId> {
        match self {
            Self::CopyOf(id) | Self::OnlyCopyOf(id) => Some(id),
            Self::Nobody | Self::Kernel => None,
        }
    }
}

/// What a decision needs to know of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CpuFacts {
    /// Its number.
    pub id: CpuId,
    /// What its registers hold.
    pub registers: RegisterContent,
    /// The components it switches: XCR0 and IA32_XSS without PKRU.
    pub switched: ComponentSet,
    /// What is in IA32_XFD.
    pub xfd: Xfd,
    /// What it switches with.
    pub instructions: SwitchInstructions,
    /// Whose XCR0 and IA32_XSS are loaded.
    pub control: ControlOwner,
}

/// Whose XCR0 and IA32_XSS a CPU has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlOwner {
    /// The host's: states can be saved and restored.
    Host,
    /// A guest's, around a VM entry: a save would leave components out, a restore raise #GP
    /// (invariant I29).
    Guest,
}
