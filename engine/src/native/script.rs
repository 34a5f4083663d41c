//! The steps of one slice, made from the library's decisions.

#![expect(unsafe_code, reason = "hands the steps to the assembly unit")]

use std::ffi::c_void;

use fpstate::{Restore, RestoreInstruction, Save, SaveInstruction, Switch};

use super::unit::{self, GuestBlock, Outcome, Step, StepKind};
use crate::pattern::{RegisterImage, RegisterMoves};
use crate::report::Counts;

/// What is left out of a switch on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    Nothing,
    Save,
    Restore,
}

/// No area: the switch has nothing to do with it.
pub(super) const NO_AREA: *mut c_void = std::ptr::null_mut();

/// Steps to carry out in one go.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: Vec<Step>,
}

impl Script {
    /// The steps of a switch the library decided, and its counts. `outgoing` and `incoming` are the
    /// areas; one that the switch does not touch may be null.
    pub(super) fn switch(
        &mut self,
        counts: &mut Counts,
        switch: Switch,
        outgoing: *mut c_void,
        incoming: *mut c_void,
        omit: Omit,
    ) {
        let Switch {
            save,
            xfd: _,
            restore,
        } = switch;
        match save {
            Save::Registers { instruction, rfbm } => {
                counts.saves += 1;
                if omit != Omit::Save {
                    let kind = kind_of_save(instruction);
                    self.steps.push(Step::instruction(kind, outgoing, rfbm));
                }
            }
            Save::AlreadyInMemory => counts.saves_skipped += 1,
            Save::Nothing => {}
        }
        match restore {
            Restore::Area { instruction, rfbm } => {
                counts.restores += 1;
                if omit != Omit::Restore {
                    let kind = kind_of_restore(instruction);
                    self.steps.push(Step::instruction(kind, incoming, rfbm));
                }
            }
            Restore::AlreadyInRegisters | Restore::Deferred => counts.restores_skipped += 1,
            Restore::Nothing => {}
        }
    }

    /// Code that puts `image` into the registers.
    pub(super) fn load(&mut self, moves: RegisterMoves, image: *mut RegisterImage) {
        self.steps.push(Step::load(moves.load_routine(), image));
    }

    /// Code that writes the registers to `image` and leaves them to nobody.
    pub(super) fn store(&mut self, moves: RegisterMoves, image: *mut RegisterImage) {
        self.steps.push(Step::store(moves.store_routine(), image));
    }

    /// Enters a guest.
    pub(super) fn guest(&mut self, block: *mut GuestBlock) {
        self.steps.push(Step::guest(block));
    }

    /// Carries the steps out and starts an empty script.
    ///
    /// # Safety
    /// 1. Every area and register image of the steps is still where it was and borrowed by nobody;
    ///    areas to restore hold what a save instruction or the library wrote there.
    /// 2. The steps enter no guest, or this is called from
    ///    [`PreemptedImage::while_preemptible`](super::preemption::PreemptedImage) and the guest
    ///    runs nowhere else.
    pub(super) unsafe fn carry_out(&mut self) -> Outcome {
        self.steps.push(Step::END);
        // SAFETY: 1. and 2.: 1. The areas' alignment and length are invariants of `Fpstate`, and
        // the library decided their RFBM. 2. `RegisterMoves` proves the width. 3: 2. 4: the
        // preemption handler asks for SA_ONSTACK; Rust's own handlers do too.
        let outcome = unsafe { unit::carry_out(&self.steps) };
        self.steps.clear();
        outcome
    }
}

/// The engine refuses CPUs without XSAVE and runs at CPL 3, so FXSAVE and XSAVES are not decided.
fn kind_of_save(instruction: SaveInstruction) -> StepKind {
    match instruction {
        SaveInstruction::Xsavec => StepKind::Xsavec,
        SaveInstruction::Xsaveopt => StepKind::Xsaveopt,
        SaveInstruction::Xsave | SaveInstruction::Fxsave | SaveInstruction::Xsaves => {
            StepKind::Xsave
        }
    }
}

fn kind_of_restore(instruction: RestoreInstruction) -> StepKind {
    match instruction {
        RestoreInstruction::Xrstor | RestoreInstruction::Fxrstor | RestoreInstruction::Xrstors => {
            StepKind::Xrstor
        }
    }
}
