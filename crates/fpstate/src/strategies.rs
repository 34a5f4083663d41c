//! In which ways a CPU can switch: each keeps everything that is to be kept.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::enumeration::{Enumeration, Instruction};
use fpstate_arch::xsave_header::Format;

use crate::instructions::SwitchInstructions;
use crate::layout::{Layout, LayoutError};
use crate::offer::Offer;
use crate::save_and_restore::SaveInstruction;
use crate::strategy::{RegisterMoves, Strategy};

/// The instructions that save, best first by what CPUID tells.
const BEST_FIRST: [SaveInstruction; 5] = [
    SaveInstruction::Xsaves,
    SaveInstruction::Xsavec,
    SaveInstruction::Xsaveopt,
    SaveInstruction::Xsave,
    SaveInstruction::Fxsave,
];
/// What is done with each of them, best first.
const WAYS: [fn(SaveInstruction) -> Strategy; 3] =
    [Strategy::alone, Strategy::of_all, Strategy::behind_moves];

/// Which formats the areas may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Formats {
    /// Areas are made when the choice has been made.
    Any,
    /// Layouts and control registers were decided for this one.
    Only(Format),
}

/// The ways in which CPUs of one kind can switch: the save instructions that they have and that are
/// trusted there, each alone, asked to restore everything, and behind plain moves.
///
/// [`by_cpuid`](Self::by_cpuid) is the deterministic choice, [`forced`](Self::forced) a pinned one, and
/// [`calibrate`](Self::calibrate) measures. What is chosen counts before the first state is made: an area's
/// format is that of the instruction that writes it.
#[derive(Clone, Copy, Debug)]
pub struct Strategies<'e> {
    enumeration: &'e Enumeration,
    best: SwitchInstructions,
    components: ComponentSet,
    formats: Formats,
}

impl<'e> Strategies<'e> {
    /// In a process whose XCR0 is `xcr0`.
    #[must_use]
    pub fn for_user_mode(enumeration: &'e Enumeration, xcr0: ComponentSet) -> Self {
        let best = SwitchInstructions::for_user_mode(enumeration);
        Self {
            enumeration,
            best,
            components: switched(best, xcr0),
            formats: Formats::Any,
        }
    }

    /// In ring 0, of a kernel that offers `offer`. The format is the offer's, as its layouts are; and
    /// where IA32_XSS has a component, XSAVES is the one instruction that saves it. To have another
    /// instruction nevertheless, hide the better ones from the [`Enumeration`] that the offer is made of.
    #[must_use]
    pub fn for_ring0(offer: &Offer<'e>) -> Self {
        let (best, registers) = (offer.instructions(), offer.control_registers());
        let enabled = registers
            .xcr0
            .components()
            .union(registers.xss.components());
        Self {
            enumeration: offer.enumeration(),
            best,
            components: switched(best, enabled),
            formats: Formats::Only(best.save().format()),
        }
    }

    /// The choice that CPUID alone makes, every time: the best instruction, without moves.
    #[must_use]
    pub const fn by_cpuid(&self) -> SwitchInstructions {
        self.best
    }

    /// The components that are switched.
    #[must_use]
    pub const fn components(&self) -> ComponentSet {
        self.components
    }

    /// All of them: instructions alone, best first, then asked to restore everything and behind moves, in
    /// the same order.
    pub fn iter(&self) -> impl Iterator<Item = SwitchInstructions> {
        let all = *self;
        WAYS.into_iter().flat_map(move |way| {
            let strategies = BEST_FIRST.into_iter().map(way);
            strategies.filter_map(move |strategy| all.forced(strategy).ok())
        })
    }

