//! Which way to switch is the cheapest on this very CPU: measured once, in less than a millisecond.

use core::fmt;

use fpstate_arch::processor::Processor;

use crate::instructions::SwitchInstructions;
use crate::layout::LayoutError;
use crate::round_trip::{CalibrationError, Case, Stand};
use crate::strategies::Strategies;
use crate::strategy::{RegisterMoves, Strategy};

/// When another strategy is taken than the one that CPUID alone would choose. All in percent of what that
/// one costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In the typical case it must save more than this.
    pub gain: u8,
    /// In no case may it cost more than this.
    pub loss: u8,
    /// In place of `loss` for moves where x87 is live.
    pub x87: u8,
}

impl Limits {
    /// What is noise is no reason; a thread that uses x87 pays for the many that do not.
    pub const USUAL: Self = Self {
        gain: 5,
        loss: 2,
        x87: 15,
    };
    /// No state that was measured costs noticeably more than by CPUID's choice.
    pub const STRICT: Self = Self {
        x87: 2,
        ..Self::USUAL
    };

    fn judge(&self, candidate: &Measured, by_cpuid: &Measured) -> Verdict {
        if !self.is_cheaper(candidate, by_cpuid, by_cpuid) {
            return Verdict::NotCheaper;
        }
        let moves = candidate.strategy().moves;
        let dearer = Case::ALL.into_iter().find(|case| {
            let allowed = match (case, moves) {
                (Case::X87, RegisterMoves::WhereCovered) => self.x87,
                (Case::Typical | Case::Movable | Case::X87, _) => self.loss,
            };
            is_dearer(candidate.cycles(*case), by_cpuid.cycles(*case), allowed)
        });
        dearer.map_or(Verdict::NotTheCheapest, |case| Verdict::Dearer { case })
    }

    /// By more than the gain that is asked for, which is a part of what CPUID's choice costs: among cheap
    /// ones some cycles more or less are noise.
    fn is_cheaper(&self, candidate: &Measured, than: &Measured, by_cpuid: &Measured) -> bool {
        let gained = than.typical().saturating_sub(candidate.typical());
        let asked_for = u64::from(by_cpuid.typical()).saturating_mul(self.gain.into());
        u64::from(gained).saturating_mul(100) > asked_for
    }
}

fn is_dearer(cycles: u32, than: u32, percent: u8) -> bool {
    let allowed = 100_u64.saturating_add(percent.into());
    u64::from(cycles).saturating_mul(100) > u64::from(than).saturating_mul(allowed)
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the strategy.
    Chosen,
    /// It would do, but another is cheaper, or as cheap and better by what CPUID tells.
    NotTheCheapest,
    /// It saves too little in the typical case.
    NotCheaper,
    /// It costs too much in another case.
    Dearer {
        /// That case.
        case: Case,
    },
}

/// A candidate and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    instructions: SwitchInstructions,
    cycles: [u32; Case::ALL.len()],
    verdict: Verdict,
}

impl Measured {
    /// The candidate.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.instructions.strategy()
    }

    /// Ticks of the caller's clock for a round trip of two states: save the first, restore the second,
    /// save the second, restore the first. The least of [`ROUNDS`] measurements.
    #[must_use]
    pub const fn cycles(&self, case: Case) -> u32 {
        let [typical, movable, x87] = self.cycles;
        match case {
            Case::Typical => typical,
            Case::Movable => movable,
            Case::X87 => x87,
        }
    }

    const fn typical(&self) -> u32 {
        self.cycles(Case::Typical)
    }

    /// Why it is the strategy, or not.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// Measurements of each candidate in each case; between two of them all the others have their turn.
pub const ROUNDS: usize = 9;
/// Three instructions at most can stand in for each other, each in three ways.
const MOST: usize = 9;

/// What the candidates cost, and which of them it is to be. A plain value: it can be stored, and given to
/// [`bring_up`](crate::CpuFpu::bring_up) on other CPUs of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    measured: [Option<Measured>; MOST],
    chosen: SwitchInstructions,
}

