//! How a run is switched: forced, measured, or by CPUID.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fpstate::{SaveInstruction, StrategyError};
use fpstate_engine::model::{self, ModelledCpu};
use fpstate_engine::{RunConfig, RunError, RunLength, RunReport, SwitchBy, SwitchByError};
use fpstate_model::Profile;

const SEED: u64 = 20_211_017;

fn config(entries: u64, by: SwitchBy) -> RunConfig {
    let config = RunConfig::new(16, 2, RunLength::Entries(entries), SEED, None).unwrap();
    config.switching_by(by)
}

fn on_model(profile: Profile, by: &str) -> Result<RunReport, RunError> {
    let modelled = ModelledCpu {
        name: "a model",
        leaves: &profile.leaves(),
    };
    let named = SwitchBy::ALL.into_iter().find(|choice| choice.name() == by);
    model::run(modelled, &config(1_500, named.unwrap()), || 0, |_| ())
}

#[test]
fn the_model_keeps_every_register_however_it_is_switched() {
    for (profile, by, strategy, decided_by) in [
        (Profile::GENOA, "auto", "XSAVES", "CPUID"),
        (Profile::GENOA, "cpuid", "XSAVES", "CPUID"),
        (Profile::GENOA, "moves", "moves+XSAVES", "caller"),
        (Profile::GENOA, "moves+xsavec", "moves+XSAVEC", "caller"),
        (Profile::GENOA, "xsave", "XSAVE", "caller"),
        (
            Profile::SAPPHIRE_RAPIDS,
            "moves+xsave",
            "moves+XSAVE",
            "caller",
        ),
        (Profile::SAPPHIRE_RAPIDS, "xsavec", "XSAVEC", "caller"),
        (Profile::HASWELL_EP, "xsaveopt", "XSAVEOPT", "caller"),
    ] {
        let report = on_model(profile, by).unwrap();
        assert!(report.is_clean(), "{by}, seed {SEED}: {report:#?}");
        assert_eq!(report.strategy, strategy);
        assert_eq!(report.strategy_by, decided_by);
        assert_eq!(
            report.save_instruction,
            strategy.trim_start_matches("moves+")
        );
        // Without XSAVES nothing in IA32_XSS is offered.
        let has_cet = report.components.iter().any(|name| name == "CET_U");
        assert_eq!(has_cet, strategy.ends_with("XSAVES"), "{by}");
    }
}

#[test]
fn what_the_modelled_cpu_lacks_is_refused() {
    use SaveInstruction::{Xsavec, Xsaveopt};
    for (by, expected) in [
        (
            "xsavec",
            StrategyError::Instruction {
                save: Xsavec,
                best: Xsaveopt,
            },
        ),
        ("moves", StrategyError::Moves { save: Xsaveopt }),
    ] {
        let refused = on_model(Profile::HASWELL_EP, by).unwrap_err();
        let RunError::SwitchBy(SwitchByError::Strategy(found)) = refused else {
            panic!("{by}: {refused}");
        };
        assert_eq!(found, expected);
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod on_this_machine {
    use super::*;
    use fpstate::calibration::{Limits, Verdict};
    use fpstate::round_trip::Case;
    use fpstate_engine::{ChosenBy, HostCpu, native};

    #[test]
    fn each_candidate_is_measured_and_the_chosen_one_is_no_dearer_than_by_cpuid() {
        let host = HostCpu::read().unwrap();
        let calibration = host.calibrate(Limits::USUAL).unwrap();
        let strategies = host.strategies();
        let measured: Vec<_> = calibration.measured().collect();
        let candidates: Vec<_> = strategies.iter().map(|i| i.strategy()).collect();
        let found: Vec<_> = measured.iter().map(|m| m.strategy()).collect();
        assert_eq!(found, candidates);
        let by_cpuid = measured.first().unwrap();
        let chosen = measured.iter().find(|m| m.verdict() == Verdict::Chosen);
        let chosen = chosen.unwrap();
        assert_eq!(chosen.strategy(), calibration.instructions().strategy());
        for case in Case::ALL {
            assert!(chosen.cycles(case) > 0, "{calibration}");
        }
        assert!(
            chosen.cycles(Case::Typical) <= by_cpuid.cycles(Case::Typical),
            "{calibration}"
        );
    }

    #[test]
    fn a_run_is_switched_as_it_was_asked_to_be() {
        let host = HostCpu::read().unwrap();
        for by in [
            SwitchBy::Auto,
            SwitchBy::Cpuid,
            SwitchBy::Instruction(SaveInstruction::Xsave),
            SwitchBy::Moves(None),
            SwitchBy::Moves(Some(SaveInstruction::Xsave)),
        ] {
            // A CPU without XGETBV(1) has no moves.
            let Ok(expected) = by.on(&host) else {
                continue;
            };
            let report = native::run(&config(2_000, by), || 0, |_| ()).unwrap();
            assert!(report.is_clean(), "{by}, seed {SEED}: {report:#?}");
            assert_eq!(report.strategy_by, expected.by.to_string());
            if expected.by != ChosenBy::Calibration {
                assert_eq!(
                    report.strategy,
                    expected.instructions.strategy().to_string()
                );
            }
        }
    }

    #[test]
    fn what_a_process_cannot_do_is_refused() {
        let xsaves = SwitchBy::Instruction(SaveInstruction::Xsaves);
        let refused = native::run(&config(1, xsaves), || 0, |_| ()).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("XSAVES cannot be used here"),
            "{refused}"
        );
    }
}
