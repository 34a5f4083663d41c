//! The steps of one slice, made from the library's decisions.

use fpstate::{Restore, RestoreInstruction, Save, SaveInstruction, Switch};
use fpstate_arch::{ComponentSet, ErrorPointers, Xfd};

use crate::report::Counts;

/// Whose area an instruction works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// That of the task's own state.
    Own,
    /// That of its guest's state.
    Guest,
    /// What the guest's area held before its last run: only a fault reads it.
    Former,
}

/// Values that code puts into registers or reads from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// What the task puts there.
    Next,
    /// What the task found there, by the number of the check.
    Found(usize),
    /// What a kernel section puts there.
    Kernel,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Registers to an area.
    Save {
        instruction: SaveInstruction,
        rfbm: ComponentSet,
        area: Area,
    },
    /// IA32_XFD.
    WriteXfd(Xfd),
    /// FNCLEX, EMMS, FILD: before a restore that leaves FIP, FDP and FOP alone.
    OverwriteErrorPointers,
    /// An area to registers.
    Restore {
        instruction: RestoreInstruction,
        rfbm: ComponentSet,
        area: Area,
    },
    /// Code that puts values into every register.
    Load(Image),
    /// Code that reads every register and leaves them to nobody.
    Store(Image),
    /// The guest, until it comes back by its own call or is taken off.
    Guest,
}

/// What is left out of a switch on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Omit {
    Nothing,
    Save,
    Restore,
}

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// After its last step.
    Completed,
    /// In the guest, which was taken off.
    Preempted,
}

/// Steps to carry out in order.
#[derive(Debug, Default)]
pub(crate) struct Script {
    steps: Vec<Step>,
}

impl Script {
    /// The steps of a switch from `outgoing`'s state to `incoming`'s, and its counts.
    pub(crate) fn switch(
        &mut self,
        counts: &mut Counts,
        switch: Switch,
        (outgoing, incoming): (Area, Area),
        omit: Omit,
    ) {
        let Switch { save, xfd, restore } = switch;
        match save {
            Save::Registers { instruction, rfbm } => {
                counts.saves += 1;
                if omit != Omit::Save {
                    self.steps.push(Step::Save {
                        instruction,
                        rfbm,
                        area: outgoing,
                    });
                }
            }
            Save::AlreadyInMemory | Save::Deferred => counts.saves_skipped += 1,
            // The engine's threads have live registers.
            Save::ControlWords | Save::Nothing => {}
        }
        self.steps.extend(xfd.map(Step::WriteXfd));
        match restore {
            Restore::Area {
                instruction,
                rfbm,
                error_pointers,
            } => {
                counts.restores += 1;
                match error_pointers {
                    ErrorPointers::LeftAlone => self.steps.push(Step::OverwriteErrorPointers),
                    ErrorPointers::Restored => {}
                }
                if omit != Omit::Restore {
                    self.steps.push(Step::Restore {
                        instruction,
                        rfbm,
                        area: incoming,
                    });
                }
            }
            Restore::AlreadyInRegisters | Restore::Deferred => counts.restores_skipped += 1,
            Restore::Nothing => {}
        }
    }

    /// One more step.
    pub(crate) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The steps.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Leaves `len` steps; the others are decided again.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.steps.truncate(len);
    }

    /// An empty script.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
    }
}
