//! How a CPU can switch, and on this machine what each way costs.

use std::io;

use fpstate::calibration::Measured;
use fpstate::round_trip::Case;
use fpstate::{Calibration, Offer, Strategies};
use fpstate_engine::{Chosen, ChosenBy, HostCpu, SwitchBy, SwitchByError};
use serde::Serialize;

use crate::cpu_choice::{CpuChoice, Source};
use crate::output::{align_right, print_line, print_table, table};

/// How a CPU can switch.
#[derive(Debug, Serialize)]
pub(crate) struct Switching {
    /// Every way, CPUID's choice first.
    ring0: Vec<String>,
    user_mode: Vec<String>,
    /// Of a process.
    strategy: String,
    strategy_by: String,
    /// `null` where nothing was measured.
    calibration: Option<CalibrationReport>,
}

#[derive(Debug, Serialize)]
struct CalibrationReport {
    ticks_of: &'static str,
    candidates: Vec<CandidateReport>,
}

#[derive(Debug, Serialize)]
struct CandidateReport {
    strategy: String,
    round_trip: RoundTrip,
    verdict: String,
}

/// Ticks to save one state, restore another, save that and restore the first, by what is live in both.
#[derive(Debug, Serialize)]
struct RoundTrip {
    sse_avx: u32,
    movable: u32,
    x87_sse_avx: u32,
}

impl Switching {
    /// Of `choice`; measured only if it is this machine and `by` asks for it.
    pub(crate) fn of(choice: &CpuChoice, by: SwitchBy) -> Result<Self, SwitchByError> {
        let cpu = &choice.enumeration;
        let xcr0 = choice.running.map(|running| running.xcr0);
        let strategies = Strategies::for_user_mode(cpu, xcr0.unwrap_or(cpu.user_components()));
        let calibration = match (&choice.source, by) {
            (Source::ThisMachine, SwitchBy::Auto) => {
                Some(HostCpu::read()?.calibrate(fpstate::calibration::Limits::USUAL)?)
            }
            (Source::ThisMachine | Source::Profile(_) | Source::File(_), _) => None,
        };
        let chosen = match &calibration {
            Some(calibration) => Chosen {
                instructions: calibration.instructions(),
                by: ChosenBy::Calibration,
            },
            None => by.of(&strategies)?,
        };
        Ok(Self {
            ring0: names(&Strategies::for_ring0(&Offer::for_ring0(cpu))),
            user_mode: names(&strategies),
            strategy: chosen.instructions.strategy().to_string(),
            strategy_by: chosen.by.to_string(),
            calibration: calibration.as_ref().map(CalibrationReport::of),
        })
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        print_line(&format!(
            "can switch by {} in ring 0, {} in user mode",
            self.ring0.join(" "),
            self.user_mode.join(" ")
        ))?;
        print_line(&format!(
            "a process switches by {}, chosen by {}",
            self.strategy, self.strategy_by
        ))?;
        let Some(calibration) = &self.calibration else {
            return Ok(());
        };
        let unit = format!("round trip ({})", calibration.ticks_of);
        let mut table = table(&[&unit, "SSE+AVX", "all movable", "x87+SSE+AVX", ""]);
        for candidate in &calibration.candidates {
            let RoundTrip {
                sse_avx,
                movable,
                x87_sse_avx,
            } = candidate.round_trip;
            table.add_row([
                candidate.strategy.clone(),
                sse_avx.to_string(),
                movable.to_string(),
                x87_sse_avx.to_string(),
                candidate.verdict.clone(),
            ]);
        }
        align_right(&mut table, &[1, 2, 3]);
        print_table(&table)
    }
}

fn names(strategies: &Strategies<'_>) -> Vec<String> {
    let all = strategies.iter().map(|way| way.strategy().to_string());
    all.collect()
}

impl CalibrationReport {
    fn of(calibration: &Calibration) -> Self {
        Self {
            ticks_of: "TSC cycles",
            candidates: calibration.measured().map(CandidateReport::of).collect(),
        }
    }
}

impl CandidateReport {
    fn of(measured: &Measured) -> Self {
        Self {
            strategy: measured.strategy().to_string(),
            round_trip: RoundTrip {
                sse_avx: measured.cycles(Case::Typical),
                movable: measured.cycles(Case::Movable),
                x87_sse_avx: measured.cycles(Case::X87),
            },
            verdict: measured.verdict().to_string(),
        }
    }
}
