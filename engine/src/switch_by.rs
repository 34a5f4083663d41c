//! Who decides with which instructions, or by plain moves, a run switches.

use std::fmt;

use fpstate::calibration::Limits;
use fpstate::{
    CalibrationError, Offer, SaveInstruction, Strategies, Strategy, StrategyError,
    SwitchInstructions,
};
use fpstate_arch::{CpuidRegisters, Enumeration};

use crate::host::{HostCpu, HostError};

/// Who decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchBy {
    /// What a calibration finds the cheapest; where there is no clock to measure with, CPUID.
    Auto,
    /// CPUID alone: the same every time.
    Cpuid,
    /// The caller: this instruction, without moves.
    Instruction(SaveInstruction),
    /// The caller: this instruction, or the one that CPUID chooses; what restores for it is asked for every
    /// component that is switched.
    All(Option<SaveInstruction>),
    /// The caller: plain moves, and before this instruction, or the one that CPUID chooses.
    Moves(Option<SaveInstruction>),
}

impl SwitchBy {
    /// Each that has a name. FXSAVE alone has none: it would lose what the CPU has enabled.
    pub const ALL: [Self; 16] = [
        Self::Auto,
        Self::Cpuid,
        Self::Instruction(SaveInstruction::Xsave),
        Self::Instruction(SaveInstruction::Xsaveopt),
        Self::Instruction(SaveInstruction::Xsavec),
        Self::Instruction(SaveInstruction::Xsaves),
        Self::All(None),
        Self::All(Some(SaveInstruction::Xsave)),
        Self::All(Some(SaveInstruction::Xsaveopt)),
        Self::All(Some(SaveInstruction::Xsavec)),
        Self::All(Some(SaveInstruction::Xsaves)),
        Self::Moves(None),
        Self::Moves(Some(SaveInstruction::Xsave)),
        Self::Moves(Some(SaveInstruction::Xsaveopt)),
        Self::Moves(Some(SaveInstruction::Xsavec)),
        Self::Moves(Some(SaveInstruction::Xsaves)),
    ];

    /// Its name on a command line: `auto`, `xsavec`, `all+xsavec`, `moves+xsavec`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        use SaveInstruction::{Fxsave, Xsave, Xsavec, Xsaveopt, Xsaves};
        match self {
            Self::Auto => "auto",
            Self::Cpuid => "cpuid",
            Self::Instruction(Fxsave) => "fxsave",
            Self::Instruction(Xsave) => "xsave",
            Self::Instruction(Xsaveopt) => "xsaveopt",
            Self::Instruction(Xsavec) => "xsavec",
            Self::Instruction(Xsaves) => "xsaves",
            Self::All(None) => "all",
            Self::All(Some(Fxsave)) => "all+fxsave",
            Self::All(Some(Xsave)) => "all+xsave",
            Self::All(Some(Xsaveopt)) => "all+xsaveopt",
            Self::All(Some(Xsavec)) => "all+xsavec",
            Self::All(Some(Xsaves)) => "all+xsaves",
            Self::Moves(None) => "moves",
            Self::Moves(Some(Fxsave)) => "moves+fxsave",
            Self::Moves(Some(Xsave)) => "moves+xsave",
            Self::Moves(Some(Xsaveopt)) => "moves+xsaveopt",
            Self::Moves(Some(Xsavec)) => "moves+xsavec",
            Self::Moves(Some(Xsaves)) => "moves+xsaves",
        }
    }

    /// What a process on `host` switches with.
    ///
    /// # Errors
    /// [`SwitchByError`].
    pub fn on(self, host: &HostCpu) -> Result<Chosen, SwitchByError> {
        let strategies = host.strategies();
        match self {
            Self::Auto => Ok(Chosen {
                instructions: host.calibrate(Limits::USUAL)?.instructions(),
                by: ChosenBy::Calibration,
            }),
            Self::Cpuid | Self::Instruction(_) | Self::All(_) | Self::Moves(_) => {
                Ok(self.of(&strategies)?)
            }
        }
    }

    /// What CPUs that can switch by `strategies` switch with, without a clock.
    ///
    /// # Errors
    /// [`StrategyError`]: what was asked for is none of them.
    pub fn of(self, strategies: &Strategies<'_>) -> Result<Chosen, StrategyError> {
        let best = strategies.by_cpuid().save();
        let (strategy, by) = match self {
            Self::Auto | Self::Cpuid => (Strategy::alone(best), ChosenBy::Cpuid),
            Self::Instruction(save) => (Strategy::alone(save), ChosenBy::Caller),
            Self::All(save) => (Strategy::of_all(save.unwrap_or(best)), ChosenBy::Caller),
            Self::Moves(save) => {
                let strategy = Strategy::behind_moves(save.unwrap_or(best));
                (strategy, ChosenBy::Caller)
            }
        };
        let instructions = strategies.forced(strategy)?;
        Ok(Chosen { instructions, by })
    }

    /// The leaves of a CPU, as a kernel sees them that is to switch so: what is better than the
    /// instruction that was asked for is hidden, and what IA32_XSS enables with XSAVES.
    ///
    /// # Errors
    /// The CPU itself lacks the instruction, or it is not to be trusted there.
    pub fn hide_better(
        self,
        leaves: &[(u32, u32, CpuidRegisters)],
        cpu: &Enumeration,
    ) -> Result<Vec<(u32, u32, CpuidRegisters)>, StrategyError> {
        let hidden = match self {
            Self::Auto | Self::Cpuid | Self::All(None) | Self::Moves(None) => 0,
            Self::Instruction(save) | Self::All(Some(save)) | Self::Moves(Some(save)) => {
                let best = SwitchInstructions::for_ring0(cpu).save();
                let unmoved = Strategies::for_ring0(&Offer::for_ring0(cpu));
                if let Err(StrategyError::Instruction { .. }) =
                    unmoved.forced(Strategy::alone(save))
                {
                    return Err(StrategyError::Instruction { save, best });
                }
                better_than(save)
            }
        };
        let is_hidden = |subleaf: u32, registers: &CpuidRegisters| {
            const SUPERVISOR: u32 = 1;
            hidden & XSAVES != 0 && subleaf > 1 && registers.ecx & SUPERVISOR != 0
        };
        let visible = leaves
            .iter()
            .filter(|(leaf, subleaf, registers)| *leaf != 0xd || !is_hidden(*subleaf, registers));
        Ok(visible
            .map(|&(leaf, subleaf, mut registers)| {
                if (leaf, subleaf) == (0xd, 1) {
                    registers.eax &= !hidden;
                    if hidden & XSAVES != 0 {
                        (registers.ecx, registers.edx) = (0, 0);
                    }
                }
                (leaf, subleaf, registers)
            })
            .collect())
    }
}