    /// `strategy` and no other.
    ///
    /// # Errors
    /// [`StrategyError`]: it is none of these.
    pub fn forced(&self, strategy: Strategy) -> Result<SwitchInstructions, StrategyError> {
        let Strategy { save, moves, mask } = strategy;
        let best = self.best.save();
        let refused = StrategyError::Instruction { save, best };
        if (save == SaveInstruction::Fxsave) != (best == SaveInstruction::Fxsave) {
            return Err(refused);
        }
        let instructions = self.best.with_save(self.enumeration, save);
        let instructions = instructions.map_err(|_| refused)?;
        let supervisor = self.enumeration.supervisor_components();
        let lost = self.components.intersection(supervisor);
        if !lost.is_empty() && !instructions.reaches_xss() {
            return Err(StrategyError::WouldLose { save, lost });
        }
        if let Formats::Only(needed) = self.formats
            && save.format() != needed
        {
            let found = save.format();
            return Err(StrategyError::Format { found, needed });
        }
        let instructions = instructions.with_moves(moves).with_mask(mask);
        if instructions.mask() != mask {
            return Err(StrategyError::NoMask { save });
        }
        // Only XGETBV(1) tells what else is in use.
        let told = self.enumeration.has(Instruction::XgetbvInUse);
        if moves == RegisterMoves::Never || told && instructions.moves() == moves {
            Ok(instructions)
        } else {
            Err(StrategyError::Moves { save })
        }
    }

    /// The layout of the areas that `instructions` write, of states that have not grown.
    ///
    /// # Errors
    /// As [`Layout::for_instructions`].
    pub(crate) fn layout(&self, chosen: SwitchInstructions) -> Result<Layout<'e>, LayoutError> {
        let grown = self.enumeration.xfd_components();
        let components = self.components.difference(grown);
        Layout::for_instructions(self.enumeration, chosen, components)
    }
}

/// What is switched of what is enabled. PKRU never is.
fn switched(best: SwitchInstructions, enabled: ComponentSet) -> ComponentSet {
    match best.save() {
        SaveInstruction::Fxsave => ComponentSet::LEGACY,
        SaveInstruction::Xsave
        | SaveInstruction::Xsaveopt
        | SaveInstruction::Xsavec
        | SaveInstruction::Xsaves => enabled.without(Component::Pkru).difference(best.withheld()),
    }
}

/// Why a CPU cannot switch in some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrategyError {
    /// The CPU lacks the instruction, its ring cannot execute it, or it is not to be trusted there.
    Instruction {
        /// The one asked for.
        save: SaveInstruction,
        /// The best one there.
        best: SaveInstruction,
    },
    /// It would leave components of IA32_XSS behind.
    WouldLose {
        /// The instruction asked for.
        save: SaveInstruction,
        /// What it does not save.
        lost: ComponentSet,
    },
    /// The areas have another format.
    Format {
        /// What the instruction writes.
        found: Format,
        /// What the areas have.
        needed: Format,
    },
    /// It restores everything, always, and cannot be asked to.
    NoMask {
        /// The instruction asked for.
        save: SaveInstruction,
    },
    /// No moves here: what is in use cannot be found out, or a restore leaves FIP, FDP and FOP alone.
    Moves {
        /// The instruction that they were asked for with.
        save: SaveInstruction,
    },
}

impl fmt::Display for StrategyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction { save, best } => {
                write!(f, "{save} cannot be used here; the best that can is {best}")
            }
            Self::WouldLose { save, lost } => {
                write!(f, "{save} does not save {lost}, which IA32_XSS has")
            }
            Self::Format { found, needed } => {
                write!(
                    f,
                    "an instruction for the {found} format; the areas have the {needed} one"
                )
            }
            Self::NoMask { save } => {
                write!(f, "what restores for {save} cannot be told what to restore")
            }
            Self::Moves { save } => {
                write!(f, "no plain moves before {save} on this CPU")
            }
        }
    }
}

impl core::error::Error for StrategyError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn why_a_strategy_is_refused_is_said_with_what_would_do() {
        let save = SaveInstruction::Xsave;
        let lost = ComponentSet::only(Component::CetU);
        for (error, sentence) in [
            (
                StrategyError::Instruction {
                    save,
                    best: SaveInstruction::Fxsave,
                },
                "XSAVE cannot be used here; the best that can is FXSAVE",
            ),
            (
                StrategyError::WouldLose { save, lost },
                "XSAVE does not save CET_U, which IA32_XSS has",
            ),
            (
                StrategyError::Format {
                    found: Format::Standard,
                    needed: Format::Compacted,
                },
                "an instruction for the standard format; the areas have the compacted one",
            ),
            (
                StrategyError::NoMask {
                    save: SaveInstruction::Fxsave,
                },
                "what restores for FXSAVE cannot be told what to restore",
            ),
            (
                StrategyError::Moves { save },
                "no plain moves before XSAVE on this CPU",
            ),
        ] {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
