//! The model engine: the same schedule on software CPUs of several kinds, on any machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;

use fpstate_arch::CpuidRegisters;
use fpstate_engine::model::{ModelledCpu, run};
use fpstate_engine::{InjectedFault, RunConfig, RunError, RunLength, RunReport, TileGuests};
use fpstate_model::Profile;

/// Every one of these derives from it; printed when a test fails.
const SEED: u64 = 20_211_017;

type Leaf = (u32, u32, CpuidRegisters);

const fn leaf(leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
    (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
}

/// A CPU with FXSAVE and nothing newer.
const FXSAVE_ONLY: [Leaf; 1] = [leaf(0x1, 0, [0, 0, 0, 1 << 24])];

/// Long enough for memory that tiles had to be given back and to be needed again.
const ENTRIES: u64 = 3_000;

fn try_model(
    leaves: &[Leaf],
    threads: u32,
    inject: Option<InjectedFault>,
) -> Result<RunReport, RunError> {
    let config = RunConfig::new(16, threads, RunLength::Entries(ENTRIES), SEED, inject).unwrap();
    let config = config.with_fault_odds(NonZeroU32::new(10).unwrap());
    let modelled = ModelledCpu {
        name: "a model",
        leaves,
    };
    run(modelled, &config, || 0, |_| ())
}

fn model(leaves: &[Leaf], threads: u32, inject: Option<InjectedFault>) -> RunReport {
    try_model(leaves, threads, inject).unwrap()
}

#[test]
fn software_cpus_lose_and_see_no_register() {
    let report = model(&Profile::GENOA.leaves(), 3, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
    let counts = report.counts;
    assert!(counts.preemptions > 0 && counts.migrations > 0 && counts.migrations_in_guest > 0);
    assert!(counts.exits > 0 && counts.known_answers.checked > 0 && counts.kernel_sections > 0);
    assert!(counts.saves_skipped > 0 && counts.restores_skipped > 0);
    assert!(counts.vcpus_renewed > 0 && counts.forks_and_execs > 0);
    for name in ["Hi16_ZMM", "PKRU", "CET_U"] {
        assert!(
            report.components.iter().any(|component| component == name),
            "{name}"
        );
    }
    assert_eq!(report.save_instruction, "XSAVES");
}

#[test]
fn a_cpu_with_fxsave_only_is_switched_too() {
    let report = model(&FXSAVE_ONLY, 2, None);
    assert!(report.is_clean(), "seed {SEED}: {report:#?}");
    assert_eq!(report.save_instruction, "FXSAVE");
    assert_eq!(report.components, ["x87", "SSE"]);
}

#[test]
fn every_injected_fault_is_seen_on_the_model_too() {
    for (cpu, fault) in [Profile::GENOA, Profile::SAPPHIRE_RAPIDS]
        .iter()
        .flat_map(|cpu| InjectedFault::ALL.map(|fault| (cpu, fault)))
    {
        let cpu = cpu.leaves();
        let report = match try_model(&cpu, 3, Some(fault)) {
            Err(RunError::NothingGrows { .. }) if fault.needs_growth() => continue,
            report => report.unwrap(),
        };
        assert!(report.counts.faults_injected > 0, "{fault}, seed {SEED}");
        assert!(
            report.counts.corruptions > 0,
            "{fault}, seed {SEED}: {report:#?}"
        );
    }
}

#[test]
fn states_grow_and_shrink_on_cpus_with_tiles_and_lose_nothing() {
    for cpu in [
        Profile::SAPPHIRE_RAPIDS,
        Profile::EMERALD_RAPIDS,
        Profile::GRANITE_RAPIDS,
        Profile::APX_SYNTHETIC,
    ] {
        let report = model(&cpu.leaves(), 3, None);
        let name = cpu.name();
        assert!(report.is_clean(), "{name}, seed {SEED}: {report:#?}");
        let counts = report.counts;
        assert!(counts.expansions > 0 && counts.releases > 0, "{counts:#?}");
        // Of some that raise it the memory comes only at the second time.
        assert!(counts.xfd_faults > counts.expansions, "{counts:#?}");
        // Of 16 guests two may not use tiles, which is refused at their creation too.
        assert!(counts.denied > 2, "{counts:#?}");
        assert!(counts.migrations_in_guest > 0 && counts.vcpus_renewed > 0);
        for component in ["XTILECFG", "XTILEDATA", "CET_S"] {
            assert!(report.components.iter().any(|name| name == component));
        }
        assert_eq!(report.tiles, TileGuests::Run);
    }
}

#[test]
fn where_there_are_no_tiles_nothing_grows_and_the_report_says_why() {
    let skylake = Profile::SKYLAKE_SP.leaves();
    let report = model(&skylake, 3, None);
    let counts = report.counts;
    assert_eq!((counts.expansions, counts.releases), (0, 0));
    assert_eq!((counts.xfd_faults, counts.denied), (0, 0));
    assert_eq!(report.bytes_per_vcpu_tiles, None);
    let why = "no tile guests: this CPU has no AMX";
    assert_eq!(report.tiles.to_string(), why);
    let refused = try_model(&skylake, 3, Some(InjectedFault::SkipGrowthCopy));
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("skip-growth-copy needs guests that use tiles; {why}")
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for cpu in [Profile::GENOA, Profile::SAPPHIRE_RAPIDS] {
        let counts = || model(&cpu.leaves(), 3, None).counts;
        assert_eq!(counts(), counts());
    }
}