/// CPUID.(0DH,1):EAX.
const XSAVEOPT: u32 = 1 << 0;
const XSAVEC: u32 = 1 << 1;
const XSAVES: u32 = 1 << 3;

/// The bits of what CPUID would choose before `save`.
const fn better_than(save: SaveInstruction) -> u32 {
    match save {
        SaveInstruction::Xsaves => 0,
        SaveInstruction::Xsavec => XSAVES,
        SaveInstruction::Xsaveopt => XSAVES | XSAVEC,
        SaveInstruction::Xsave | SaveInstruction::Fxsave => XSAVES | XSAVEC | XSAVEOPT,
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// CPUID.
    Cpuid,
    /// A calibration.
    Calibration,
    /// The caller.
    Caller,
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpuid => "CPUID",
            Self::Calibration => "calibration",
            Self::Caller => "caller",
        })
    }
}

/// What is switched with, and who decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What is switched with.
    pub instructions: SwitchInstructions,
    /// Who decided it.
    pub by: ChosenBy,
}

/// Why nothing is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchByError {
    /// The CPU cannot switch so.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// Not measured.
    #[error("calibration: {0}")]
    Calibration(#[from] CalibrationError),
    /// There is no such CPU here.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl fmt::Display for SwitchBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_model::Profile;

    fn hidden_from(profile: Profile, by: SwitchBy) -> Result<Enumeration, StrategyError> {
        let leaves = profile.leaves();
        let read = |leaves: &[(u32, u32, CpuidRegisters)]| {
            Enumeration::read(fpstate_arch::cpuid::RecordedLeaves(leaves))
        };
        Ok(read(&by.hide_better(&leaves, &read(&leaves))?))
    }

    #[test]
    fn every_choice_has_a_name_of_its_own() {
        let mut names = SwitchBy::ALL.map(SwitchBy::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SwitchBy::ALL.len());
    }

    #[test]
    fn a_kernel_from_which_the_better_ones_are_hidden_chooses_what_was_asked_for() {
        use SaveInstruction::{Xsave, Xsavec, Xsaveopt, Xsaves};
        for (profile, save) in [
            (Profile::GENOA, Xsaves),
            (Profile::GENOA, Xsavec),
            (Profile::GENOA, Xsave),
            (Profile::HASWELL_EP, Xsaveopt),
            (Profile::HASWELL_EP, Xsave),
        ] {
            let cpu = hidden_from(profile, SwitchBy::Instruction(save)).unwrap();
            let offer = Offer::for_ring0(&cpu);
            let chosen = SwitchBy::Instruction(save).of(&Strategies::for_ring0(&offer));
            let chosen = chosen.unwrap();
            assert_eq!(chosen.instructions.strategy(), Strategy::alone(save));
            assert_eq!(chosen.instructions, offer.instructions());
            assert_eq!(chosen.by, ChosenBy::Caller);
            assert_eq!(offer.contradiction(), None);
        }
    }

    #[test]
    fn what_the_cpu_itself_lacks_is_refused_with_the_best_that_it_has() {
        use SaveInstruction::{Xsavec, Xsaveopt, Xsaves};
        for (profile, save, best) in [
            (Profile::HASWELL_EP, Xsavec, Xsaveopt),
            // Not trusted with AVX-512.
            (Profile::GENOA, Xsaveopt, Xsaves),
        ] {
            assert_eq!(
                hidden_from(profile, SwitchBy::Instruction(save)).map(|_| ()),
                Err(StrategyError::Instruction { save, best })
            );
        }
    }

    #[test]
    fn without_a_clock_auto_is_what_cpuid_says() {
        let leaves = Profile::GENOA.leaves();
        let cpu = Enumeration::read(fpstate_arch::cpuid::RecordedLeaves(&leaves));
        let strategies = Strategies::for_user_mode(&cpu, cpu.user_components());
        let auto = SwitchBy::Auto.of(&strategies).unwrap();
        assert_eq!(auto, SwitchBy::Cpuid.of(&strategies).unwrap());
        assert_eq!(auto.instructions, strategies.by_cpuid());
        assert_eq!(auto.by, ChosenBy::Cpuid);
    }
}