impl Calibration {
    fn of(
        mut measured: [Option<Measured>; MOST],
        by_cpuid: SwitchInstructions,
        limits: Limits,
    ) -> Self {
        let reference = measured.iter().flatten().next().copied();
        let mut best = reference;
        for candidate in measured.iter_mut().flatten() {
            let Some((reference, cheapest)) = reference.zip(best) else {
                break;
            };
            if candidate.instructions == reference.instructions {
                continue;
            }
            candidate.verdict = limits.judge(candidate, &reference);
            // Candidates alone come first. Moves cost nearly the same in either format: which one it is
            // to be, the instructions decide.
            let of_other_instruction = candidate.strategy().moves == RegisterMoves::WhereCovered
                && candidate.strategy().save != cheapest.strategy().save;
            let cheaper =
                !of_other_instruction && limits.is_cheaper(candidate, &cheapest, &reference);
            if candidate.verdict == Verdict::NotTheCheapest && cheaper {
                best = Some(*candidate);
            }
        }
        let chosen = best.map_or(by_cpuid, |best| best.instructions);
        for candidate in measured.iter_mut().flatten() {
            if candidate.instructions == chosen {
                candidate.verdict = Verdict::Chosen;
            }
        }
        Self { measured, chosen }
    }

    /// What to switch with.
    #[must_use]
    pub const fn instructions(&self) -> SwitchInstructions {
        self.chosen
    }

    /// Every candidate; CPUID's choice is the first.
    pub fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.measured.iter().flatten()
    }
}

impl Strategies<'_> {
    /// Bytes that each of the two scratch areas of [`calibrate`](Self::calibrate) needs.
    ///
    /// # Errors
    /// CPUID contradicts itself.
    pub fn scratch_len(&self) -> Result<usize, LayoutError> {
        self.iter().try_fold(0, |longest: usize, instructions| {
            Ok(longest.max(self.layout(instructions)?.area_len()))
        })
    }

    /// Measures each of them on `processor`, whose XCR0, IA32_XSS and IA32_XFD are as they will stay, and
    /// chooses. `clock` is any that goes forward: `fpstate_native::timestamp`. It takes about 160 round trips
    /// for each of at most nine candidates: 0.5 ms for the six of an EPYC (Zen 4) in a process.
    ///
    /// The registers must be nobody's, preemption is better off, and afterwards they are in their initial
    /// configuration. In ring 0 that is between [`bring_up`](crate::CpuFpu::bring_up) and a second
    /// [`adopt`](crate::CpuFpu::adopt) with the result.
    ///
    /// # Errors
    /// [`CalibrationError`]. Where a scratch area will not do nothing was executed; after the processor's fault
    /// the registers are in their initial configuration, unless it refuses this too.
    pub fn calibrate<P: Processor>(
        &self,
        limits: Limits,
        processor: &mut P,
        clock: impl FnMut() -> u64,
        scratch: [&mut [u8]; 2],
    ) -> Result<Calibration, CalibrationError> {
        let mut stand = Stand {
            rfbm: self.components(),
            processor,
            clock,
            scratch,
        };
        for candidate in self.iter() {
            stand.check(self.layout(candidate)?)?;
        }
        let measured = self.measure(&mut stand);
        let initial = stand.initialise(self.by_cpuid(), self.layout(self.by_cpuid())?);
        let measured = measured?;
        initial?;
        Ok(Calibration::of(measured, self.by_cpuid(), limits))
    }

    fn measure<P: Processor, C: FnMut() -> u64>(
        &self,
        stand: &mut Stand<'_, '_, P, C>,
    ) -> Result<[Option<Measured>; MOST], CalibrationError> {
        let mut cheapest = [[u32::MAX; Case::ALL.len()]; MOST];
        for _ in 0..ROUNDS {
            for (instructions, cheapest) in self.iter().zip(&mut cheapest) {
                let layout = self.layout(instructions)?;
                for (case, cheapest) in Case::ALL.into_iter().zip(cheapest) {
                    let live = case.live(self.components());
                    let cycles = stand.round_trip(instructions, layout, live)?;
                    // Whatever disturbs a measurement adds to it.
                    *cheapest = cycles.min(*cheapest);
                }
            }
        }
        let mut measured = [None; MOST];
        for ((instructions, cycles), place) in self.iter().zip(cheapest).zip(&mut measured) {
            *place = Some(Measured {
                instructions,
                cycles,
                verdict: Verdict::NotTheCheapest,
            });
        }
        Ok(measured)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::NotTheCheapest => f.write_str("not the cheapest"),
            Self::NotCheaper => f.write_str("not cheaper than by CPUID"),
            Self::Dearer { case } => write!(f, "dearer with {case}"),
        }
    }
}

impl fmt::Display for Calibration {
    /// One line: the choice, and what each candidate costs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.chosen.strategy())?;
        for (place, measured) in self.measured().enumerate() {
            let (before, [typical, movable, x87]) =
                (if place == 0 { ": " } else { "; " }, measured.cycles);
            let (strategy, verdict) = (measured.strategy(), measured.verdict);
            write!(f, "{before}{strategy} {typical}/{movable}/{x87} {verdict}")?;
        }
        Ok(())
    }
}
